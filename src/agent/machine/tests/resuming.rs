//! Going on after a crash, a retry or a requeue.

use super::*;

#[test]
fn a_call_in_flight_is_repeated_only_when_that_is_harmless() {
    let plan = json!([step("a", "look", &[]), step("b", "send", &[])]);
    let mut machine = begin(with_plan(&plan));
    assert_eq!(ids(&tool_calls(&mut machine)), ["a#1", "b#1"]);
    let mut next = resumed(&machine);
    assert_eq!(ids(&tool_calls(&mut next)), ["a#1"]);
    returned(&mut next, "a#1", Ok(json!(1)));
    let failure = ended(&mut next).expect_err("unknown");
    assert_eq!((failure.class, failure.step.as_deref()), (FailureClass::Permanent, Some("b")));
    assert!(failure.message.starts_with("outcome unknown"), "{failure}");
}

#[test]
fn a_safe_http_method_makes_a_call_repeatable() {
    let plan = json!([
        {"id": "get", "tool": "send", "arguments": {"method": "GET"}},
        {"id": "post", "tool": "send", "arguments": {"method": "POST"}},
    ]);
    let mut machine = begin(with_plan(&plan));
    tool_calls(&mut machine);
    assert_eq!(ids(&tool_calls(&mut resumed(&machine))), ["get#1"]);
}

#[test]
fn an_unknown_outcome_in_a_step_with_judgement_fails_the_step_and_a_new_plan_decides() {
    let mut machine = begin(with_plan(&json!([{"id": "a", "instruction": "send it"}])));
    answer(&mut machine, "act", wants(&[("send", json!({}))]));
    tool_calls(&mut machine);
    let mut next = resumed(&machine);
    let call = model_call(&mut next);
    assert_eq!(call.request.purpose, "replan");
    assert!(said(&call).contains("outcome unknown"), "{}", said(&call));
    // Neither a crash now nor a retry after a passing failure of this question repeats the call.
    let mut crashed = resumed(&next);
    assert_eq!(model_call(&mut crashed).request.purpose, "replan");
    let failed = unanswered(Failure::transient("down"));
    next.model_answered(&call.id, Err(failed)).expect("in flight");
    assert!(ended(&mut next).is_err());
    let mut retried = resumed(&next);
    assert_eq!(model_call(&mut retried).request.purpose, "replan");
    assert_eq!(retried.spent().replans, 1);
}

#[test]
fn a_retried_task_goes_on_with_what_failed_and_what_that_blocked() {
    let plan = json!([step("a", "send", &[]), step("b", "send", &["a"]), step("c", "send", &["b"])]);
    let mut machine = begin(with_plan(&plan));
    tool_calls(&mut machine);
    returned(&mut machine, "a#1", Ok(json!(1)));
    tool_calls(&mut machine);
    returned(&mut machine, "b#1", Err(Failure::transient("busy")));
    assert!(ended(&mut machine).is_err());
    let mut next = resumed(&machine);
    assert_eq!(ids(&tool_calls(&mut next)), ["b#1"]);
    returned(&mut next, "b#1", Ok(json!(2)));
    assert_eq!(ids(&tool_calls(&mut next)), ["c#1"]);
    returned(&mut next, "c#1", Ok(json!(3)));
    assert!(ended(&mut next).is_ok());
    assert_eq!(next.spent().steps, 3);
}

#[test]
fn a_requeued_task_tries_even_what_had_failed_for_good_again() {
    let mut machine = begin(with_plan(&json!([step("a", "send", &[]), step("b", "send", &["a"])])));
    tool_calls(&mut machine);
    returned(&mut machine, "a#1", Err(Failure::permanent("no")));
    assert!(ended(&mut machine).is_err());
    assert_eq!(ids(&tool_calls(&mut resumed(&machine))), ["a#1"]);
}

#[test]
fn a_requeued_task_whose_agent_had_declared_failure_is_planned_anew() {
    let mut machine = begin(with_plan(&json!([{"id": "a", "instruction": "think"}])));
    answer(&mut machine, "act", reply("hm"));
    answer(&mut machine, "answer", reply(json!({"success": false, "answer": "", "reason": "no data"})));
    assert!(ended(&mut machine).is_err());
    assert_eq!(model_call(&mut resumed(&machine)).request.purpose, "replan");
}

#[test]
fn a_run_that_had_succeeded_stays_so() {
    let mut machine = begin(with_plan(&json!([step("a", "send", &[])])));
    tool_calls(&mut machine);
    returned(&mut machine, "a#1", Ok(json!(1)));
    let outcome = ended(&mut machine);
    assert_eq!(ended(&mut resumed(&machine)), outcome);
}

