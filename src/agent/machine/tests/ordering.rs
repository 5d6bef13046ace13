//! Steps that other agents carry out.

use super::*;
use crate::domain::attempt::StepStatus;
use crate::domain::delegation::{Awaited, OrderState, StepOrder, UnderWay};

const SOON: Timestamp = Timestamp::from_millis(60_000);
const LATER: Timestamp = Timestamp::from_millis(90_000);

fn away(id: &str, depends_on: &[&str]) -> Value {
    json!({"id": id, "tool": "look", "capability": "sql", "depends_on": depends_on})
}

fn orders(machine: &mut Machine) -> Vec<StepOrder> {
    match machine.next_action() {
        Action::Order(orders) => orders,
        other => panic!("expected orders, got {other:?}"),
    }
}

fn awaits(machine: &mut Machine) -> Awaited {
    match machine.next_action() {
        Action::AwaitTasks(awaited) => awaited,
        other => panic!("expected a wait for tasks, got {other:?}"),
    }
}

fn placed(machine: &mut Machine, step: &str, task: u64, look_at: Timestamp) {
    let under_way = UnderWay { task: TaskId::Number(task), look_at };
    machine.order_returned(step, Ok(OrderState::UnderWay(under_way))).expect("in flight");
}

fn withdrawn(had_begun: bool) -> OrderState {
    OrderState::Withdrawn { reason: "nobody is left".into(), had_begun }
}

fn kinds(machine: &mut Machine) -> Vec<EventKind> {
    machine.take_notes().into_iter().map(|note| note.kind).collect()
}

#[test]
fn a_step_that_the_agent_cannot_do_is_ordered_and_its_task_awaited() {
    let plan = json!([
        {"id": "own", "tool": "look", "capability": "HOME"},
        {"id": "away", "tool": "look", "capability": "sql", "priority": 9, "arguments": {"n": "${own.n}"}},
        step("then", "send", &["away"]),
    ]);
    let mut machine = begin(with_plan(&plan));
    assert_eq!(ids(&tool_calls(&mut machine)), ["own#1"], "it has the capability, in whatever case");
    returned(&mut machine, "own#1", Ok(json!({"n": "${then} 7"})));
    let ordered = orders(&mut machine);
    let [order] = ordered.as_slice() else { panic!("{ordered:?}") };
    assert_eq!((order.key.as_str(), order.capability.as_str(), order.priority), ("away#0^0", "sql", Some(9)));
    let work = order.work.as_ref().expect("work");
    assert_eq!(work.plan.arguments, json!({"n": "${deps.parent.own.n}"}));
    assert_eq!(json!(work.values), json!({"own": {"n": "${then} 7"}}));
    assert_eq!(machine.next_action(), Action::Wait);
    placed(&mut machine, "away", 5, SOON);
    let awaited = Awaited { tasks: vec![TaskId::Number(5)], look_at: SOON };
    assert_eq!(awaits(&mut machine), awaited);
    assert_eq!(awaits(&mut copied(&machine)), awaited, "the state holds all of it");
    assert!(kinds(&mut machine).contains(&EventKind::StepDelegated));
    let record = &steps_of(&machine.state().expect("JSON"))[1];
    assert_eq!((record.status, record.task), (StepStatus::Running, Some(TaskId::Number(5))));
    assert_eq!(machine.progress().note, "waiting for the tasks of away");
    // The run that goes on asks what has become of the task, and makes none.
    let mut machine = resumed(&machine);
    let again = orders(&mut machine);
    assert_eq!((again[0].key.as_str(), &again[0].work), ("away#0^0", &None));
    machine.order_returned("away", Ok(OrderState::Done(json!({"rows": 3})))).expect("in flight");
    assert_eq!(ids(&tool_calls(&mut machine)), ["then#1"]);
    returned(&mut machine, "then#1", Ok(json!("sent")));
    let result = ended(&mut machine).expect("a result");
    assert_eq!(result["steps"]["away"], json!({"rows": 3}), "the output of the task is the output of the step");
    assert_eq!(machine.spent().steps, 3);
}

#[test]
fn everything_else_is_done_before_the_run_waits_for_the_first_of_its_tasks() {
    let plan = json!([away("a", &[]), away("b", &[]), step("own", "look", &[])]);
    let mut machine = begin(with_plan(&plan));
    assert_eq!(ids(&tool_calls(&mut machine)), ["own#1"]);
    assert_eq!(orders(&mut machine).len(), 2);
    placed(&mut machine, "a", 1, LATER);
    placed(&mut machine, "b", 2, SOON);
    assert_eq!(machine.next_action(), Action::Wait);
    returned(&mut machine, "own#1", Ok(json!(1)));
    let both = Awaited { tasks: vec![TaskId::Number(1), TaskId::Number(2)], look_at: SOON };
    assert_eq!(awaits(&mut machine), both);
    let mut machine = resumed(&machine);
    orders(&mut machine);
    machine.order_returned("b", Ok(OrderState::Done(json!(2)))).expect("in flight");
    placed(&mut machine, "a", 1, LATER);
    assert_eq!(awaits(&mut machine), Awaited { tasks: vec![TaskId::Number(1)], look_at: LATER });
    assert_eq!(kinds(&mut machine).iter().filter(|kind| **kind == EventKind::StepDelegated).count(), 0);
}

