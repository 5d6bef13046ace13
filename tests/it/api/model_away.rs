//! A qron without a model takes tasks that need one, and says everywhere that they wait.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::app::{TestApp, calculation};

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_need_a_model_are_taken_and_everything_says_that_they_wait() {
    let app = TestApp::with(&[("QRON__WORKER__HEARTBEAT_MS", "200")]).await;
    let (status, task) = app.post("/api/v1/tasks", &json!({"goal": "think about the weather"})).await;
    assert_eq!(status, StatusCode::CREATED, "{task}");
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

    let ready = app.until_says("/readyz", |ready| ready["waiting_for_model"] == 1).await;
    assert_eq!((&ready["ready"], &ready["without_model"][0]["cause"]), (&json!(true), &json!(said)), "{ready:#}");
    let agents = app
        .until_says("/api/v1/agents", |agents| {
            agents["items"].as_array().is_some_and(|items| items.iter().any(|agent| agent["waiting_for_model"] == 1))
        })
        .await;
    assert_eq!(agents["items"][0]["model_away"]["cause"], said, "{agents:#}");
    app.stop().await;
}