#[test]
fn a_checkpoint_of_another_version_or_of_nothing_is_refused() {
    let read = |state: Value| Machine::resume(setup(), &state).expect_err("unreadable");
    let mut newer = begin(setup()).state().expect("state");
    newer["version"] = json!(2);
    assert_eq!(read(newer), InvalidCheckpoint::Version(2));
    assert!(matches!(read(json!(null)), InvalidCheckpoint::Malformed(_)));
    assert!(matches!(read(json!({"version": 1, "phase": "dreaming"})), InvalidCheckpoint::Malformed(_)));
}

#[test]
fn a_damaged_checkpoint_ends_the_run_instead_of_hanging_it() {
    let mut state = begin(with_plan(&json!([step("a", "look", &[])]))).state().expect("state");
    state["steps"][0]["plan"]["depends_on"] = json!(["a"]);
    let mut machine = Machine::resume(setup(), &state).expect("readable");
    assert_eq!(ended(&mut machine).expect_err("damaged").class, FailureClass::Invalid);
}

/// A plan drawn at random: for each step its tool, what it depends on, and how its call ends.
#[derive(Clone, Debug)]
struct Drawn {
    steps: Value,
    results: HashMap<String, ToolResult>,
    planned_by_model: bool,
}

fn drawn(only_repeatable: bool) -> impl Strategy<Value = Drawn> {
    let one = (any::<[bool; 6]>(), 0..10_u8, any::<bool>());
    (proptest::collection::vec(one, 1..7), any::<bool>()).prop_map(move |(rows, planned_by_model)| {
        let mut steps = Vec::new();
        let mut results = HashMap::new();
        for (index, (edges, result, repeatable)) in rows.into_iter().enumerate() {
            let id = format!("s{index}");
            let depends_on: Vec<String> = (0..index).filter(|other| edges[*other]).map(|o| format!("s{o}")).collect();
            let tool = if only_repeatable || repeatable { "look" } else { "send" };
            steps.push(json!({"id": id, "tool": tool, "depends_on": depends_on}));
            let result = match result {
                0 => Err(Failure::permanent("gone")),
                1 => Err(Failure::transient("busy")),
                _ => Ok(json!({"of": id})),
            };
            results.insert(id, result);
        }
        Drawn { steps: json!(steps), results, planned_by_model }
    })
}

/// What happens to the machine between two results.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Interruption {
    None,
    /// Serialised and read again, nothing lost.
    Copy,
    /// The process dies: what is in flight is lost, the next one resumes.
    Crash,
}

fn interruptions() -> impl Strategy<Value = Vec<(Interruption, u8)>> {
    let one = prop_oneof![Just(Interruption::None), Just(Interruption::Copy), Just(Interruption::Crash)];
    proptest::collection::vec((one, any::<u8>()), 0..40)
}

struct Run {
    outcome: Result<Value, Failure>,
    /// How often each call was made.
    made: HashMap<String, usize>,
    outline: Vec<String>,
}

/// Runs to the end. Each entry of `fate` says which call in flight returns next and what happens after that.
fn run(drawn: &Drawn, fate: &[(Interruption, u8)]) -> Run {
    let start = if drawn.planned_by_model { setup() } else { with_plan(&drawn.steps) };
    let mut machine = begin(start);
    let mut in_flight: Vec<Action> = Vec::new();
    let mut recorded: Vec<String> = Vec::new();
    let mut made: HashMap<String, usize> = HashMap::new();
    let mut fate = fate.iter();
    loop {
        let outcome = loop {
            match machine.next_action() {
                Action::CallTools(calls) => {
                    for call in calls {
                        assert!(!recorded.contains(&call.id), "{} is recorded and called again", call.id);
                        *made.entry(call.id.clone()).or_default() += 1;
                        in_flight.push(Action::CallTools(vec![call]));
                    }
                }
                call @ Action::CallModel(_) => in_flight.push(call),
                Action::Wait => break None,
                Action::Load(_) => panic!("nothing became an artifact"),
                Action::AwaitApproval(_) => panic!("nobody needs to be asked"),
                Action::Order(_) | Action::AwaitTasks(_) => panic!("it can do all itself"),
                Action::ReadTree => panic!("it is alone"),
                Action::Done(outcome) => break Some(outcome),
            }
        };
        if let Some(outcome) = outcome {
            // Which of several failed steps blocked one depends on the order in which they failed.
            let outline = machine.outline();
            let lines = outline.lines().map(|line| line.split(", because").next().unwrap_or(line).to_owned());
            return Run { outcome, made, outline: lines.collect() };
        }
        let (interruption, pick) = fate.next().copied().unwrap_or((Interruption::None, 0));
        assert!(!in_flight.is_empty(), "waits for nothing");
        match interruption {
            Interruption::Crash => {
                in_flight.clear();
                machine = resumed(&machine);
                continue;
            }
            Interruption::Copy => machine = copied(&machine),
            Interruption::None => {}
        }
        match in_flight.swap_remove(usize::from(pick) % in_flight.len()) {
            Action::CallModel(call) => {
                let reply = match call.request.purpose {
                    "plan" => reply(json!({"steps": drawn.steps})),
                    "replan" => reply(json!({"steps": []})),
                    _ if said(&call).contains("FAILED") => {
                        reply(json!({"success": false, "answer": "", "reason": "a step failed"}))
                    }
                    _ => success(),
                };
                machine.model_answered(&call.id, Ok(reply)).expect("in flight");
            }
            Action::CallTools(calls) => {
                let result = drawn.results[&calls[0].step].clone();
                if result.is_ok() {
                    recorded.push(calls[0].id.clone());
                }
                machine.tool_returned(&calls[0].id, &result).expect("in flight");
            }
            other => panic!("{other:?} is no call"),
        }
    }
}