#[test]
fn what_no_other_agent_gets_is_done_here() {
    let judged = json!({"id": "think", "instruction": "Think", "capability": "sql", "tools": []});
    for (plan, tool) in [(json!([away("a", &[])]), true), (json!([judged]), false)] {
        let mut machine = begin(with_plan(&plan));
        let id = orders(&mut machine)[0].step.clone();
        machine.order_returned(&id, Ok(OrderState::Refused("no agent has it".into()))).expect("in flight");
        let notes = machine.take_notes();
        let note = notes.last().expect("a note");
        assert_eq!((note.kind, note.level), (EventKind::StepKept, Level::Warn));
        assert!(note.message.contains("no agent has it"), "{}", note.message);
        // Also after a retry.
        let mut machine = resumed(&machine);
        if tool {
            assert_eq!(ids(&tool_calls(&mut machine)), ["a#1"]);
        } else {
            assert_eq!(model_call(&mut machine).request.purpose, "act");
        }
    }
}

#[test]
fn a_failed_task_fails_its_step_blocks_what_needs_it_and_leads_to_a_new_plan() {
    let mut machine = begin(Setup { offered: vec!["sql".to_owned()], ..setup() });
    let steps = json!([away("a", &[]), step("b", "send", &["a"])]);
    answer(&mut machine, "plan", reply(json!({"analysis": "x", "steps": steps})));
    orders(&mut machine);
    placed(&mut machine, "a", 5, SOON);
    awaits(&mut machine);
    let mut machine = resumed(&machine);
    orders(&mut machine);
    let failure = Failure::permanent("task 5 is failed: no such table");
    machine.order_returned("a", Ok(OrderState::Failed(failure))).expect("in flight");
    let call = model_call(&mut machine);
    assert_eq!(call.request.purpose, "replan");
    assert!(
        said(&call).contains("no such table") && said(&call).contains("not run, because a failed"),
        "{}",
        said(&call)
    );
    let more = json!({"analysis": "x", "steps": [away("a", &[])]});
    machine.model_answered(&call.id, Ok(reply(more))).expect("in flight");
    assert_eq!(orders(&mut machine)[0].key, "a~1#0^0", "another plan, another task");
}

#[test]
fn a_withdrawn_order_is_placed_anew_with_a_key_of_its_own() {
    let mut machine = begin(with_plan(&json!([away("a", &[])])));
    orders(&mut machine);
    placed(&mut machine, "a", 5, SOON);
    awaits(&mut machine);
    let mut machine = resumed(&machine);
    orders(&mut machine);
    machine.order_returned("a", Ok(withdrawn(false))).expect("in flight");
    let again = orders(&mut machine);
    assert_eq!(again[0].key, "a#0^1");
    assert!(again[0].work.is_some());
    placed(&mut machine, "a", 6, SOON);
    assert_eq!(awaits(&mut machine).tasks, [TaskId::Number(6)]);
    let kinds = kinds(&mut machine);
    assert!(kinds.contains(&EventKind::StepWithdrawn) && kinds.contains(&EventKind::StepDelegated), "{kinds:?}");
}

/// A machine whose only step was ordered and came back so.
fn returned_so(step: &Value, state: OrderState) -> Machine {
    let mut machine = begin(with_plan(&json!([step])));
    orders(&mut machine);
    placed(&mut machine, "a", 5, SOON);
    awaits(&mut machine);
    let mut machine = resumed(&machine);
    orders(&mut machine);
    machine.order_returned("a", Ok(state)).expect("in flight");
    machine
}

#[test]
fn what_an_order_may_have_done_is_not_done_twice() {
    let send = json!({"id": "a", "tool": "send", "capability": "sql"});
    let think = json!({"id": "a", "instruction": "Think", "capability": "sql", "tools": []});
    let overdue = || OrderState::Failed(Failure::timeout("task 5 took too long"));
    for (step, is_repeatable) in [(away("a", &[]), true), (send.clone(), false), (think.clone(), false)] {
        let machine = returned_so(&step, overdue());
        assert_eq!(machine.outline().contains("outcome unknown"), !is_repeatable, "{}", machine.outline());
    }
    assert!(ended(&mut returned_so(&away("a", &[]), overdue())).expect_err("a failure").class.is_retryable());
    let failure = ended(&mut returned_so(&send, overdue())).expect_err("a failure");
    assert!(failure.class == FailureClass::Permanent && failure.message.contains("task 5 took too long"), "{failure}");
    for (step, had_begun, is_repeated) in
        [(away("a", &[]), true, true), (send.clone(), false, true), (send, true, false), (think, true, true)]
    {
        let mut machine = returned_so(&step, withdrawn(had_begun));
        if is_repeated {
            assert_eq!(orders(&mut machine)[0].key, "a#0^1");
        } else {
            let failure = ended(&mut machine).expect_err("a failure");
            assert!(failure.message.contains("outcome unknown"), "{failure}");
        }
    }
}

