//! What the record of a step says of its times, calls and spending.

use super::*;

const BEGIN: Timestamp = Timestamp::from_millis(1_767_225_600_000);

fn at(seconds: i64) -> Timestamp {
    BEGIN.plus_millis(seconds * 1_000)
}

#[test]
fn a_step_is_accounted_for_with_its_times_calls_and_tokens() {
    let plan = json!([
        {"id": "a", "tool": "look", "arguments": {"q": "sun"}},
        {"id": "b", "instruction": "Judge ${a}"},
    ]);
    let mut machine = begin(with_plan(&plan));
    machine.set_time(at(0));
    tool_calls(&mut machine);
    machine.set_time(at(2));
    returned(&mut machine, "a#1", Ok(json!({"n": 1})));
    answer(&mut machine, "act", wants(&[("look", json!({"q": 2}))]));
    machine.set_time(at(3));
    tool_calls(&mut machine);
    machine.set_time(at(7));
    returned(&mut machine, "b#1", Err(Failure::permanent("not there")));
    machine.set_time(at(9));
    answer(&mut machine, "act", reply("it shines"));
    let steps = steps_of(&copied(&machine).state().expect("a state"));
    let [a, b] = steps.as_slice() else { panic!("two steps: {steps:?}") };
    assert_eq!((a.started_at, a.finished_at, a.model_calls), (Some(at(0)), Some(at(2)), 0));
    assert_eq!((&a.arguments, a.calls.len()), (&Some(json!({"q": "sun"})), 1));
    assert_eq!((&a.calls[0].arguments, a.calls[0].finished_at), (&None, Some(at(2))), "they stand in the plan");
    assert_eq!((b.started_at, b.finished_at, &b.depends_on), (Some(at(2)), Some(at(9)), &vec!["a".to_owned()]));
    assert_eq!((b.model_calls, b.usage.total(), b.cost_usd), (2, 200, 0.5));
    let call = &b.calls[0];
    assert_eq!((call.tool.as_str(), &call.arguments), ("look", &Some(json!({"q": 2}))));
    assert_eq!((call.started_at, call.finished_at), (Some(at(3)), Some(at(7))));
    assert!(call.error.as_deref().is_some_and(|error| error.contains("not there")), "{call:?}");
}

#[test]
fn a_call_that_was_cut_off_stays_open_and_the_next_one_is_another() {
    let mut machine = begin(with_plan(&json!([step("a", "look", &[])])));
    machine.set_time(at(0));
    tool_calls(&mut machine);
    let mut machine = resumed(&machine);
    machine.set_time(at(60));
    tool_calls(&mut machine);
    machine.set_time(at(61));
    returned(&mut machine, "a#1", Ok(json!(1)));
    let step = steps_of(&machine.state().expect("a state")).remove(0);
    let times: Vec<_> = step.calls.iter().map(|call| (call.started_at, call.finished_at)).collect();
    assert_eq!(times, [(Some(at(0)), None), (Some(at(60)), Some(at(61)))]);
}

#[test]
fn long_arguments_and_calls_beyond_a_bound_are_left_out() {
    let mut machine = begin(with_plan(&json!([{"id": "a", "instruction": "find it"}])));
    answer(&mut machine, "act", wants(&[("look", json!({"q": "x".repeat(3_000)}))]));
    tool_calls(&mut machine);
    let step = steps_of(&machine.state().expect("a state")).remove(0);
    assert_eq!((step.calls.len(), &step.calls[0].arguments, step.more_calls), (1, &None, 0));
}
