//! Plan, replan, answer, and the limits of what they cost.

use super::*;

fn plan_of(steps: &Value) -> ModelReply {
    reply(json!({"analysis": "", "steps": steps}))
}

fn failed(class: FailureClass, message: &str) -> ModelFailed {
    let usage = Usage { prompt_tokens: 5, completion_tokens: 5 };
    ModelFailed { usage, ..unanswered(Failure::new(class, message)) }
}

/// A question that was answered, only not usably.
fn nonsense(message: &str) -> ModelFailed {
    ModelFailed { was_answered: true, ..failed(FailureClass::Permanent, message) }
}

#[test]
fn a_goal_is_planned_carried_out_and_answered() {
    let mut machine = begin(setup());
    assert!(machine.needs_plan());
    let call = answer(&mut machine, "plan", plan_of(&json!([step("a", "look", &[])])));
    assert!(said(&call).contains("<goal>\nReach the &lt;goal>\n</goal>"), "{}", said(&call));
    assert!(said(&call).contains("- look: Does look.") && call.request.schema.is_some());
    assert_eq!(ids(&tool_calls(&mut machine)), ["a#1"]);
    returned(&mut machine, "a#1", Ok(json!({"n": 1})));
    let call = answer(&mut machine, "answer", success());
    assert!(said(&call).contains("<data name=\"${a}\">\n{\"n\":1}\n</data>"), "{}", said(&call));
    let expected = json!({"output": "42", "reason": "s shows it", "ungrounded": ["42"]});
    assert_eq!(ended(&mut machine), Ok(expected));
    assert_eq!(machine.spent().usage.total(), 200);
    assert!((machine.spent().cost_usd - 0.5).abs() < 1e-9);
}

#[test]
fn a_declared_failure_is_a_failure_with_its_reason() {
    let mut machine = begin(with_plan(&json!([{"id": "a", "instruction": "think"}])));
    answer(&mut machine, "act", reply("hm"));
    answer(&mut machine, "answer", reply(json!({"success": false, "answer": "", "reason": "no data"})));
    assert_eq!(ended(&mut machine), Err(Failure::permanent("the agent declared failure: no data")));
}

#[test]
fn an_unreadable_answer_is_requested_again_and_is_never_success() {
    let mut machine = begin(with_plan(&json!([{"id": "a", "instruction": "think"}])));
    answer(&mut machine, "act", reply("hm"));
    answer(&mut machine, "answer", reply("all went well!"));
    let again = answer(&mut machine, "answer", reply(json!({"success": true, "answer": "", "reason": ""})));
    assert!(said(&again).contains("all went well!") && said(&again).contains("not an answer in JSON"));
    assert!(again.request.once, "one repair for a question");
    // Another attempt at the task would ask the same; a person who wants it tried again gets a new plan.
    assert_eq!(ended(&mut machine).expect_err("failure").class, FailureClass::Permanent);
    assert_eq!(model_call(&mut resumed(&machine)).request.purpose, "replan");
}

/// A run at its final question, whose model then says `said` and nothing that can be read.
fn answered_in_prose(said: &str) -> Result<Value, Failure> {
    let mut machine = begin(with_plan(&json!([{"id": "a", "instruction": "think"}])));
    answer(&mut machine, "act", reply("hm"));
    let call = model_call(&mut machine);
    let failed = nonsense("no JSON");
    machine.model_answered(&call.id, Err(ModelFailed { said: Some(said.to_owned()), ..failed })).expect("in flight");
    let kinds: Vec<&str> = machine.take_notes().iter().map(|note| note.kind.as_str()).collect();
    let outcome = ended(&mut machine);
    assert_eq!(kinds.contains(&"answer_unconfirmed"), outcome.is_ok(), "{kinds:?}");
    outcome
}

#[test]
fn prose_is_the_answer_once_all_steps_are_done_and_is_marked_as_not_confirmed() {
    let result = answered_in_prose("The factorial of 10 is **3628800**.").expect("a result");
    assert_eq!(
        (&result["output"], &result["confirmed"]),
        (&json!("The factorial of 10 is **3628800**."), &json!(false))
    );
    for said in ["", "I'm sorry, I could not find it.", "Which one do you mean?", "[1]", "{\"x\": 1}"] {
        assert_eq!(answered_in_prose(said), Err(Failure::permanent("no JSON")), "{said}");
    }
}