#[test]
fn a_store_that_fails_costs_an_attempt_and_no_second_task() {
    let mut machine = begin(with_plan(&json!([away("a", &[])])));
    orders(&mut machine);
    machine.order_returned("a", Err(Failure::transient("the store is away"))).expect("in flight");
    assert!(ended(&mut machine).expect_err("a failure").class.is_retryable());
    let mut machine = resumed(&machine);
    assert_eq!(orders(&mut machine)[0].key, "a#0^0", "the task of this key may be there");
    assert_eq!(machine.order_returned("b", Ok(OrderState::Done(json!(1)))), Err(NotInFlight("b".to_owned())));
}

#[test]
fn a_run_cut_off_while_it_places_an_order_places_the_same() {
    let mut machine = begin(with_plan(&json!([away("a", &[])])));
    let first = orders(&mut machine);
    assert_eq!(orders(&mut resumed(&machine)), first);
}

#[test]
fn the_model_is_offered_only_what_others_can_do_and_an_invented_word_means_nothing() {
    let plan = json!({"analysis": "x", "steps": [away("a", &[])]});
    let mut alone = begin(setup());
    let call = answer(&mut alone, "plan", reply(&plan));
    let schema = call.request.schema.as_ref().expect("a schema").schema.to_string();
    assert!(!schema.contains("capability") && !schema.contains("priority"), "{schema}");
    assert!(!said(&call).contains("capabilit"), "{}", said(&call));
    assert_eq!(ids(&tool_calls(&mut alone)), ["a#1"], "nobody has it, so nothing is asked");
    let mut among_others = begin(Setup { offered: vec!["fly".to_owned(), "SQL".to_owned()], ..setup() });
    let call = answer(&mut among_others, "plan", reply(&plan));
    let schema = call.request.schema.as_ref().expect("a schema").schema.to_string();
    assert!(schema.contains(r#""enum":["fly","SQL",null]"#), "{schema}");
    assert!(said(&call).contains("fly, SQL"), "{}", said(&call));
    assert_eq!(orders(&mut among_others)[0].capability, "sql");
}

#[test]
fn elements_of_a_list_are_ordered_a_few_at_a_time() {
    let plan = json!([
        step("page", "look", &[]),
        {"id": "judge", "instruction": "Judge ${item}", "each": "${page.rows}", "capability": "sql", "tools": []},
    ]);
    let mut machine = begin(with_plan(&plan));
    tool_calls(&mut machine);
    returned(&mut machine, "page#1", Ok(json!({"rows": (0..20).collect::<Vec<_>>()})));
    let first = orders(&mut machine);
    assert_eq!((first.len(), first[3].key.as_str()), (4, "judge-4#0^0"));
    for number in 1..=4 {
        placed(&mut machine, &format!("judge-{number}"), number, SOON);
    }
    assert_eq!(awaits(&mut machine).tasks.len(), 4);
}

#[test]
fn estimates_tell_how_long_the_open_steps_will_take() {
    let plan = json!([
        {"id": "a", "tool": "look", "estimated_s": 30},
        {"id": "b", "tool": "look", "estimated_s": 10},
        {"id": "c", "tool": "look", "depends_on": ["a", "b"]},
        {"id": "d", "tool": "send", "depends_on": ["c"], "estimated_s": 20},
    ]);
    let mut machine = begin(with_plan(&plan));
    let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
    machine.set_time(at(0));
    assert_eq!(tool_calls(&mut machine).len(), 2);
    assert_eq!(machine.progress().left_s, Some(70), "a, then c as long as the mean, then d");
    machine.set_time(at(12));
    assert_eq!(machine.progress().left_s, Some(58));
    returned(&mut machine, "a#1", Ok(json!(1)));
    assert_eq!(machine.progress().left_s, Some(40), "b should have ended");
    returned(&mut machine, "b#1", Err(Failure::permanent("no")));
    assert!(ended(&mut machine).is_err());
    assert_eq!(machine.progress().left_s, None);
    let mut silent = begin(with_plan(&json!([step("a", "look", &[])])));
    tool_calls(&mut silent);
    assert_eq!(silent.progress().left_s, None);
}
