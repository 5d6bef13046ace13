//! Pause and resume.

use reqwest::StatusCode;
use serde_json::json;

use super::support::task;
use crate::support;
use crate::support::app::{TestApp, calculation};
use crate::support::eventually;

async fn health(app: &TestApp, agent: &str) -> Vec<String> {
    let (_, listing) = app.get("/api/v1/agents").await;
    let agents = listing["items"].as_array().expect("agents").clone();
    let named = agents.iter().filter(|item| item["name"] == agent);
    named.filter_map(|item| item["health"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_fleet_claims_nothing_after_a_restart_and_in_a_second_replica() {
    let prefix = support::unique_prefix();
    // The metrics of all tests of this process are the same, so what they say is of an agent that only this one has.
    let settings = [
        ("QRON__STORE__PREFIX", prefix.as_str()),
        ("QRON__WORKER__HEARTBEAT_MS", "200"),
        ("QRON__AGENTS__MOVER__ROLE", "one who moves house"),
    ];
    let first = TestApp::with(&settings).await;
    let (status, pauses) = first.post("/api/v1/pause", &json!({"by": "ada", "note": "moving house"})).await;
    assert_eq!(status, StatusCode::OK, "{pauses}");
    assert_eq!((&pauses["items"][0]["agent"], &pauses["items"][0]["by"]), (&json!(null), &json!("ada")));
    eventually("the replica obeys", async || {
        let (status, ready) = first.get("/readyz").await;
        assert_eq!(status, StatusCode::OK, "it must stay reachable: {ready}");
        (ready["paused"] == json!(["generalist", "mover"])).then_some(())
    })
    .await;
    let (_, metrics) = first.get("/metrics").await;
    assert!(metrics.as_str().expect("text").contains("qron_agent_paused{agent=\"mover\"} 1"));
    let id = first.submit(&calculation("1 + 1")).await;
    first.stop().await;

    let again = TestApp::with(&settings).await;
    let second = TestApp::with(&settings).await;
    eventually("both say so", async || {
        let health = health(&again, "generalist").await;
        (health.iter().filter(|health| *health == "paused").count() == 2).then_some(())
    })
    .await;
    let late = second.submit(&calculation("2 + 2")).await;
    // Schedules go on. Each firing is a reason to look for what is due; with the second one, the look after the first is over.
    let every_second = json!({"every": "1s", "overlap": "allow", "task": calculation("3 + 3")});
    let put = second.request(reqwest::Method::PUT, "/api/v1/schedules/ticks").json(&every_second);
    assert!(put.send().await.expect("an answer").status().is_success());
    let fired = eventually("it has fired twice", async || {
        let (_, listing) = second.get("/api/v1/tasks?schedule=ticks").await;
        let items = listing["items"].as_array()?.clone();
        (items.len() >= 2).then_some(items)
    })
    .await;
    let fired = fired.iter().filter_map(|task| task["id"].as_str());
    for id in [id.as_str(), late.as_str()].into_iter().chain(fired) {
        assert_eq!(task(&again, id).await["status"], "pending");
    }
    let removed = second.request(reqwest::Method::DELETE, "/api/v1/schedules/ticks").send().await;
    assert!(removed.expect("an answer").status().is_success());
    let (_, pauses) = second.post("/api/v1/resume", &json!({})).await;
    assert_eq!(pauses["items"], json!([]));
    again.until(&id, "completed").await;
    again.until(&late, "completed").await;
    again.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_agent_leaves_the_others_at_work() {
    let app = TestApp::with(&[("QRON__AGENTS__OTHER__CAPACITY", "4"), ("QRON__AGENTS__OTHER__ROLE", "another")]).await;
    app.post("/api/v1/pause", &json!({"agent": "other"})).await;
    eventually("it is obeyed", async || (app.get("/readyz").await.1["paused"] == json!(["other"])).then_some(())).await;
    let mut held = calculation("1 + 1");
    held["agent"] = json!("other");
    let held = app.submit(&held).await;
    let free = app.submit(&calculation("2 + 2")).await;
    app.until(&free, "completed").await;
    assert_eq!(task(&app, &held).await["status"], "pending");
    let soon = qron::clock::now().plus_millis(1_500).to_rfc3339();
    let mut later = calculation("3 + 3");
    later["run_at"] = json!(soon);
    let later = app.submit(&later).await;
    app.until(&later, "completed").await;
    app.post("/api/v1/resume", &json!({"agent": "other"})).await;
    app.until(&held, "completed").await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_who_pause_at_once_one_does_and_the_others_learn_it() {
    let app = TestApp::start().await;
    let pause = async |by: &str| app.post("/api/v1/pause", &json!({"by": by, "note": "the same"})).await.1;
    let answers = tokio::join!(pause("ada"), pause("bob"), pause("eve"), pause("joe"));
    let answers = [answers.0, answers.1, answers.2, answers.3];
    let outcomes = |wanted: &str| answers.iter().filter(|answer| answer["outcome"] == wanted).count();
    assert_eq!((outcomes("paused"), outcomes("already_paused")), (1, 3), "{answers:?}");
    let (_, pauses) = app.get("/api/v1/pauses").await;
    assert!(answers.iter().all(|answer| answer["items"] == pauses["items"]), "{answers:?}");
    let (_, resumed) = app.post("/api/v1/resume", &json!({})).await;
    assert_eq!((&resumed["was_paused"], &resumed["items"]), (&json!(true), &json!([])));
    let (_, resumed) = app.post("/api/v1/resume", &json!({})).await;
    assert_eq!(resumed["was_paused"], false);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_nobody_knows_cannot_be_paused() {
    let app = TestApp::start().await;
    let (status, problem) = app.post("/api/v1/pause", &json!({"agent": "generalsit"})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(problem["detail"].as_str().expect("text").contains("generalist"), "{problem}");
    let (_, pauses) = app.get("/api/v1/pauses").await;
    assert_eq!(pauses["items"], json!([]));
    app.stop().await;
}
