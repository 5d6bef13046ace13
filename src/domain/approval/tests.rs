//! What an approval is bound to, and when it counts.

use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_000);
const POLICY: ApprovalPolicy = ApprovalPolicy { expire_s: 60 };

fn call(arguments: Value) -> ToolCall {
    ToolCall { id: "s1#1".into(), step: "s1".into(), tool: "pay".into(), arguments }
}

#[test]
fn an_approval_is_bound_to_the_exact_call() {
    let paid = call_hash(&call(json!({"to": "ada", "euro": 5})));
    assert_eq!(paid, call_hash(&call(json!({"euro": 5, "to": "ada"}))), "the order of fields says nothing");
    let others = [
        call(json!({"to": "ada", "euro": 50})),
        call(json!({"to": "ada", "euro": "5"})),
        call(json!({"to": "ada"})),
        ToolCall { tool: "payout".into(), ..call(json!({"to": "ada", "euro": 5})) },
        ToolCall { id: "s1#2".into(), ..call(json!({"to": "ada", "euro": 5})) },
    ];
    for other in others {
        assert_ne!(paid, call_hash(&other), "{other:?}");
    }
}

#[test]
fn nothing_is_decided_after_its_time() {
    let mut asked = [Approval::of_call(&call(json!({})), &POLICY, NOW)];
    let ruling = Ruling { hashes: vec![asked[0].hash.clone()], by: None, note: None };
    let late = NOW.plus_millis(60_000);
    assert!(!expire(&mut asked, late.plus_millis(-1)));
    assert!(!apply_ruling(&mut asked, &ruling, ApprovalOutcome::Approved, late));
    assert!(expire(&mut asked, late));
    assert!(asked[0].refusal().expect("refused").message.contains("not approved in time"));
    assert!(!apply_ruling(&mut asked, &ruling, ApprovalOutcome::Approved, NOW), "decided once");
}

#[test]
fn zero_seconds_are_any_time() {
    let asked = Approval::of_call(&call(json!({})), &ApprovalPolicy { expire_s: 0 }, NOW);
    assert!(!asked.has_expired(Timestamp::from_millis(i64::MAX)));
}
