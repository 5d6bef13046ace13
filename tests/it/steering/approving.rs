//! Approvals.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::support::{artifacts_of, happened, questions, saving, task};
use crate::support::app::{TestApp, calculation};
use crate::support::eventually;

/// Whose artifacts a person must agree to; one task at a time.
const GUARDED: &[(&str, &str)] = &[
    ("QRON__AGENTS__GENERALIST__NEEDS_APPROVAL", r#"["save_artifact"]"#),
    ("QRON__AGENTS__GENERALIST__CAPACITY", "1"),
];

fn cautious(expression: &str) -> Value {
    let mut task = calculation(expression);
    task["approval"] = json!("required");
    task
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_needs_approval_runs_once_somebody_agreed() {
    let app = TestApp::start().await;
    let id = app.submit(&cautious("6 * 7")).await;
    let waiting = app.until(&id, "awaiting_approval").await;
    let (hash, _) = questions(&waiting).remove(0);
    let (_, listing) = app.get("/api/v1/approvals").await;
    assert_eq!((&listing["items"][0]["task_id"], &listing["items"][0]["hash"]), (&json!(id), &json!(hash)));
    let decision = json!({"hashes": [hash], "by": "ada", "note": "harmless"});
    let (status, _) = app.post(&format!("/api/v1/tasks/{id}/approve"), &decision).await;
    assert_eq!(status, StatusCode::OK);
    let done = app.until(&id, "completed").await;
    assert_eq!(done["approvals"][0]["verdict"], "approved");
    let event = happened(&app, &id, "approved").await;
    assert_eq!((&event["data"]["by"], &event["data"]["note"]), (&json!("ada"), &json!("harmless")));
    let (status, _) = app.post(&format!("/api/v1/tasks/{id}/approve"), &decision).await;
    assert_eq!(status, StatusCode::CONFLICT);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_denied_never_runs_and_a_retry_asks_again() {
    let app = TestApp::start().await;
    let id = app.submit(&cautious("1 + 1")).await;
    let (hash, _) = questions(&task(&app, &id).await).remove(0);
    let decision = json!({"hashes": [hash], "by": "ada", "note": "not today"});
    app.post(&format!("/api/v1/tasks/{id}/deny"), &decision).await;
    let denied = app.until(&id, "cancelled").await;
    assert!(denied["error"]["message"].as_str().expect("text").contains("denied by ada: not today"), "{denied}");
    let (status, again) = app.post(&format!("/api/v1/tasks/{id}/retry"), &Value::Null).await;
    assert_eq!((status, &again["status"]), (StatusCode::ACCEPTED, &json!("awaiting_approval")));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_for_one_call_lets_no_other_through() {
    let app = TestApp::with(GUARDED).await;
    let id = app.submit(&saving(&["good", "bad"])).await;
    let waiting = app.until(&id, "awaiting_approval").await;
    let asked = questions(&waiting);
    assert_eq!(asked.len(), 2);
    let hash_of = |name: &str| asked.iter().find(|(_, arguments)| arguments["name"] == name).expect("asked").0.clone();

    // The question of another task, and one that nobody asks.
    let other = app.submit(&saving(&["ugly"])).await;
    let (foreign, _) = questions(&app.until(&other, "awaiting_approval").await).remove(0);
    for hash in [foreign, "0".repeat(64)] {
        let (status, problem) = app.post(&format!("/api/v1/tasks/{id}/approve"), &json!({"hashes": [hash]})).await;
        assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    }

    let (_, half) = app.post(&format!("/api/v1/tasks/{id}/approve"), &json!({"hashes": [hash_of("good")]})).await;
    assert_eq!(half["status"], "awaiting_approval");
    assert_eq!(artifacts_of(&task(&app, &id).await), [""; 0], "nothing is called before all is decided");
    app.post(&format!("/api/v1/tasks/{id}/deny"), &json!({"hashes": [hash_of("bad")], "note": "no"})).await;
    let failed = eventually("it has failed", async || {
        let task = task(&app, &id).await;
        (task["status"] == "failed").then_some(task)
    })
    .await;
    assert_eq!(artifacts_of(&failed), ["good"]);
    assert!(failed["error"]["message"].as_str().expect("text").contains("denied"), "{}", failed["error"]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_holds_no_place_and_goes_on_from_its_checkpoint() {
    let app = TestApp::with(GUARDED).await;
    let mut body = saving(&["report"]);
    body["plan"]["steps"][0]["arguments"]["content"] = json!("${sum.value}");
    let sum = json!({"id": "sum", "tool": "calculate", "arguments": {"expression": "40 + 2"}});
    body["plan"]["steps"].as_array_mut().expect("steps").push(sum);
    let id = app.submit(&body).await;
    let waiting = app.until(&id, "awaiting_approval").await;
    assert_eq!(waiting["owner"], Value::Null);
    let (hash, arguments) = questions(&waiting).remove(0);
    assert_eq!(arguments["content"].to_string().trim_matches('"'), "42", "the person sees what will be written");
    // The only place is free.
    let other = app.submit(&calculation("2 + 2")).await;
    app.until(&other, "completed").await;
    app.post(&format!("/api/v1/tasks/{id}/approve"), &json!({"hashes": [hash]})).await;
    let done = app.until(&id, "completed").await;
    assert_eq!(artifacts_of(&done), ["report"]);
    // Events are stored in their order, some time after the outcome.
    happened(&app, &id, "completed").await;
    let told = task(&app, &id).await;
    let sums = told["history"]
        .as_array()
        .expect("events")
        .iter()
        .filter(|event| event["kind"] == "step_finished" && event["data"]["step"] == "sum");
    assert_eq!(sums.count(), 1, "the step before the question is not repeated");
    let statuses: Vec<_> = done["attempts"].as_array().expect("attempts").iter().map(|a| a["status"].clone()).collect();
    assert_eq!(statuses, ["awaiting_approval", "completed"]);
    assert_eq!(done["attempt"], 0, "waiting costs no attempt");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_a_plan_can_ask_by_itself() {
    let app = TestApp::start().await;
    let mut body = saving(&["a", "b"]);
    body["plan"]["steps"][1]["approval"] = json!("required");
    body["plan"]["steps"][0]["tool"] = json!("calculate");
    body["plan"]["steps"][0]["arguments"] = json!({"expression": "1"});
    let id = app.submit(&body).await;
    let asked = questions(&app.until(&id, "awaiting_approval").await);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].1["name"], "b");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_decides_in_time_is_refused() {
    let settings: Vec<_> = GUARDED.iter().copied().chain([("QRON__APPROVALS__EXPIRE_S", "1")]).collect();
    let app = TestApp::with(&settings).await;
    let whole = app.submit(&cautious("1 + 1")).await;
    let call = app.submit(&saving(&["late"])).await;
    let refused = app.until(&whole, "cancelled").await;
    let hash = &refused["approvals"][0]["hash"];
    assert!(hash.is_string(), "{refused}");
    assert_eq!(refused["approvals"][0]["verdict"], "expired");
    let (status, _) = app.post(&format!("/api/v1/tasks/{whole}/approve"), &json!({"hashes": [hash]})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let failed = eventually("the call is refused", async || {
        let task = task(&app, &call).await;
        (task["status"] == "failed").then_some(task)
    })
    .await;
    assert!(failed["error"]["message"].as_str().expect("text").contains("in time"), "{}", failed["error"]);
    assert_eq!(artifacts_of(&failed), [""; 0]);
    app.stop().await;
}
