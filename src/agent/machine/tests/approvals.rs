//! Calls that a person must agree to.

use super::*;
use crate::domain::approval::{Approval, ApprovalDecision, ApprovalOutcome, ApprovalPolicy};

const NOW: Timestamp = Timestamp::from_millis(1_000);

/// The calls that wait for a person.
fn asked(machine: &mut Machine) -> Vec<ToolCall> {
    match machine.next_action() {
        Action::AwaitApproval(calls) => calls,
        other => panic!("expected a question to a person, got {other:?}"),
    }
}

fn decided(call: &ToolCall, verdict: ApprovalOutcome) -> Approval {
    let (by, note) = (Some("ada".into()), Some("so be it".into()));
    let decision = ApprovalDecision { verdict, by, note, at: NOW, extra: serde_json::Map::new() };
    Approval { decision: Some(decision), ..Approval::of_call(call, &ApprovalPolicy { expire_s: 60 }, NOW) }
}

/// The machine as the attempt after the decision continues it.
fn after(machine: &Machine, approvals: Vec<Approval>) -> Machine {
    let setup = Setup { approvals, ..machine.setup.clone() };
    Machine::resume(setup, &machine.state().expect("serialisable")).expect("readable")
}

fn guarded(setup: Setup) -> Setup {
    Setup { needs_approval: vec!["send".to_owned()], ..setup }
}

#[test]
fn calls_without_approval_are_made_before_approvals_are_requested() {
    let plan = json!([
        step("send", "send", &[]),
        step("look", "look", &[]),
        step("more", "look", &["look"]),
        step("then", "look", &["send"]),
    ]);
    let mut machine = begin(guarded(with_plan(&plan)));
    assert_eq!(ids(&tool_calls(&mut machine)), ["look#1"]);
    returned(&mut machine, "look#1", Ok(json!(1)));
    assert_eq!(ids(&tool_calls(&mut machine)), ["more#1"]);
    returned(&mut machine, "more#1", Ok(json!(2)));
    let calls = asked(&mut machine);
    assert_eq!(ids(&calls), ["send#1"]);
    assert_eq!(asked(&mut machine), calls, "the question stays the same");
    let mut machine = after(&machine, vec![decided(&calls[0], ApprovalOutcome::Approved)]);
    assert_eq!(tool_calls(&mut machine), calls);
    returned(&mut machine, "send#1", Ok(json!(3)));
    assert_eq!(ids(&tool_calls(&mut machine)), ["then#1"]);
}

#[test]
fn an_approval_lets_one_call_through_and_no_other() {
    let plan = json!([
        {"id": "a", "tool": "send", "arguments": {"to": "ada"}},
        {"id": "b", "tool": "send", "arguments": {"to": "bob"}},
    ]);
    let mut machine = begin(guarded(with_plan(&plan)));
    let calls = asked(&mut machine);
    assert_eq!(ids(&calls), ["a#1", "b#1"]);
    let mut one = after(&machine, vec![decided(&calls[0], ApprovalOutcome::Approved)]);
    assert_eq!(tool_calls(&mut one), calls[..1]);
    let changed = ToolCall { arguments: json!({"to": "eve"}), ..calls[0].clone() };
    let moved = ToolCall { id: "b#1".into(), ..calls[0].clone() };
    for other in [changed, moved] {
        let mut machine = after(&machine, vec![decided(&other, ApprovalOutcome::Approved)]);
        assert_eq!(asked(&mut machine), calls, "{other:?}");
    }
}

#[test]
fn a_refusal_is_the_failure_of_the_call() {
    let mut machine = begin(guarded(with_plan(&json!([step("send", "send", &[]), step("then", "look", &["send"])]))));
    let call = asked(&mut machine).remove(0);
    for (verdict, word) in [(ApprovalOutcome::Denied, "denied by ada: so be it"), (ApprovalOutcome::Expired, "in time")]
    {
        let mut machine = after(&machine, vec![decided(&call, verdict)]);
        let failure = ended(&mut machine).expect_err("refused");
        assert_eq!(failure.class, FailureClass::Permanent);
        assert!(failure.message.contains(word), "{failure}");
        assert!(machine.outline().contains("then: look: not run"), "{}", machine.outline());
    }
}

