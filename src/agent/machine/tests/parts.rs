//! Texts that are too long for one question.

use super::*;

/// A page of 100 kB, of which every line has a number.
fn page() -> String {
    let lines: Vec<String> =
        (0..2_000).map(|line| format!("Line {line:04} of the page says {} and goes on.\n", line * 7)).collect();
    lines.concat()
}

fn reading(instruction: &str) -> Setup {
    with_plan(&json!([step("page", "look", &[]), {"id": "sum", "instruction": instruction, "tools": []}]))
}

/// The machine when the page has been read.
fn with_page(setup: Setup, text: &str) -> Machine {
    let mut machine = begin(setup);
    tool_calls(&mut machine);
    returned(&mut machine, "page#1", Ok(json!({"text": text, "status": 200})));
    machine
}

#[test]
fn a_long_text_is_read_in_parts_and_their_notes_are_put_together() {
    let mut machine = with_page(reading("Sum up ${page.text}, status ${page.status}"), &page());
    let parts: Vec<ModelCall> = (0..4).map(|_| model_call(&mut machine)).collect();
    assert_eq!(machine.next_action(), Action::Wait);
    for (number, part) in (1..).zip(&parts) {
        let text = said(part);
        assert!(text.contains(&format!("${{page.text}}, part {number} of 4")), "{text}");
        assert!(text.contains("Sum up ${page.text}") && text.contains("you have part"), "{text}");
        assert!(part.request.tools.is_empty(), "a part can only be noted");
    }
    for line in [0, 777, 1_999] {
        let line = format!("Line {line:04} ");
        assert_eq!(parts.iter().filter(|part| said(part).contains(&line)).count(), 1, "{line}");
    }
    // Another process goes on with the notes that were taken.
    machine.model_answered(&parts[1].id, Ok(reply("second note"))).expect("in flight");
    let mut machine = resumed(&machine);
    let parts: Vec<ModelCall> = (0..3).map(|_| model_call(&mut machine)).collect();
    for (part, note) in parts.iter().zip(["first note", "third note", "nothing"]) {
        machine.model_answered(&part.id, Ok(reply(note))).expect("in flight");
    }
    let whole = model_call(&mut machine);
    let text = said(&whole);
    assert!(text.contains("${page.text}, notes on its 4 parts"), "{text}");
    assert!(text.contains("Part 1: first note") && text.contains("Part 2: second note"), "{text}");
    assert!(!text.contains("Line 0000") && text.contains("name=\"${page.status}\""), "{text}");
    assert_eq!(text.matches("first note").count(), 1, "{text}");
    machine.model_answered(&whole.id, Ok(reply("the sum"))).expect("in flight");
    answer(&mut machine, "answer", success());
    ended(&mut machine).expect("a result");
    assert_eq!(machine.spent().steps, 6);
}

#[test]
fn a_text_that_fits_one_question_is_read_at_once() {
    let mut machine = with_page(reading("Sum up ${page.text}"), &page()[..39_000]);
    assert!(said(&model_call(&mut machine)).contains("Line 0000"));
    assert_eq!(machine.next_action(), Action::Wait);
}

#[test]
fn a_model_that_can_read_artifacts_chooses_itself() {
    let mut tools = setup().tools;
    tools.push(tool("read_artifact", true));
    let plan = json!([step("page", "look", &[]), {"id": "sum", "instruction": "Sum up ${page.text}"}]);
    let mut machine = with_page(Setup { tools, ..with_plan(&plan) }, &page());
    let text = said(&model_call(&mut machine));
    assert!(text.contains("[cut: the first"), "{text}");
    assert_eq!(machine.next_action(), Action::Wait);
}

#[test]
fn more_parts_than_steps_are_left_is_said_before_any_is_read() {
    let budget = Budget { max_steps: 5, max_replans: 0, ..Budget::default() };
    let mut machine = with_page(Setup { budget, ..reading("Sum up ${page.text}") }, &page());
    let failure = ended(&mut machine).expect_err("a failure");
    assert!(failure.message.contains("${page.text} must be read in 4 parts"), "{failure}");
    assert!(failure.message.contains("max_steps"), "{failure}");
}

#[test]
fn the_parts_are_as_long_as_a_model_with_a_short_context_can_read() {
    let setup = Setup { data_bytes: Some(9_216), ..reading("Sum up ${page.text}") };
    let mut machine = with_page(setup, &page()[..25_000]);
    let parts: Vec<ModelCall> = (0..4).map(|_| model_call(&mut machine)).collect();
    for part in &parts {
        let text = said(part);
        assert!(text.contains("of 4") && text.len() < 9_216, "{}", text.len());
    }
    for line in (0..500).map(|line| format!("Line {line:04} ")) {
        assert_eq!(parts.iter().filter(|part| said(part).contains(&line)).count(), 1, "{line}");
    }
}
