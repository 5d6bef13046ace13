//! A qron without a model takes tasks that need one, and says everywhere that they wait.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::app::{TestApp, calculation};

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_need_a_model_are_taken_and_everything_says_that_they_wait() {
    let app = TestApp::start().await;
    // The first heartbeat makes the replica known.
    app.until_says("/api/v1/agents", |agents| agents["items"][0]["name"].is_string()).await;
    let (status, task) = app.post("/api/v1/tasks", &json!({"goal": "think about the weather"})).await;
    assert_eq!(status, StatusCode::CREATED, "{task}");
    let (ready, agents) = (app.get("/readyz").await.1, app.get("/api/v1/agents").await.1);
    assert_eq!(ready["waiting_for_model"], 1, "it is counted when it is asked for: {ready:#}");
    assert_eq!(agents["items"][0]["waiting_for_model"], 1, "{agents:#}");
    let said = "no model is configured here: set model.base_url or model.api_key";
    assert_eq!(task["waits"]["cause"], said, "{task:#}");
    assert!(
        task["waits"]["text"].as_str().is_some_and(|text| text.starts_with("has waited for a model since ")),
        "{task:#}"
    );

    let planned = app.submit(&calculation("6 * 7")).await;
    let planned = app.until(&planned, "completed").await;
    assert_eq!(planned["waits"], Value::Null, "{planned:#}");

    let path = format!("/api/v1/tasks/{}", task["id"].as_str().expect("an id"));
    let shown = app.get(&path).await.1;
    assert_eq!((&shown["status"], &shown["attempt"]), (&json!("pending"), &json!(0)), "{shown:#}");
    assert_eq!((&shown["waits"]["model"], &shown["waits"]["next_try"]), (&json!(""), &Value::Null), "{shown:#}");
    let listed = app.get("/api/v1/tasks?status=pending").await.1;
    assert_eq!(listed["items"][0]["waits"]["cause"], said, "{listed:#}");
    assert_eq!(app.get("/api/v1/dead-letters").await.1["items"], json!([]));

    assert_eq!((&ready["ready"], &ready["without_model"][0]["cause"]), (&json!(true), &json!(said)), "{ready:#}");
    assert_eq!(agents["items"][0]["model_away"]["cause"], said, "{agents:#}");
    app.stop().await;
}

/// Its model has failed for it alone, too seldom to be left alone: the agent takes other tasks.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_was_put_off_is_counted_while_its_agent_still_takes_tasks() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let url = format!("http://{closed}/v1");
    let settings =
        [("QRON__MODEL__BASE_URL", url.as_str()), ("QRON__MODEL__TRIES", "1"), ("QRON__MODEL__CIRCUIT_FAILURES", "0")];
    let app = TestApp::with(&settings).await;
    app.until_says("/api/v1/agents", |agents| agents["items"][0]["name"].is_string()).await;
    assert_eq!(app.get("/readyz").await.1["waiting_for_model"], 0);
    let id = app.submit(&json!({"goal": "think about the weather"})).await;
    app.until_says(&format!("/api/v1/tasks/{id}"), |task| task["waits"]["times"] == 1).await;
    let (ready, agents) = (app.get("/readyz").await.1, app.get("/api/v1/agents").await.1);
    assert_eq!((&ready["waiting_for_model"], &ready["without_model"]), (&json!(1), &json!([])), "{ready:#}");
    assert_eq!(agents["items"][0]["waiting_for_model"], 1, "{agents:#}");
    app.stop().await;
}
