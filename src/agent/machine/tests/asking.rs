//! What the model is told, in which order, and what it may call.

use super::*;
use crate::agent::machine::RunClock;
use crate::domain::time::Timestamp;

fn at_noon(goal: &str) -> Setup {
    let clock = RunClock { at: Timestamp::from_millis(0), text: "It is Thursday 2026-11-26 12:00, UTC.".to_owned() };
    let about = "Does something that takes a few words to explain, so that the tools have the length of real ones. ";
    let tools = (0..8).map(|n| {
        let described = ToolSpec { description: about.repeat(3), ..(*tool(&format!("tool_{n}"), true)).clone() };
        Arc::new(described)
    });
    Setup { goal: goal.to_owned(), clock: Some(clock), tools: tools.collect(), ..setup() }
}

/// The system message and the rest of a request.
fn parts(call: &ModelCall) -> (String, String) {
    let Some(Message::System { content: system }) = call.request.messages.first() else { panic!("a system message") };
    let Some(Message::User { content: user }) = call.request.messages.get(1) else { panic!("a user message") };
    (system.clone(), user.clone())
}

#[test]
fn two_plan_questions_begin_with_the_same_bytes_and_end_with_clock_and_goal() {
    let goals = ["Report the status of the boards", "Compare the prices of three kettles"];
    let asked = goals.map(|goal| parts(&model_call(&mut begin(at_noon(goal)))));
    assert_eq!(asked[0].0, asked[1].0);
    for ((system, user), goal) in asked.iter().zip(goals) {
        let share = system.len() * 100 / (system.len() + user.len());
        assert!(share >= 75, "{share} % are the same for every goal");
        let clock = user.find("<clock>\nIt is Thursday 2026-11-26 12:00, UTC.\n</clock>").expect("a clock");
        assert!(clock < user.find(&format!("<goal>\n{goal}\n</goal>")).expect("a goal"), "{user}");
        assert!(!system.contains(goal));
    }
}

#[test]
fn a_new_plan_is_requested_with_the_system_message_of_the_first() {
    let mut machine = begin(Setup { tools: setup().tools, ..at_noon("g") });
    let first = answer(&mut machine, "plan", reply(json!({"steps": [step("a", "look", &[])]})));
    tool_calls(&mut machine);
    returned(&mut machine, "a#1", Err(Failure::permanent("gone")));
    let again = model_call(&mut machine);
    assert_eq!(again.request.purpose, "replan");
    assert_eq!(parts(&first).0, parts(&again).0);
}

#[test]
fn every_question_tells_the_time() {
    let mut machine = begin(Setup { tools: setup().tools, ..at_noon("g") });
    let steps = json!([{"id": "a", "instruction": "think"}, step("b", "look", &["a"])]);
    let plan = answer(&mut machine, "plan", reply(json!({ "steps": steps })));
    let act = answer(&mut machine, "act", reply("hm"));
    tool_calls(&mut machine);
    returned(&mut machine, "b#1", Err(Failure::permanent("gone")));
    let replan = answer(&mut machine, "replan", reply(json!({"steps": []})));
    let last = answer(&mut machine, "answer", success());
    for call in [plan, act, replan, last] {
        assert!(said(&call).contains("Thursday 2026-11-26"), "{}", said(&call));
    }
}

#[test]
fn a_run_tells_one_time_until_it_continues_much_later() {
    let mut machine = begin(at_noon("g"));
    let told = |machine: &Machine, minutes: i64| {
        let clock = RunClock { at: Timestamp::from_millis(minutes * 60_000), text: format!("minute {minutes}") };
        let setup = Setup { clock: Some(clock), ..machine.setup.clone() };
        let mut later = Machine::resume(setup, &machine.state().expect("a state")).expect("readable");
        said(&model_call(&mut later))
    };
    model_call(&mut machine);
    assert!(told(&machine, 9).contains("Thursday 2026-11-26"));
    assert!(told(&machine, 11).contains("minute 11"));
}

#[test]
fn an_instruction_step_is_offered_the_tools_that_its_plan_names_and_no_other() {
    for (tools, offered) in [
        (json!(null), vec!["fail_step"]),
        (json!([]), vec!["fail_step"]),
        (json!(["look"]), vec!["look", "fail_step"]),
        (json!(["Look", "send"]), vec!["look", "send", "fail_step"]),
    ] {
        let mut machine = begin(setup());
        let steps = json!([{"id": "a", "instruction": "think", "tools": tools}]);
        answer(&mut machine, "plan", reply(json!({ "steps": steps })));
        let call = answer(&mut machine, "act", wants(&[("send", json!({}))]));
        let names: Vec<&str> = call.request.tools.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!(names, offered, "{tools}");
        if names.contains(&"send") {
            assert_eq!(tool_calls(&mut machine).len(), 1);
        } else {
            assert!(said(&model_call(&mut machine)).contains("no tool \"send\""));
        }
    }
    let mut machine = begin(setup());
    answer(&mut machine, "plan", reply(json!({"steps": [{"id": "a", "instruction": "think", "tools": ["fly"]}]})));
    let again = model_call(&mut machine);
    assert!(said(&again).contains("step \"a\" uses unknown tool \"fly\"; known are: look, send"), "{}", said(&again));
}

