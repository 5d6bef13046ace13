//! Files for tasks, over the API.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::app::{TestApp, someday};

async fn put(app: &TestApp, path: &str, content: &[u8]) -> (StatusCode, Value) {
    let request = app.request(Method::PUT, path).header("content-type", "text/csv").body(content.to_vec());
    let answer = request.send().await.expect("an answer");
    (answer.status(), answer.json().await.expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_uploaded_before_its_task_and_never_after() {
    let app = TestApp::start().await;
    let id = uuid::Uuid::now_v7().to_string();
    let path = format!("/api/v1/tasks/{id}/files/sales%202026.csv");
    let (status, file) = put(&app, &path, b"old").await;
    assert_eq!((status, &file["name"], &file["size"]), (StatusCode::CREATED, &json!("sales 2026.csv"), &json!(3)));
    // More than a body may have otherwise.
    let content = "a;b\n".repeat(700_000);
    let (_, file) = put(&app, &path, content.as_bytes()).await;
    assert_eq!(
        (&file["size"], &file["step"], &file["media_type"]),
        (&json!(content.len()), &json!("given"), &json!("text/csv"))
    );

    let mut body = someday();
    body["files"] = json!(["sales 2026.csv"]);
    let (status, problem) = app.post("/api/v1/tasks", &body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("the id that the files were uploaded for")));
    body["id"] = json!(id);
    body["files"] = json!(["sales 2026.csv", "other.csv"]);
    let (status, problem) = app.post("/api/v1/tasks", &body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    assert!(
        problem["detail"].as_str().is_some_and(|text| text.contains("\"other.csv\" was not uploaded")),
        "{problem}"
    );
    body["files"] = json!(["sales 2026.csv"]);
    let (status, task) = app.post("/api/v1/tasks", &body).await;
    assert_eq!(status, StatusCode::CREATED, "{task}");
    assert_eq!(task["context"]["files"][0]["bytes"], content.len());

    let (status, problem) = put(&app, &path, b"new").await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    let kept = app.request(Method::GET, &format!("/api/v1/tasks/{id}/artifacts/sales%202026.csv"));
    let kept = kept.send().await.expect("an answer");
    assert_eq!(kept.headers()["content-disposition"], "attachment; filename*=UTF-8''sales%202026.csv");
    assert_eq!(kept.text().await.expect("a body"), content);
    let (status, problem) = put(&app, "/api/v1/tasks/7/files/.hidden", b"x").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    let (status, problem) = put(&app, "/api/v1/tasks/no-id/files/a", b"x").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    app.stop().await;
}