#[test]
fn prose_after_a_failed_plan_that_leaves_nothing_to_do_is_no_answer() {
    let mut machine = begin(setup());
    answer(&mut machine, "plan", plan_of(&json!([step("a", "look", &[]), step("b", "look", &[])])));
    tool_calls(&mut machine);
    returned(&mut machine, "a#1", Ok(json!(1)));
    returned(&mut machine, "b#1", Err(Failure::permanent("gone")));
    answer(&mut machine, "replan", plan_of(&json!([])));
    let call = model_call(&mut machine);
    let failed = ModelFailed { said: Some("All is well.".to_owned()), ..nonsense("no JSON") };
    machine.model_answered(&call.id, Err(failed)).expect("in flight");
    assert_eq!(ended(&mut machine), Err(Failure::permanent("no JSON")));
}

#[test]
fn a_model_that_thinks_up_to_its_limit_is_called_again_with_a_higher_one_that_is_reserved() {
    let mut machine = begin(setup());
    let exhausted = |limit, next| ModelReply {
        truncated: true,
        exhausted: Some(Exhausted { limit, next, window: None }),
        cost_usd: 0.0,
        ..reply("")
    };
    let call = answer(&mut machine, "plan", exhausted(1_000, Some(4_000)));
    assert_eq!(call.request.max_output_tokens, 1_000);
    let call = answer(&mut machine, "plan", plan_of(&json!([{"id": "a", "instruction": "think"}])));
    assert_eq!((call.request.max_output_tokens, call.request.once), (4_000, false));
    for turn in 0..20 {
        answer(&mut machine, "act", exhausted(4_000 + turn, Some(4_001 + turn)));
    }
    let call = model_call(&mut machine);
    let reserved = machine.state.reserved[&call.id].tokens;
    assert!(reserved >= u64::from(call.request.max_output_tokens) && call.request.max_output_tokens == 4_020);
    machine.model_answered(&call.id, Ok(reply("42"))).expect("in flight");
    answer(&mut machine, "answer", exhausted(8_000, None));
    let failure = ended(&mut machine).expect_err("a failure");
    assert_eq!(failure.class, FailureClass::Permanent);
    for told in ["all 8000 tokens", "thinking", "model.max_output_tokens_ceiling"] {
        assert!(failure.message.contains(told), "{failure}");
    }
    let raised = machine.take_notes().into_iter().filter(|note| note.kind.as_str() == "output_limit_raised").count();
    assert_eq!(raised, 21);
}

#[test]
fn a_window_that_left_the_model_too_little_to_think_is_named_with_the_way_out() {
    let mut machine = begin(setup());
    let exhausted = Some(Exhausted { limit: 1_024, next: None, window: Some(4_096) });
    answer(&mut machine, "plan", ModelReply { truncated: true, exhausted, ..reply("") });
    let failure = ended(&mut machine).expect_err("a failure");
    for told in ["all 1024 tokens", "reads 4096 tokens at once", "--ctx-size", "OLLAMA_CONTEXT_LENGTH", "num_ctx"] {
        assert!(failure.message.contains(told), "{failure}");
    }
    assert!(!failure.message.contains("max_output_tokens"), "{failure}");
}

#[test]
fn what_is_wrong_with_a_plan_goes_back_to_the_model() {
    let mut machine = begin(setup());
    let circular = json!([step("a", "look", &["b"]), step("b", "look", &["a"]), step("c", "fly", &[])]);
    answer(&mut machine, "plan", plan_of(&circular));
    let again = answer(&mut machine, "plan", plan_of(&json!([step("a", "look", &[])])));
    assert!(said(&again).contains("the plan has a cycle: a -> b -> a"), "{}", said(&again));
    assert!(said(&again).contains("unknown tool \"fly\""), "{}", said(&again));
    assert_eq!(ids(&tool_calls(&mut machine)), ["a#1"]);
}

#[test]
fn a_decomposition_that_fails_falls_back_to_one_step_for_the_whole_goal() {
    let mut machine = begin(setup());
    answer(&mut machine, "plan", plan_of(&json!([step("a", "look", &["nowhere"])])));
    answer(&mut machine, "plan", plan_of(&json!([step("a b", "look", &[])])));
    let call = answer(&mut machine, "act", reply("42"));
    assert!(said(&call).contains("<step id=\"goal\">\nReach the goal.\n</step>"), "{}", said(&call));
    answer(&mut machine, "answer", success());
    assert!(ended(&mut machine).is_ok());
    let planned = machine.take_notes().into_iter().find(|note| note.kind.as_str() == "planned").expect("noted");
    assert_eq!(planned.data["fallback"], json!(true));
}