#[test]
fn a_model_that_asks_again_asks_a_person_again() {
    let mut machine = begin(guarded(with_plan(&json!([{"id": "s", "instruction": "send it"}]))));
    answer(&mut machine, "act", wants(&[("send", json!({"euro": 5})), ("look", json!({}))]));
    assert_eq!(ids(&tool_calls(&mut machine)), ["s#2"]);
    returned(&mut machine, "s#2", Ok(json!(1)));
    let first = asked(&mut machine).remove(0);
    let mut machine = after(&machine, vec![decided(&first, ApprovalOutcome::Denied)]);
    let turn = answer(&mut machine, "act", wants(&[("send", json!({"euro": 5}))]));
    assert!(said(&turn).contains("denied by ada"), "{}", said(&turn));
    let second = asked(&mut machine).remove(0);
    assert_ne!(first.id, second.id);
    let mut machine = after(&machine, vec![decided(&first, ApprovalOutcome::Approved)]);
    assert_eq!(asked(&mut machine), [second]);
}

#[test]
fn a_plan_made_anew_does_not_get_around_the_plan_of_the_task() {
    let plan = json!([{"id": "s", "tool": "send", "approval": "required"}, {"id": "i", "instruction": "think"}]);
    let mut machine = begin(with_plan(&plan));
    answer(&mut machine, "act", reply("thought"));
    let call = asked(&mut machine).remove(0);
    let mut machine = after(&machine, vec![decided(&call, ApprovalOutcome::Denied)]);
    let step = json!({"id": "t", "tool": "send", "arguments": "{}", "instruction": null, "depends_on": []});
    answer(&mut machine, "replan", reply(json!({"analysis": "again", "steps": [step]})));
    assert_eq!(ids(&asked(&mut machine)), ["t~1#1"]);
}

#[test]
fn without_a_rule_no_approval_is_requested() {
    let mut machine = begin(with_plan(&json!([step("send", "send", &[])])));
    assert_eq!(ids(&tool_calls(&mut machine)), ["send#1"]);
}

#[test]
fn an_approval_shows_a_call_with_its_resolved_references() {
    let plan = json!([{"id": "a", "tool": "send", "arguments": {"text": "${deps.7.result}"}}]);
    let dependencies = json!({"7": {"result": "hello"}}).as_object().cloned().unwrap_or_default();
    let mut machine = begin(guarded(Setup { dependencies, ..with_plan(&plan) }));
    let calls = asked(&mut machine);
    assert_eq!(calls[0].arguments, json!({"text": "hello"}));
    let mut machine = after(&machine, vec![decided(&calls[0], ApprovalOutcome::Approved)]);
    assert_eq!(tool_calls(&mut machine), calls);
}

/// A table at an address is got as `http_request` gets it: what binds the one binds the other.
#[test]
fn a_table_at_an_address_needs_the_approval_of_a_request() {
    let tools = || vec![tool("http_request", false), tool("query_table", true)];
    let own = json!({"id": "own", "tool": "query_table", "arguments": {"path": "x.csv", "url": ""}});
    let far = json!({"id": "far", "tool": "query_table", "arguments": {"url": "https://a.example/x.csv"}});
    let asks = json!({"id": "get", "tool": "http_request", "approval": "required"});
    let by_plan = Setup { tools: tools(), ..with_plan(&json!([asks, far, own])) };
    let by_profile = Setup {
        tools: tools(),
        needs_approval: vec!["http_request".to_owned()],
        ..with_plan(&json!([{"id": "get", "tool": "http_request"}, far, own]))
    };
    for setup in [by_plan, by_profile] {
        let mut machine = begin(setup);
        assert_eq!(ids(&tool_calls(&mut machine)), ["own#1"]);
        returned(&mut machine, "own#1", Ok(json!(1)));
        assert_eq!(ids(&asked(&mut machine)), ["get#1", "far#1"]);
    }
}
