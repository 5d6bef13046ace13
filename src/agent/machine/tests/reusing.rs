//! Runs that begin with the plan of earlier ones.

use super::*;
use crate::agent::machine::reused_plan::{EarlierOutputs, ReusedPlan};

fn reusing(steps: &Value) -> Setup {
    let plan = serde_json::from_value(json!({ "steps": steps })).expect("a plan");
    let earlier = EarlierOutputs { hash: "h".to_owned(), task: TaskId::Number(7) };
    Setup { reused: Some(ReusedPlan { plan, runs: 2, earlier: Some(earlier) }), ..setup() }
}

/// A plan whose last tool needs what a model says.
fn judged_between() -> Value {
    json!([
        {"id": "a", "tool": "look", "arguments": {}},
        {"id": "b", "instruction": "Pick one of ${a}", "tools": []},
        {"id": "c", "tool": "look", "arguments": {"at": "${b}"}},
    ])
}

#[test]
fn a_model_is_asked_when_a_tool_needs_its_answer() {
    let mut machine = begin(reusing(&judged_between()));
    assert_eq!(machine.wants_earlier_answer(), None, "no answer can be taken over before a model was asked");
    machine.set_earlier_answer(Some(json!({"output": "as before"})));
    assert_eq!(ids(&tool_calls(&mut machine)), ["a#1"]);
    returned(&mut machine, "a#1", Ok(json!("x")));
    answer(&mut machine, "act", reply("the first"));
    assert_eq!(ids(&tool_calls(&mut machine)), ["c#1"]);
}

#[test]
fn a_checkpoint_that_waits_for_such_tools_goes_on() {
    let mut machine = begin(reusing(&judged_between()));
    tool_calls(&mut machine);
    returned(&mut machine, "a#1", Ok(json!("x")));
    let mut state = machine.state().expect("a state");
    state["reuse"]["earlier"] = json!({"hash": "h", "task": "7"});
    let mut resumed = Machine::resume(setup(), &state).expect("a run");
    resumed.set_earlier_answer(Some(json!({"output": "as before"})));
    answer(&mut resumed, "act", reply("the first"));
    assert_eq!(ids(&tool_calls(&mut resumed)), ["c#1"]);
}
