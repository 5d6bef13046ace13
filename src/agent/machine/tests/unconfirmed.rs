//! Answers of a run in turns that are taken although they may not be what the goal asks for.

use super::planning::failed;
use super::turning::*;
use super::*;

#[test]
fn a_calculation_with_all_numbers_of_the_goal_stands_for_words_that_invent_others() {
    let mut machine = in_turns("Add 15 % tax to 240, then divide the result by 4.");
    answer(&mut machine, "act", calls("calculate", &json!({"expression": "(240 * 1.15) / 4"})));
    tool_calls(&mut machine);
    returned(&mut machine, "goal#1", Ok(json!({"value": "69"})));
    answer(&mut machine, "act", ends("done", "The tax is 33.6, which makes 8.4."));
    let told = answer(&mut machine, "act", ends("done", "It is 33.6, so 8.4."));
    let expected = "33.6, 8.4 in your answer stands in no result of a tool, nor in the goal. Leave it out. Look at the results \
        above: {\"value\":\"69\"}";
    assert!(said(&told).contains(expected), "{}", said(&told));
    let result = ended(&mut machine).expect("its calculation");
    assert_eq!((&result["output"], &result["confirmed"]), (&json!("(240 * 1.15) / 4 = 69"), &json!(false)));

    let (taxed, doubled) = ("Add 15 % tax to 240, then divide the result by 4.", "Multiply 50 by 2, then add 100.");
    for (goal, expression, value) in [(taxed, "240 * 1.15", "276"), (doubled, "50 * 2", "100")] {
        let mut machine = in_turns(goal);
        answer(&mut machine, "act", calls("calculate", &json!({"expression": expression})));
        tool_calls(&mut machine);
        returned(&mut machine, "goal#1", Ok(json!({"value": value})));
        for _ in 0..4 {
            answer(&mut machine, "act", ends("done", "It is 33.6."));
        }
        assert!(ended(&mut machine).is_err(), "half of the calculation is no result: {goal}");
    }
}

#[test]
fn an_answer_has_the_day_and_the_date_that_the_goal_asks_for() {
    let goal = "Which date is today, and which day of the week?";
    let mut machine = in_turns(goal);
    answer(&mut machine, "act", ends("done", "It is Saturday."));
    let told = answer(&mut machine, "act", ends("done", "Saturday, 2026-11-28"));
    assert!(said(&told).contains("asks for a date, and your answer names none"), "{}", said(&told));
    assert_eq!(ended(&mut machine).expect("both")["output"], json!("Saturday, 2026-11-28"));

    let mut machine = in_turns(goal);
    answer(&mut machine, "act", ends("done", "It is Saturday."));
    answer(&mut machine, "act", ends("done", "It is Saturday."));
    assert!(ended(&mut machine).expect_err("half of an answer").message.contains("asks for a date"));

    let mut machine = in_turns("Which weekday is it? Answer in German.");
    answer(&mut machine, "act", ends("done", "Samstag"));
    answer(&mut machine, "act", ends("done", "Samstag"));
    let result = ended(&mut machine).expect("right in another language");
    assert_eq!((&result["output"], &result["confirmed"]), (&json!("Samstag"), &json!(false)));
}

#[test]
fn a_number_that_the_model_worked_out_is_calculated() {
    for first in [Ok(json!({"found": true, "value": 4711})), Err(Failure::invalid("no such file"))] {
        let has_data = first.is_ok();
        let goal = "Fetch the number of locker_code, which is 4711 times 1, and double it.";
        let mut machine = in_turns(goal);
        answer(&mut machine, "act", calls("fetch", &json!({"url": "http://x/"})));
        tool_calls(&mut machine);
        returned(&mut machine, "goal#1", first);
        answer(&mut machine, "act", ends("done", "It is 9422."));
        let told = model_call(&mut machine);
        assert!(said(&told).contains("Do not work it out yourself: call calculate"), "{}", said(&told));
        assert_eq!(open(&told), ["calculate"], "has data: {has_data}");
        machine
            .model_answered(&told.id, Ok(calls("calculate", &json!({"expression": "4711 * 2"}))))
            .expect("in flight");
        let made = tool_calls(&mut machine);
        returned(&mut machine, &made[0].id, Ok(json!({"value": "9422"})));
        answer(&mut machine, "act", ends("done", "It is 9422."));
        assert_eq!(ended(&mut machine).expect("a result")["output"], json!("It is 9422."));
    }
}

#[test]
fn what_is_no_decision_takes_a_turn_and_not_the_task() {
    let nothing = || ModelFailed {
        was_answered: true,
        said: Some("Let me think.".to_owned()),
        ..failed(FailureClass::Permanent, "no JSON")
    };
    let mut machine = in_turns("Compute 6 * 7");
    let first = model_call(&mut machine);
    machine.model_answered(&first.id, Err(nothing())).expect("in flight");
    assert!(machine.take_notes().iter().any(|note| note.kind == EventKind::AnswerRejected));
    let told = answer(&mut machine, "act", calls("calculate", &json!({"expression": "6 * 7"})));
    assert!(said(&told).contains("This is no decision"), "{}", said(&told));
    tool_calls(&mut machine);
    returned(&mut machine, "goal#1", Ok(json!({"value": "42"})));
    answer(&mut machine, "act", ends("done", "42"));
    assert_eq!(ended(&mut machine).expect("a result")["output"], json!("42"));

    let mut machine = in_turns("Compute 6 * 7");
    while let Action::CallModel(call) = machine.next_action() {
        machine.model_answered(&call.id, Err(nothing())).expect("in flight");
    }
    let failure = ended(&mut machine).expect_err("no decision in any turn");
    assert_eq!(failure.class, FailureClass::BudgetExceeded);
    assert!(failure.message.contains("none of the answers could be used"), "{failure}");
}