#[test]
fn an_instruction_step_of_a_given_plan_may_call_all_tools_unless_it_names_some() {
    for (tools, count) in [(json!(null), 3), (json!(["send"]), 2)] {
        let mut machine = begin(with_plan(&json!([{"id": "a", "instruction": "think", "tools": tools}])));
        assert_eq!(model_call(&mut machine).request.tools.len(), count);
    }
}

#[test]
fn the_step_that_answers_gives_the_result_without_another_question() {
    let steps = json!([step("page", "look", &[]), {"id": "sum", "instruction": "sum up ${page}", "tools": []}]);
    let mut machine = begin(setup());
    answer(&mut machine, "plan", reply(json!({"steps": steps, "answer": "sum"})));
    tool_calls(&mut machine);
    returned(&mut machine, "page#1", Ok(json!("all green")));
    let call = answer(&mut machine, "act", reply("All services are green."));
    assert!(said(&call).contains("The output of this step is the result"), "{}", said(&call));
    let result = ended(&mut machine).expect("a result");
    assert_eq!(result, json!({"output": "All services are green.", "reason": "step sum answers the goal"}));
    assert_eq!(machine.spent().model_calls, 2);
}

#[test]
fn an_output_that_reads_like_a_failure_or_a_question_is_no_result_of_itself() {
    for output in ["I could not read the page.", "Which board do you mean?", "{\"error\": \"not found\"}", "{}", "[]"] {
        let mut machine = begin(setup());
        let steps = json!([{"id": "sum", "instruction": "sum up"}]);
        answer(&mut machine, "plan", reply(json!({"steps": steps, "answer": "sum"})));
        answer(&mut machine, "act", reply(output));
        let question = model_call(&mut machine);
        assert_eq!(question.request.purpose, "answer", "{output}");
    }
}

#[test]
fn an_answer_step_that_is_a_tool_or_not_there_leads_to_the_question() {
    for name in ["a", "nowhere"] {
        let mut machine = begin(setup());
        answer(&mut machine, "plan", reply(json!({"steps": [step("a", "look", &[])], "answer": name})));
        tool_calls(&mut machine);
        returned(&mut machine, "a#1", Ok(json!(42)));
        answer(&mut machine, "answer", success());
        assert!(ended(&mut machine).is_ok());
    }
}

#[test]
fn the_question_for_the_answer_shows_what_no_other_step_has_used() {
    let steps = json!([step("page", "look", &[]), {"id": "sum", "instruction": "sum up ${page}"}]);
    let mut machine = begin(with_plan(&steps));
    tool_calls(&mut machine);
    returned(&mut machine, "page#1", Ok(json!("a long page")));
    answer(&mut machine, "act", reply("in short"));
    let question = said(&model_call(&mut machine));
    assert!(question.contains("<data name=\"${sum}\">\nin short"), "{question}");
    assert!(!question.contains("a long page") && question.contains("page: look: done"), "{question}");
}

#[test]
fn a_plan_in_place_of_an_answer_is_no_success() {
    let mut machine = begin(with_plan(&json!([{"id": "a", "instruction": "think"}])));
    answer(&mut machine, "act", reply("hm"));
    answer(&mut machine, "answer", reply(json!({"steps": [step("b", "look", &[])], "answer": "b"})));
    assert!(said(&model_call(&mut machine)).contains("this is a plan and no answer"));
}

#[test]
fn more_is_planned_while_replans_are_left() {
    let mut machine = begin(setup());
    answer(&mut machine, "plan", reply(json!({"steps": [step("a", "look", &[])]})));
    tool_calls(&mut machine);
    returned(&mut machine, "a#1", Ok(json!({"next": "/json"})));
    let more = json!({"outcome": "more", "answer": "", "reason": "the page links to /json, which must be read, too"});
    answer(&mut machine, "answer", reply(&more));
    let replan = answer(&mut machine, "replan", reply(json!({"steps": [step("b", "look", &["a"])]})));
    assert!(said(&replan).contains("What is missing: the page links to /json"), "{}", said(&replan));
    tool_calls(&mut machine);
    returned(&mut machine, "b~1#1", Ok(json!(42)));
    answer(&mut machine, "answer", reply(&more));
    answer(&mut machine, "replan", reply(json!({"steps": []})));
    answer(&mut machine, "answer", reply(&more));
    let failure = ended(&mut machine).expect_err("no replans are left");
    assert!(failure.message.contains("the page links to /json"), "{failure}");
}
