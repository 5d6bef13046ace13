//! What references grow to, what is read back, what is asked and what a result holds: all of it is bounded.

use super::*;
use crate::domain::json::Size;
use crate::domain::plan::MAX_EXPANDED_MEMORY;
use crate::domain::tool::artifact_output;

fn uses(id: &str, text: &str) -> Value {
    json!({"id": id, "tool": "look", "arguments": {"text": text, "small": 1}})
}

/// A run whose step `g` gave 32,000 bytes, and that goes on with `steps`.
fn after_large_output(steps: Vec<Value>) -> Machine {
    let all: Value = std::iter::once(step("g", "look", &[])).chain(steps).collect();
    let budget = Budget { max_steps: 500, ..Budget::default() };
    let mut machine = begin(Setup { budget, ..with_plan(&all) });
    assert_eq!(ids(&tool_calls(&mut machine)), ["g#1"]);
    returned(&mut machine, "g#1", Ok(json!("x".repeat(32_000))));
    machine
}

#[test]
fn references_that_grow_too_large_fail_the_step_for_good() {
    let mut machine = after_large_output(vec![uses("a", &"${g}".repeat(200))]);
    let failure = ended(&mut machine).expect_err("too large");
    assert_eq!((failure.class, failure.step.as_deref()), (FailureClass::Invalid, Some("a")));
    for told in ["argument \"text\"", "6400", "at most 4194304"] {
        assert!(failure.message.contains(told), "{failure}");
    }
    // Neither the next attempt nor the next process builds it.
    assert!(ended(&mut resumed(&machine)).is_err());
}

