//! The graph of steps.

use super::*;

#[test]
fn a_plan_of_tool_steps_runs_without_a_model_and_gives_all_outputs() {
    let plan = json!([
        {"id": "a", "tool": "look", "arguments": {"n": 10}},
        {"id": "b", "tool": "look", "arguments": {"of": "${a.value}"}},
    ]);
    let mut machine = begin(Setup { has_model: false, ..with_plan(&plan) });
    assert_eq!(ids(&tool_calls(&mut machine)), ["a#1"]);
    assert_eq!(machine.next_action(), Action::Wait);
    returned(&mut machine, "a#1", Ok(json!({"value": 7})));
    let calls = tool_calls(&mut machine);
    assert_eq!((calls[0].id.as_str(), &calls[0].arguments), ("b#1", &json!({"of": 7})));
    returned(&mut machine, "b#1", Ok(json!("done")));
    let expected = json!({"steps": {"a": {"value": 7}, "b": "done"}, "output": "done"});
    assert_eq!(ended(&mut machine), Ok(expected));
    assert_eq!((machine.spent().steps, machine.spent().model_calls), (2, 0));
}

#[test]
fn several_last_steps_give_an_object_of_their_outputs() {
    let mut machine = begin(with_plan(&json!([step("a", "look", &[]), step("b", "look", &[])])));
    assert_eq!(ids(&tool_calls(&mut machine)), ["a#1", "b#1"]);
    returned(&mut machine, "b#1", Ok(json!(2)));
    returned(&mut machine, "a#1", Ok(json!(1)));
    assert_eq!(ended(&mut machine).expect("success")["output"], json!({"a": 1, "b": 2}));
}

#[test]
fn steps_run_as_parallel_as_their_dependencies_allow() {
    let plan = json!([
        step("end", "look", &["l", "r"]),
        step("l", "look", &["start"]),
        step("r", "look", &["start"]),
        step("start", "look", &[]),
        step("alone", "look", &[]),
    ]);
    let mut machine = begin(with_plan(&plan));
    assert_eq!(ids(&tool_calls(&mut machine)), ["start#1", "alone#1"]);
    returned(&mut machine, "start#1", Ok(json!(0)));
    assert_eq!(ids(&tool_calls(&mut machine)), ["l#1", "r#1"]);
    returned(&mut machine, "r#1", Ok(json!(0)));
    assert_eq!(machine.next_action(), Action::Wait);
    returned(&mut machine, "l#1", Ok(json!(0)));
    assert_eq!(ids(&tool_calls(&mut machine)), ["end#1"]);
    assert_eq!((machine.progress().done, machine.progress().total), (3, 5));
}

#[test]
fn dependents_of_a_failed_step_are_blocked_and_the_others_run() {
    let plan = json!([
        step("bad", "look", &[]),
        step("after", "look", &["bad"]),
        step("last", "look", &["after"]),
        step("other", "look", &[]),
        step("more", "look", &["other"]),
    ]);
    let mut machine = begin(with_plan(&plan));
    assert_eq!(ids(&tool_calls(&mut machine)), ["bad#1", "other#1"]);
    returned(&mut machine, "bad#1", Err(Failure::permanent("no such thing")));
    assert_eq!(machine.next_action(), Action::Wait);
    returned(&mut machine, "other#1", Ok(json!(1)));
    assert_eq!(ids(&tool_calls(&mut machine)), ["more#1"]);
    returned(&mut machine, "more#1", Ok(json!(1)));
    let failure = ended(&mut machine).expect_err("failure");
    assert_eq!(failure, Failure::permanent("no such thing").in_step("bad"));
    let blocked: Vec<Note> =
        machine.take_notes().into_iter().filter(|note| note.kind.as_str() == "step_blocked").collect();
    assert_eq!(blocked.iter().map(|note| &note.data["by"]).collect::<Vec<_>>(), [&json!("bad"), &json!("bad")]);
    assert!(machine.outline().contains("last: look: not run, because bad failed"));
}