#[test]
fn a_model_that_only_talks_nonsense_while_planning_is_done_without() {
    let mut machine = begin(setup());
    let call = model_call(&mut machine);
    machine.model_answered(&call.id, Err(nonsense("no JSON"))).expect("in flight");
    assert_eq!(model_call(&mut machine).request.purpose, "act");

    let mut machine = begin(setup());
    let call = model_call(&mut machine);
    // Another model was asked then, and is away.
    let unreachable = ModelFailed { was_answered: true, ..failed(FailureClass::Transient, "no route") };
    machine.model_answered(&call.id, Err(unreachable)).expect("in flight");
    assert_eq!(ended(&mut machine), Err(Failure::transient("no route")));
}

#[test]
fn a_model_that_fails_while_planning_ends_the_run_in_its_class() {
    let mut machine = begin(setup());
    let call = model_call(&mut machine);
    machine.model_answered(&call.id, Err(failed(FailureClass::RateLimited, "slow down"))).expect("in flight");
    assert_eq!(ended(&mut machine).expect_err("failure").class, FailureClass::RateLimited);
    assert_eq!((machine.spent().model_calls, machine.spent().usage.total()), (1, 10));
}

#[test]
fn a_failed_step_leads_to_a_new_plan_that_keeps_what_is_done() {
    let mut machine = begin(setup());
    answer(&mut machine, "plan", plan_of(&json!([step("a", "look", &[]), step("b", "look", &[])])));
    tool_calls(&mut machine);
    returned(&mut machine, "a#1", Ok(json!({"v": 5})));
    returned(&mut machine, "b#1", Err(Failure::permanent("gone")));
    let again = json!([{"id": "b", "tool": "look", "arguments": "{\"v\": \"${a.v}\"}"}]);
    let call = answer(&mut machine, "replan", plan_of(&again));
    assert!(said(&call).contains("b: look: FAILED: permanent: gone"), "{}", said(&call));
    let calls = tool_calls(&mut machine);
    assert_eq!((ids(&calls), &calls[0].arguments), (vec!["b~1#1"], &json!({"v": 5})));
    returned(&mut machine, "b~1#1", Ok(json!(1)));
    answer(&mut machine, "answer", success());
    assert!(ended(&mut machine).is_ok());
    let progress = machine.progress();
    assert_eq!((machine.spent().replans, progress.describe()), (1, "2 of 3 done, 1 failed".to_owned()));
    assert_eq!(progress.settled(), progress.total);
}

#[test]
fn new_plans_are_bounded() {
    let budget = Budget { max_replans: 2, ..Budget::default() };
    let mut machine = begin(Setup { budget, ..setup() });
    for purpose in ["plan", "replan", "replan"] {
        answer(&mut machine, purpose, plan_of(&json!([step("a", "look", &[])])));
        let id = tool_calls(&mut machine)[0].id.clone();
        returned(&mut machine, &id, Err(Failure::permanent("gone")));
    }
    assert_eq!(ended(&mut machine), Err(Failure::permanent("gone").in_step("a")));
}

#[test]
fn a_passing_failure_is_left_to_the_retry_of_the_task_unless_there_is_none() {
    let run = |last_attempt| {
        let mut machine = begin(Setup { last_attempt, ..setup() });
        answer(&mut machine, "plan", plan_of(&json!([step("a", "send", &[])])));
        tool_calls(&mut machine);
        returned(&mut machine, "a#1", Err(Failure::transient("busy")));
        machine.next_action()
    };
    assert_eq!(run(false), Action::Done(Err(Failure::transient("busy").in_step("a"))));
    assert!(matches!(run(true), Action::CallModel(call) if call.request.purpose == "replan"));
}

#[test]
fn a_new_plan_may_say_that_nothing_is_left_to_do() {
    let mut machine = begin(setup());
    answer(&mut machine, "plan", plan_of(&json!([step("a", "look", &[])])));
    tool_calls(&mut machine);
    returned(&mut machine, "a#1", Err(Failure::permanent("gone")));
    answer(&mut machine, "replan", plan_of(&json!([])));
    let call = answer(&mut machine, "answer", reply(json!({"success": false, "answer": "", "reason": "it is gone"})));
    assert!(said(&call).contains("FAILED: permanent: gone"));
    assert!(ended(&mut machine).expect_err("failure").message.contains("it is gone"));
}

/// Eight steps that would all ask the model at once, by a model that takes all it may.
fn greedy(budget: &Budget, price: Price) -> (Failure, Spent, usize) {
    let steps: Vec<Value> = (0..8).map(|n| json!({"id": format!("s{n}"), "instruction": "think"})).collect();
    let mut machine = begin(Setup { budget: budget.clone(), price, ..with_plan(&json!(steps)) });
    let mut widest = 0;
    let failure = loop {
        let mut in_flight = Vec::new();
        let last = loop {
            match machine.next_action() {
                Action::CallModel(call) => in_flight.push(*call),
                other => break other,
            }
        };
        widest = widest.max(in_flight.len());
        if let Action::Done(outcome) = last {
            break outcome.expect_err("budget");
        }
        for ModelCall { id, request } in in_flight {
            let usage = Usage {
                prompt_tokens: request.prompt_tokens(),
                completion_tokens: u64::from(request.max_output_tokens),
            };
            let reply = ModelReply { usage, cost_usd: price.of(usage), ..wants(&[("nothing", json!({"by": id}))]) };
            machine.model_answered(&id, Ok(reply)).expect("in flight");
        }
    };
    (failure, machine.spent().clone(), widest)
}