#[test]
fn calls_with_large_arguments_start_one_after_another() {
    let steps: Vec<Value> = (0..12).map(|index| uses(&format!("s{index}"), &"${g}".repeat(130))).collect();
    let mut machine = after_large_output(steps);
    let (mut open, mut made) = (Vec::new(), 0);
    loop {
        match machine.next_action() {
            Action::CallTools(calls) => open.extend(calls),
            Action::Wait => {
                let bytes = |call: &ToolCall| call.arguments["text"].as_str().map_or(0, str::len);
                let memory: usize = open.iter().map(bytes).sum();
                assert!(memory < 2 * MAX_EXPANDED_MEMORY, "{memory} bytes at once");
                let call = open.remove(0);
                made += 1;
                returned(&mut machine, &call.id, Ok(json!("done")));
            }
            Action::Done(outcome) => {
                outcome.expect("success");
                break;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(made, 12);
}

/// A run with `count` outputs of `bytes` bytes that became artifacts, each of which a step of its own refers to.
fn with_artifacts(count: usize, bytes: usize) -> Machine {
    let made = (0..count).map(|index| step(&format!("m{index}"), "look", &[]));
    let used = (0..count).map(|index| uses(&format!("u{index}"), &format!("${{m{index}}}")));
    let budget = Budget { max_steps: 500, ..Budget::default() };
    let mut machine = begin(Setup { budget, ..with_plan(&made.chain(used).collect()) });
    for call in tool_calls(&mut machine) {
        returned(&mut machine, &call.id, Ok(artifact_output(&format!("{}.json", call.step), bytes, "{")));
    }
    machine
}

#[test]
fn outputs_that_find_no_room_are_read_back_later() {
    let mut machine = with_artifacts(20, 2_000_000);
    let mut open: Vec<Load> = Vec::new();
    let mut sent = 0;
    loop {
        match machine.next_action() {
            Action::Load(loads) => {
                open.extend(loads);
                assert!(open.len() <= 4, "{} outputs of 2 MB at once", open.len());
            }
            Action::CallTools(calls) => {
                for call in calls {
                    assert_eq!(call.arguments["text"], json!({"body": call.step.replace('u', "m")}));
                    sent += 1;
                    returned(&mut machine, &call.id, Ok(json!("done")));
                }
            }
            Action::Wait => {
                let load = open.pop().expect("something is under way");
                machine.loaded(&load.step, Ok(json!({"body": load.step}))).expect("in flight");
            }
            Action::Done(outcome) => {
                outcome.expect("success");
                break;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(sent, 20);
}

#[test]
fn a_step_that_needs_more_than_is_read_back_at_once_fails() {
    let made = (0..5).map(|index| step(&format!("m{index}"), "look", &[]));
    let all: Value = made.chain([uses("all", "${m0} ${m1} ${m2} ${m3} ${m4}")]).collect();
    let mut machine = begin(with_plan(&all));
    for call in tool_calls(&mut machine) {
        returned(&mut machine, &call.id, Ok(artifact_output(&format!("{}.json", call.step), 2_000_000, "{")));
    }
    let failure = ended(&mut machine).expect_err("too much");
    assert!(failure.message.contains("10000000 bytes, and at most 8388608"), "{failure}");
}

#[test]
fn an_output_of_a_great_many_values_is_not_kept() {
    let mut machine = with_artifacts(1, 2_000_000);
    let Action::Load(loads) = machine.next_action() else { panic!("a load") };
    machine.loaded(&loads[0].step, Ok(Value::Array(vec![json!({"": 0}); 200_000]))).expect("in flight");
    let failure = ended(&mut machine).expect_err("too much");
    assert!(failure.message.contains("bytes of memory"), "{failure}");
}

#[test]
fn a_request_for_approval_has_a_readable_size() {
    let approved = |id: &str, times: usize| {
        let mut step = uses(id, &"${g}".repeat(times));
        step["approval"] = json!("required");
        step["tool"] = json!("send");
        step
    };
    let mut machine = after_large_output(vec![approved("a", 12), approved("b", 20)]);
    let Action::AwaitApproval(asked) = machine.next_action() else { panic!("a question") };
    assert_eq!(ids(&asked), ["a#1"]);
    let told =
        machine.take_notes().into_iter().find(|note| note.kind.as_str() == "step_failed").expect("the other fails");
    assert!(told.message.contains("at most 524288"), "{}", told.message);
    // The rest of a long list is asked about later.
    let many: Vec<Value> = (0..40).map(|index| approved(&format!("s{index}"), 1)).collect();
    let Action::AwaitApproval(asked) = after_large_output(many).next_action() else { panic!("a question") };
    assert!((16..=18).contains(&asked.len()), "{} calls", asked.len());
}

#[test]
fn a_result_holds_what_fits_and_says_how_large_the_rest_is() {
    let steps: Vec<Value> = (0..100).map(|index| step(&format!("s{index}"), "look", &[])).collect();
    let budget = Budget { max_steps: 500, ..Budget::default() };
    let mut machine = begin(Setup { budget, ..with_plan(&Value::from(steps)) });
    for call in tool_calls(&mut machine) {
        returned(&mut machine, &call.id, Ok(json!("x".repeat(32_000))));
    }
    let result = ended(&mut machine).expect("success");
    assert!(Size::of(&result).text < 3 * 1024 * 1024);
    assert_eq!(result["steps"]["s0"].as_str().map(str::len), Some(32_000));
    assert_eq!(result["steps"]["s99"], json!({"too_large": {"bytes": 32_002}}));
    assert_eq!(result["output"]["s99"], result["steps"]["s99"]);
}

#[test]
fn a_plan_of_a_model_is_bounded_like_any_other() {
    for (plan, told) in [
        (
            json!({"steps": [{"id": "a", "tool": "look", "arguments": {"x": "${.".repeat(400_000) + "}"}}]}),
            "at most 524288",
        ),
        (json!({"steps": [{"id": "a", "instruction": "${b}".repeat(401)}, step("b", "look", &[])]}), "401 references"),
        (json!({"steps": vec![step("a", "look", &[]); 201]}), "at most 200"),
        (json!({"steps": [uses("a", &"{{b.x}} ".repeat(50_000)), step("b", "look", &[])]}), "is no reference"),
    ] {
        let mut machine = begin(setup());
        answer(&mut machine, "plan", reply(&plan));
        let repair = said(&model_call(&mut machine));
        let complaint = repair.split("This cannot be used: ").nth(1).unwrap_or_default();
        assert!(complaint.contains(told) && complaint.len() < 20_000, "{told}: {} bytes", complaint.len());
    }
}

#[test]
fn what_a_model_says_in_one_step_is_bounded() {
    let plan = json!([{"id": "talk", "instruction": "Talk as long as you like", "tools": ["look"]}]);
    let mut machine = begin(with_plan(&plan));
    let call = |size: usize| wants(&[("look", json!({"z": "y".repeat(size)}))]);
    answer(&mut machine, "act", call(200_000));
    let made = tool_calls(&mut machine);
    returned(&mut machine, &made[0].id, Ok(json!("seen")));
    answer(&mut machine, "act", call(100_000));
    let made = tool_calls(&mut machine);
    returned(&mut machine, &made[0].id, Ok(json!("seen")));
    let next = model_call(&mut machine);
    assert_eq!(next.request.purpose, "replan", "the step has failed");
    assert!(said(&next).contains("more than 256 KiB"), "{}", said(&next));
}
