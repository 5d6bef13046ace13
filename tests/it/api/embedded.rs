//! The composition with the embedded store.

use qron::app::{App, AppError};
use qron::clock;
use qron::domain::id::TaskId;
use qron::domain::task::{Claim, Task, TaskStatus};
use serde_json::json;

use crate::support::app::{calculation, config};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_surroundings_is_said_and_leaves_nothing_running() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = App::start(config(folder.path(), &[], &[])).await.expect("starts");
    let second = App::start(config(folder.path(), &[], &[])).await.err().expect("one process at a time");
    assert!(matches!(second, AppError::Embedded(_)), "{second}");
    assert!(second.to_string().contains("in use"), "{second}");

    let taken = first.api_url().replace("http://", "");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let error = App::start(config(elsewhere.path(), &[], &[("QRON__API__ADDRESS", &taken)])).await.err();
    let error = error.expect("the port is taken").to_string();
    assert!(error.contains(&taken) && error.contains("api.address"), "{error}");

    // The failed start has let go of its folder.
    let third = App::start(config(elsewhere.path(), &[], &[])).await.expect("starts");
    third.shutdown().await.expect("stops");
    first.shutdown().await.expect("stops");
}

/// The process that held the folder died while it ran a task: nobody waits for its lease.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_last_owner_of_the_folder_left_running_is_taken_up_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = [("QRON__WORKER__LEASE_MS", "3600000")];
    let app = App::start(config(folder.path(), &[], &settings)).await.expect("starts");
    let now = clock::now();
    let plan = serde_json::from_value(calculation("2 + 3")["plan"].clone()).expect("a plan");
    // For an agent that is not here, so that only the claim below takes it.
    let agent = Some("elsewhere".to_owned());
    let task = Task::new(TaskId::fresh(), "add", now).with(|task| {
        task.spec.agent = agent;
        task.spec.plan = Some(plan);
    });
    app.store().insert(std::slice::from_ref(&task)).await.expect("inserted");
    let claim = Claim { token: "t".to_owned(), owner: "the-dead-one".to_owned() };
    let won = app.store().claim(&[task.id], &claim, now).await.expect("claimed");
    assert_eq!(won.len(), 1);
    let file = folder.path().join("data/replica");
    let owner = std::fs::read_to_string(&file).expect("the owner's id");
    assert_eq!(owner.trim(), app.replica_id());
    app.shutdown().await.expect("stops");
    std::fs::write(&file, "the-dead-one\n").expect("written");

    let app = App::start(config(folder.path(), &[], &settings)).await.expect("starts");
    let task = app.store().task(task.id).await.expect("answers").expect("is there");
    assert_eq!(task.state.status, TaskStatus::Pending);
    assert_eq!(task.state.crashes, 1);
    assert_eq!(std::fs::read_to_string(&file).expect("the owner's id").trim(), app.replica_id());
    app.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_qron_joins_over_the_url_of_the_embedded_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = App::start(config(&folder.path().join("a"), &[], &[])).await.expect("starts");
    let url = [("QRON__STORE__URL", first.store_url().to_owned())];
    let second = App::start(config(&folder.path().join("b"), &url, &[])).await.expect("joins");
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let request = http.post(format!("{}/api/v1/tasks", second.api_url())).json(&calculation("1 + 1"));
    let task: serde_json::Value = request.send().await.expect("an answer").json().await.expect("JSON");
    let there = format!("{}/api/v1/tasks/{}", first.api_url(), task["id"].as_str().expect("an id"));
    let seen: serde_json::Value = http.get(there).send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(seen["goal"], json!("calculate 1 + 1, please"));
    second.shutdown().await.expect("stops");
    first.shutdown().await.expect("stops");
}