#[test]
fn a_passing_failure_is_repeated_at_once_where_that_is_harmless() {
    let mut machine = begin(with_plan(&json!([step("a", "look", &[])])));
    for _ in 0..3 {
        assert_eq!(ids(&tool_calls(&mut machine)), ["a#1"]);
        returned(&mut machine, "a#1", Err(Failure::transient("busy")));
    }
    assert_eq!(ended(&mut machine).expect_err("failure").class, FailureClass::Transient);

    let mut machine = begin(with_plan(&json!([step("a", "send", &[])])));
    tool_calls(&mut machine);
    returned(&mut machine, "a#1", Err(Failure::transient("busy")));
    assert_eq!(ended(&mut machine).expect_err("failure").class, FailureClass::Transient);
}

#[test]
fn a_time_limit_leaves_the_outcome_of_an_unrepeatable_call_unknown() {
    let mut machine = begin(with_plan(&json!([step("a", "send", &[])])));
    tool_calls(&mut machine);
    returned(&mut machine, "a#1", Err(Failure::timeout("60 s ran out")));
    let failure = ended(&mut machine).expect_err("failure");
    assert_eq!(failure.class, FailureClass::Permanent);
    assert!(failure.message.contains("outcome unknown: 60 s ran out"), "{failure}");
}

#[test]
fn a_failure_that_no_retry_mends_stands_for_all_and_else_the_longest_wait() {
    let plan = json!([step("a", "send", &[]), step("b", "send", &[]), step("c", "send", &[])]);
    let limited = |ms| Failure::new(FailureClass::RateLimited, "slow").retry_after(Some(ms));
    let mut machine = begin(with_plan(&plan));
    tool_calls(&mut machine);
    returned(&mut machine, "a#1", Err(Failure::transient("x")));
    returned(&mut machine, "b#1", Err(limited(500)));
    returned(&mut machine, "c#1", Err(limited(90)));
    assert_eq!(ended(&mut machine), Err(limited(500).in_step("b")));

    let mut machine = begin(with_plan(&plan));
    tool_calls(&mut machine);
    returned(&mut machine, "a#1", Err(limited(500)));
    returned(&mut machine, "b#1", Ok(json!(1)));
    returned(&mut machine, "c#1", Err(Failure::invalid("bad")));
    assert_eq!(ended(&mut machine), Err(Failure::invalid("bad").in_step("c")));
}

#[test]
fn a_reference_to_nothing_fails_its_step_by_name() {
    let plan = json!([step("a", "look", &[]), {"id": "b", "tool": "look", "arguments": {"x": "${a.nope}"}}]);
    let mut machine = begin(with_plan(&plan));
    tool_calls(&mut machine);
    returned(&mut machine, "a#1", Ok(json!({"yes": 1})));
    let failure = ended(&mut machine).expect_err("failure");
    assert!(failure.message.contains("${a.nope}") && failure.step.as_deref() == Some("b"), "{failure}");
}

#[test]
fn a_plan_that_cannot_be_carried_out_is_refused_before_anything_runs() {
    let refusal = |steps: Value| Machine::new(with_plan(&steps)).expect_err("refused");
    let cycle = refusal(json!([step("a", "look", &["b"]), step("b", "look", &["a"])]));
    assert_eq!(cycle.class, FailureClass::Invalid);
    assert!(cycle.message.contains("cycle: a -> b -> a"), "{cycle}");
    assert!(refusal(json!([step("a", "fly", &[])])).message.contains("\"fly\""));
    let many: Vec<Value> = (0..51).map(|n| step(&format!("s{n}"), "look", &[])).collect();
    assert_eq!(refusal(json!(many)).budget, Some(BudgetLimit::Steps));
    let modelless = Setup { has_model: false, ..with_plan(&json!([{"id": "a", "instruction": "think"}])) };
    assert!(Machine::new(modelless).expect_err("refused").message.contains("no model is configured"));
}

#[test]
fn a_result_of_no_call_changes_nothing() {
    let mut machine = begin(with_plan(&json!([step("a", "look", &[])])));
    assert_eq!(machine.tool_returned("a#1", &Ok(json!(1))), Err(NotInFlight("a#1".into())));
    tool_calls(&mut machine);
    let before = machine.state().expect("state");
    assert!(machine.tool_returned("z#1", &Ok(json!(1))).is_err());
    assert!(machine.model_answered("plan~0#1", Ok(reply("{}"))).is_err());
    assert_eq!(machine.state().expect("state"), before);
    returned(&mut machine, "a#1", Ok(json!(1)));
    assert!(machine.tool_returned("a#1", &Ok(json!(2))).is_err());
}
