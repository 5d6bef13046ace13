//! What `/readyz` and inserts say when another program takes a collection away, or makes it anew.

use qdrant_client::Qdrant;
use qdrant_client::qdrant::{CreateCollectionBuilder, DeleteFieldIndexCollectionBuilder};
use reqwest::StatusCode;
use serde_json::Value;

use crate::support;
use crate::support::app::{TestApp, calculation};

fn says(readiness: &Value, words: &[&str]) -> bool {
    let reasons = readiness["reasons"].to_string();
    words.iter().all(|word| reasons.contains(word))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_is_gone_or_made_anew_is_told() {
    let prefix = support::unique_prefix();
    let app = TestApp::with(&[("QRON__STORE__PREFIX", prefix.as_str())]).await;
    let client = Qdrant::from_url(&support::qdrant_url()).skip_compatibility_check().build().expect("a client");
    app.until_says("/readyz", |readiness| readiness["ready"] == true).await;
    let tasks = format!("{prefix}tasks");

    client.delete_field_index(DeleteFieldIndexCollectionBuilder::new(&tasks, "rank").wait(true)).await.expect("gone");
    app.until_says("/readyz", |readiness| says(readiness, &[&tasks, "lacks the index of rank", "restart qron"])).await;

    client.delete_collection(&tasks).await.expect("deleted");
    app.until_says("/readyz", |readiness| says(readiness, &[&tasks, "is gone", "restart qron"])).await;
    let (status, readiness) = app.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{readiness}");
    assert_eq!(app.get("/healthz").await.0, StatusCode::OK);
    let (status, problem) = app.post("/api/v1/tasks", &calculation("1 + 1")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    for part in [tasks.as_str(), "restart qron", "backup"] {
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(part)), "{problem} lacks {part}");
    }

    client.create_collection(CreateCollectionBuilder::new(&tasks)).await.expect("created");
    let anew = ["created by another program", "lacks the index of status", "lacks the index of rank"];
    app.until_says("/readyz", |readiness| says(readiness, &anew)).await;

    let memory = format!("{prefix}memory");
    client.delete_collection(&memory).await.expect("deleted");
    client.create_collection(CreateCollectionBuilder::new(&memory)).await.expect("created");
    app.until_says("/readyz", |readiness| says(readiness, &[&memory, "lacks the vector"])).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inserts_need_only_the_collections_that_they_write_to() {
    let prefix = support::unique_prefix();
    let app = TestApp::with(&[("QRON__STORE__PREFIX", prefix.as_str())]).await;
    let client = Qdrant::from_url(&support::qdrant_url()).skip_compatibility_check().build().expect("a client");
    let memory = format!("{prefix}memory");
    client.delete_collection(&memory).await.expect("deleted");
    app.until_says("/readyz", |readiness| says(readiness, &[&memory, "is gone"])).await;
    let (status, told) = app.post("/api/v1/tasks", &calculation("1 + 1")).await;
    assert_eq!(status, StatusCode::CREATED, "{told}");
    app.stop().await;
}
