//! Steps that run once for each element of a list.

use super::*;
use crate::domain::attempt::StepStatus;

fn judging(each: &str) -> Setup {
    with_plan(&json!([
        step("page", "look", &[]),
        {"id": "judge", "tool": "look", "each": each, "arguments": {"name": "${item.name}"}},
        {"id": "report", "tool": "send", "arguments": {"all": "${judge}"}},
    ]))
}

fn rows(count: usize) -> Value {
    json!({"rows": (1..=count).map(|number| json!({"name": format!("n{number}")})).collect::<Vec<_>>()})
}

#[test]
fn each_element_is_a_step_and_the_outputs_keep_the_order_of_the_list() {
    let mut machine = begin(judging("${page.rows}"));
    assert_eq!(ids(&tool_calls(&mut machine)), ["page#1"]);
    returned(&mut machine, "page#1", Ok(rows(3)));
    let calls = tool_calls(&mut machine);
    assert_eq!(ids(&calls), ["judge-1#1", "judge-2#1", "judge-3#1"]);
    let arguments: Vec<&Value> = calls.iter().map(|call| &call.arguments["name"]).collect();
    assert_eq!(arguments, ["n1", "n2", "n3"]);
    // Another process goes on from here.
    let mut machine = resumed(&machine);
    assert_eq!(ids(&tool_calls(&mut machine)), ["judge-1#1", "judge-2#1", "judge-3#1"]);
    for number in [3, 1, 2] {
        returned(&mut machine, &format!("judge-{number}#1"), Ok(json!(number * 10)));
    }
    let calls = tool_calls(&mut machine);
    assert_eq!((calls[0].id.as_str(), &calls[0].arguments), ("report#1", &json!({"all": [10, 20, 30]})));
    returned(&mut machine, "report#1", Ok(json!("sent")));
    assert_eq!(ended(&mut machine).expect("a result")["output"], "sent");
    assert_eq!(machine.spent().steps, 6);
}

#[test]
fn few_elements_of_a_long_list_run_at_once() {
    let mut machine = begin(judging("${page.rows}"));
    tool_calls(&mut machine);
    returned(&mut machine, "page#1", Ok(rows(20)));
    assert_eq!(tool_calls(&mut machine).len(), 8);
    returned(&mut machine, "judge-4#1", Ok(json!(4)));
    assert_eq!(ids(&tool_calls(&mut machine)), ["judge-9#1"]);
    assert_eq!(machine.next_action(), Action::Wait);
}

#[test]
fn an_empty_list_gives_an_empty_one() {
    let mut machine = begin(judging("${page.rows}"));
    tool_calls(&mut machine);
    returned(&mut machine, "page#1", Ok(rows(0)));
    assert_eq!(tool_calls(&mut machine)[0].arguments, json!({"all": []}));
}

#[test]
fn what_is_no_list_fails_the_step_and_says_what_it_is() {
    for (each, output, expected) in [
        ("${page.rows}", json!({"rows": "none"}), "${page.rows} is a text"),
        ("${page}", json!({"rows": []}), "${page} is an object"),
        ("${page.lines}", json!({"rows": []}), "${page.lines} points at nothing"),
        ("${page.rows}", rows(60), "60 elements, a step each"),
        ("${page.rows}", rows(201), "at most 200"),
    ] {
        let mut machine = begin(Setup { last_attempt: false, ..judging(each) });
        tool_calls(&mut machine);
        returned(&mut machine, "page#1", Ok(output));
        let failure = ended(&mut machine).expect_err("a failure");
        assert!(failure.message.contains(expected), "{expected}: {failure}");
        assert_eq!(failure.step.as_deref(), Some("judge"));
    }
}

#[test]
fn a_failed_element_is_repeated_alone() {
    let mut machine = begin(judging("${page.rows}"));
    tool_calls(&mut machine);
    returned(&mut machine, "page#1", Ok(rows(2)));
    tool_calls(&mut machine);
    returned(&mut machine, "judge-1#1", Ok(json!(1)));
    for _ in 0..3 {
        returned(&mut machine, "judge-2#1", Err(Failure::transient("away")));
        if !matches!(machine.next_action(), Action::CallTools(_)) {
            break;
        }
    }
    assert!(ended(&mut machine).expect_err("a failure").message.contains("away"));
    let records = steps_of(&machine.state().expect("serialisable"));
    let of = |id: &str| records.iter().find(|record| record.id == id).expect("a record").status;
    assert_eq!(
        [of("judge"), of("judge-1"), of("judge-2")],
        [StepStatus::Blocked, StepStatus::Done, StepStatus::Failed]
    );
    let mut machine = resumed(&machine);
    assert_eq!(ids(&tool_calls(&mut machine)), ["judge-2#1"]);
    returned(&mut machine, "judge-2#1", Ok(json!(2)));
    assert_eq!(tool_calls(&mut machine)[0].arguments, json!({"all": [1, 2]}));
}

#[test]
fn an_instruction_sees_its_element_alone() {
    let plan = json!({"analysis": "", "answer": "judge", "steps": [
        {"id": "page", "tool": "look", "arguments": {}},
        {"id": "judge", "instruction": "Is ${item.name} well?", "each": "page.rows", "tools": []},
    ]});
    let mut machine = begin(setup());
    answer(&mut machine, "plan", reply(&plan));
    tool_calls(&mut machine);
    returned(&mut machine, "page#1", Ok(rows(2)));
    let (first, second) = (model_call(&mut machine), model_call(&mut machine));
    assert!(said(&first).contains("Is ${page.rows.0.name} well?") && said(&first).contains("n1"), "{}", said(&first));
    assert!(!said(&first).contains("n2") && said(&second).contains("n2"), "{}", said(&first));
    machine.model_answered(&second.id, Ok(reply("no"))).expect("in flight");
    machine.model_answered(&first.id, Ok(reply("yes"))).expect("in flight");
    assert_eq!(ended(&mut machine).expect("a result")["output"], json!(["yes", "no"]));
}

#[test]
fn an_element_takes_no_name_that_a_step_has() {
    let mut machine = begin(with_plan(&json!([
        step("page", "look", &[]),
        step("judge-1", "look", &[]),
        {"id": "judge", "tool": "look", "each": "${page.rows}", "arguments": {"name": "${item.name}"}},
    ])));
    tool_calls(&mut machine);
    returned(&mut machine, "page#1", Ok(rows(2)));
    assert_eq!(ids(&tool_calls(&mut machine)), ["judge--1#1", "judge-2#1"]);
}