#[test]
fn calls_that_begin_together_stay_within_every_limit_and_use_it_up() {
    let budget = Budget { max_model_calls: 20, ..Budget::default() };
    let (failure, spent, widest) = greedy(&budget, Price::default());
    assert_eq!((failure.budget, spent.model_calls, widest), (Some(BudgetLimit::ModelCalls), 20, 8));

    let price = Price { prompt: 10.0, completion: 100.0 };
    for thousands in 2..30 {
        let (max_tokens, max_cost_usd) = (thousands * 1_000, f64::from(u32::try_from(thousands).expect("small")) * 0.1);
        let budget = Budget { max_tokens, ..Budget::default() };
        let (failure, spent, widest) = greedy(&budget, Price::default());
        let left = max_tokens - spent.usage.total();
        assert_eq!(failure.budget, Some(BudgetLimit::Tokens), "{failure}");
        assert!(left < 2_000 && spent.model_calls > 0, "{left} left of {max_tokens}");
        assert!(if thousands < 10 { widest < 8 } else { widest == 8 || thousands < 20 }, "{widest} of {max_tokens}");

        let budget = Budget { max_cost_usd, ..Budget::default() };
        let (failure, spent, _) = greedy(&budget, price);
        let left = max_cost_usd - spent.cost_usd;
        assert_eq!(failure.budget, Some(BudgetLimit::Cost), "{failure}");
        assert!((0.0..0.05).contains(&left) && spent.model_calls > 0, "{left} left");
    }
}

#[test]
fn a_call_reserves_as_much_as_the_costliest_so_far() {
    let steps = json!([{"id": "a", "instruction": "think"}, {"id": "b", "instruction": "think"}]);
    let budget = Budget { max_cost_usd: 0.6, ..Budget::default() };
    let mut machine = begin(Setup { budget, ..with_plan(&steps) });
    // Without a price nothing is known before the first answer, which cost 0.25.
    let calls = [model_call(&mut machine), model_call(&mut machine)];
    machine.model_answered(&calls[0].id, Ok(wants(&[("nothing", json!({}))]))).expect("in flight");
    assert_eq!(machine.next_action(), Action::Wait);
}

#[test]
fn a_call_that_nothing_pays_for_is_not_made_and_says_why() {
    let budget = Budget { max_tokens: 300, ..Budget::default() };
    let failure = ended(&mut begin(Setup { budget, ..setup() })).expect_err("too little");
    assert!(failure.message.starts_with("max_tokens of 300 leaves too little for the next model call"), "{failure}");
}

#[test]
fn a_plan_larger_than_what_is_left_of_the_budget_goes_back_to_the_model() {
    let budget = Budget { max_steps: 2, ..Budget::default() };
    let mut machine = begin(Setup { budget, ..setup() });
    let steps: Vec<Value> = (0..3).map(|n| step(&format!("s{n}"), "look", &[])).collect();
    answer(&mut machine, "plan", plan_of(&json!(steps)));
    let call = answer(&mut machine, "plan", plan_of(&json!(steps[..2])));
    assert!(said(&call).contains("only 2 of max_steps 2 are left"), "{}", said(&call));
    assert_eq!(tool_calls(&mut machine).len(), 2);
}

#[test]
fn no_step_begins_once_the_time_is_up_and_those_under_way_end_first() {
    let budget = Budget { max_duration_s: 1, ..Budget::default() };
    let plan = json!([step("a", "look", &[]), step("b", "look", &["a"])]);
    let mut machine = begin(Setup { budget, ..with_plan(&plan) });
    let calls = tool_calls(&mut machine);
    machine.time_passed(1_000);
    assert!(matches!(machine.next_action(), Action::Wait));
    returned(&mut machine, &calls[0].id, Ok(json!(1)));
    let failure = ended(&mut machine).expect_err("no time");
    assert_eq!(
        (failure.budget, failure.message.as_str()),
        (
            Some(BudgetLimit::Time),
            "the run has worked for 1 s, the most that max_duration_s of its budget allows: raise it, or split the task"
        )
    );
}
