use super::*;
use crate::domain::tool::artifact_output;

fn using(reference: &str) -> Value {
    json!([step("look", "look", &[]), {"id": "send", "tool": "send", "arguments": {"text": reference, "method": "POST"}}])
}

/// A run whose first step gave an output that became an artifact.
fn with_artifact(reference: &str, bytes: usize) -> Machine {
    let mut machine = begin(with_plan(&using(reference)));
    assert_eq!(ids(&tool_calls(&mut machine)), ["look#1"]);
    returned(&mut machine, "look#1", Ok(artifact_output("look-1.json", bytes, "{\"body\": \"be")));
    machine
}

fn loads(machine: &mut Machine) -> Vec<Load> {
    match machine.next_action() {
        Action::Load(loads) => loads,
        other => panic!("expected a load, got {other:?}"),
    }
}

#[test]
fn an_artifact_is_read_back_once_and_before_the_call() {
    let mut machine = with_artifact("${look.body}", 50_000);
    let load = Load { step: "look".to_owned(), artifact: "look-1.json".to_owned(), is_file: false };
    assert_eq!(loads(&mut machine), [load]);
    assert_eq!(machine.next_action(), Action::Wait);
    machine.loaded("look", Ok(json!({"body": "beginning and end"}))).expect("in flight");
    assert_eq!(machine.loaded("look", Ok(json!(1))), Err(NotInFlight("look".to_owned())));
    let calls = tool_calls(&mut machine);
    assert_eq!(calls[0].arguments["text"], "beginning and end");
    let state = machine.state().expect("serialisable").to_string();
    assert!(!state.contains("beginning and end"), "what was read back is no part of the state");
    returned(&mut machine, "send#1", Ok(json!("sent")));
    assert_eq!(ended(&mut machine).expect("success")["steps"]["look"]["artifact"], "look-1.json");
}

#[test]
fn a_call_that_must_not_be_repeated_stays_so_while_its_arguments_are_yet_to_be_read() {
    let mut setup = with_plan(&using("${look.body}"));
    let parameters = json!({"type": "object", "properties": {"method": {"default": "GET"}}});
    setup.tools[1] = Arc::new(ToolSpec { parameters, ..(*setup.tools[1]).clone() });
    let mut machine = begin(setup);
    tool_calls(&mut machine);
    returned(&mut machine, "look#1", Ok(artifact_output("look-1.json", 50_000, "{")));
    loads(&mut machine);
    machine.loaded("look", Ok(json!({"body": "x"}))).expect("in flight");
    tool_calls(&mut machine);
    let failure = ended(&mut resumed(&machine)).expect_err("nobody knows whether it was sent");
    assert!(failure.message.contains("outcome unknown"), "{failure}");
}

#[test]
fn an_artifact_that_cannot_be_read_fails_the_step_and_can_be_read_again() {
    let mut machine = with_artifact("${look.body}", 50_000);
    loads(&mut machine);
    machine.loaded("look", Err(Failure::transient("the store is away"))).expect("in flight");
    let failure = ended(&mut machine).expect_err("not read");
    assert_eq!((failure.class, failure.step.as_deref()), (FailureClass::Transient, Some("send")));
    assert_eq!(loads(&mut resumed(&machine)).len(), 1);
    let mut machine = with_artifact("${look.body}", 5_000_000);
    let failure = ended(&mut machine).expect_err("too long");
    assert!(failure.message.contains("read parts of it with read_artifact"), "{failure}");
}

#[test]
fn an_artifact_that_cannot_be_read_fails_every_step_that_refers_to_it() {
    let uses = |id: &str| json!({"id": id, "tool": "send", "arguments": {"text": "${look}"}});
    let judged = json!({"id": "tell", "instruction": "tell ${look.body}"});
    let later = json!({"id": "later", "tool": "send", "arguments": {"text": "${look}"}, "depends_on": ["other"]});
    let other = json!({"id": "other", "tool": "look"});
    for bytes in [50_000, 5_000_000] {
        let steps = json!([step("look", "look", &[]), uses("a"), uses("b"), judged, other, later]);
        let mut machine = begin(with_plan(&steps));
        assert_eq!(ids(&tool_calls(&mut machine)), ["look#1", "other#1"]);
        returned(&mut machine, "look#1", Ok(artifact_output("look-1.json", bytes, "{")));
        if bytes == 50_000 {
            assert_eq!(loads(&mut machine).len(), 1, "once for all");
            machine.loaded("look", Err(Failure::invalid("gone"))).expect("in flight");
        }
        assert_eq!(machine.next_action(), Action::Wait, "no call with a stub");
        let failed = machine.take_notes().into_iter().filter(|note| note.kind.as_str() == "step_failed").count();
        assert_eq!(failed, 3, "{bytes} bytes");
        returned(&mut machine, "other#1", Ok(json!("x")));
        if bytes == 50_000 {
            assert_eq!(loads(&mut machine).len(), 1, "a later step reads it again");
            machine.loaded("look", Ok(json!({"body": "x"}))).expect("in flight");
            assert_eq!(tool_calls(&mut machine)[0].arguments["text"], json!({"body": "x"}));
        }
    }
}

#[test]
fn what_only_looks_like_an_artifact_is_an_output() {
    let outputs = [
        json!({"artifact": "a", "bytes": 3, "sha256": "x"}),
        json!({"artifact": "a", "bytes": "3", "preview": "x"}),
        json!({"artifact": "a", "bytes": 3, "preview": "x", "more": 1}),
        json!({"body": {"artifact": "a", "bytes": 3, "preview": "x"}}),
    ];
    for output in outputs {
        let mut machine = begin(with_plan(&using("${look}")));
        tool_calls(&mut machine);
        returned(&mut machine, "look#1", Ok(output.clone()));
        assert_eq!(tool_calls(&mut machine)[0].arguments["text"], output);
    }
}