proptest! {
    #[test]
    fn interrupted_anywhere_a_run_ends_the_same(drawn in drawn(true), fate in interruptions()) {
        let (whole, interrupted) = (run(&drawn, &[]), run(&drawn, &fate));
        prop_assert_eq!(whole.outcome, interrupted.outcome);
        prop_assert_eq!(whole.outline, interrupted.outline);
    }

    #[test]
    fn interrupted_anywhere_no_unrepeatable_call_is_made_twice(drawn in drawn(false), fate in interruptions()) {
        let made = run(&drawn, &fate).made;
        for step in drawn.steps.as_array().expect("steps").iter().filter(|step| step["tool"] == "send") {
            let id = step["id"].as_str().expect("an id");
            // A recorded passing failure is another matter: the call did return, and said that it may be tried again.
            if drawn.results[id] != Err(Failure::transient("busy")) {
                prop_assert!(made.get(&format!("{id}#1")).is_none_or(|times| *times == 1), "{} was called twice", id);
            }
        }
    }

    #[test]
    fn a_copy_after_every_transition_changes_nothing(drawn in drawn(false), picks in any::<[u8; 30]>()) {
        let plain: Vec<_> = picks.iter().map(|pick| (Interruption::None, *pick)).collect();
        let copied: Vec<_> = picks.iter().map(|pick| (Interruption::Copy, *pick)).collect();
        let (plain, copied) = (run(&drawn, &plain), run(&drawn, &copied));
        prop_assert_eq!(plain.outcome, copied.outcome);
        prop_assert_eq!(plain.made, copied.made);
    }
}

/// Fails the model call that must come next, as of a model that is away.
fn away(machine: &mut Machine, cause: &str) {
    let call = model_call(machine);
    let failed = ModelFailed {
        failure: Failure::unavailable(cause),
        repairs: 0,
        usage: Usage::default(),
        cost_usd: 0.0,
        was_answered: false,
        said: None,
    };
    machine.time_passed(90_000);
    machine.model_answered(&call.id, Err(failed)).expect("in flight");
}

#[test]
fn a_model_that_is_away_ends_the_run_in_any_phase_without_a_new_plan_and_costs_nothing() {
    let last = Setup { last_attempt: true, ..setup() };
    let mut machine = begin(last.clone());
    let again = |machine: &mut Machine| {
        let failure = ended(machine).expect_err("away");
        assert_eq!(failure.class, FailureClass::Unavailable, "{failure}");
        let spent = machine.spent().clone();
        assert_eq!((spent.replans, spent.active_ms), (0, 0));
        *machine = Machine::resume(last.clone(), &machine.state().expect("JSON")).expect("readable");
        spent.model_calls
    };
    for _ in 0..60 {
        away(&mut machine, "cannot connect");
        assert_eq!(again(&mut machine), 0, "planning");
    }
    answer(&mut machine, "plan", reply(json!({"analysis": "", "steps": [{"id": "a", "instruction": "think"}]})));
    for _ in 0..60 {
        away(&mut machine, "cannot connect");
        assert_eq!(again(&mut machine), 1, "acting");
    }
    answer(&mut machine, "act", reply("42"));
    away(&mut machine, "cannot connect");
    assert_eq!(again(&mut machine), 2, "answering");
    answer(&mut machine, "answer", success());
    assert!(ended(&mut machine).is_ok());
}
