//! Changes of many tasks.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::support::task;
use crate::support::app::{TestApp, hopeless, someday};
use crate::support::eventually;

fn tagged(mut task: Value, tag: &str) -> Value {
    task["tags"] = json!([tag]);
    task
}

async fn bulk(app: &TestApp, order: Value) -> Value {
    let (status, report) = app.post("/api/v1/tasks/bulk", &order).await;
    assert_eq!(status, StatusCode::OK, "{report}");
    report
}

/// What the order would do, and then what it does, in as many requests as it takes.
async fn tried_and_done(app: &TestApp, order: &Value) -> (u64, u64) {
    let mut dry = order.clone();
    dry["dry_run"] = json!(true);
    let told = bulk(app, dry).await;
    assert_eq!((&told["dry_run"], &told["refused"]), (&json!(true), &json!([])));
    let mut order = order.clone();
    let mut done = 0;
    loop {
        let report = bulk(app, order.clone()).await;
        assert_eq!(report["refused"], json!([]));
        done += report["done"].as_u64().expect("a number");
        if report["next"].is_null() {
            return (told["done"].as_u64().expect("a number"), done);
        }
        order["after"] = report["next"].clone();
        order["filter"]["created_before"] = report["as_of"].clone();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_how_many_and_that_many_it_is() {
    let app = TestApp::start().await;
    // What is tried again is due at once, and shall not end before the next order.
    assert_eq!(app.post("/api/v1/pause", &json!({})).await.0, StatusCode::OK);
    let mut ids = Vec::new();
    for number in 0..12 {
        let mut task = tagged(someday(), if number % 3 == 0 { "red" } else { "blue" });
        task["goal"] = json!(format!("water the {} in ten years", if number % 2 == 0 { "ROSES" } else { "weeds" }));
        ids.push(app.submit(&task).await);
    }
    for (order, expected) in [
        (json!({"action": "reprioritise", "priority": 9, "filter": {"tag": "red"}, "limit": 3}), 4),
        (json!({"action": "snooze", "until": "2040-01-01T00:00:00Z", "filter": {"text": "roses"}, "limit": 1}), 6),
        (json!({"action": "cancel", "filter": {"tag": "blue", "status": ["pending"]}, "limit": 5}), 8),
        (json!({"action": "cancel", "filter": {"tag": "blue"}}), 0),
        (json!({"action": "retry", "filter": {"tag": "blue", "text": "weeds"}}), 4),
        (json!({"action": "snooze", "for_s": 86_400, "filter": {"created_before": "2020-01-01T00:00:00Z"}}), 0),
        (json!({"action": "cancel", "filter": {"all": true}}), 8),
    ] {
        assert_eq!(tried_and_done(&app, &order).await, (expected, expected), "{order}");
    }
    let first = task(&app, &ids[0]).await;
    assert_eq!((&first["priority"], &first["status"]), (&json!(9), &json!("cancelled")));
    assert_eq!(first["run_at"], "2040-01-01T00:00:00.000Z");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tasks_of_a_parent_and_of_a_key_can_be_meant() {
    let app = TestApp::start().await;
    let parent = app.submit(&someday()).await;
    for number in 0..6 {
        let mut task = someday();
        task["concurrency_key"] = json!(if number < 2 { "acme" } else { "other" });
        if number % 2 == 0 {
            task["parent"] = json!(parent);
        }
        app.submit(&task).await;
    }
    for (order, expected) in [
        (json!({"action": "reprioritise", "priority": 2, "filter": {"concurrency_key": "acme"}}), 2),
        (json!({"action": "snooze", "until": "2041-01-01T00:00:00Z", "filter": {"parent": parent}, "limit": 2}), 3),
        (json!({"action": "cancel", "filter": {"parent": parent, "concurrency_key": "other"}}), 2),
        (json!({"action": "cancel", "filter": {"concurrency_key": "nobody's"}}), 0),
        (json!({"action": "cancel", "filter": {"all": true}}), 5),
    ] {
        assert_eq!(tried_and_done(&app, &order).await, (expected, expected), "{order}");
    }
    let order = json!({"action": "cancel", "filter": {"parent": "../x"}});
    let (status, problem) = app.post("/api/v1/tasks/bulk", &order).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("../x")), "{problem}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_can_be_named_and_one_that_cannot_does_not_stop_the_others() {
    let app = TestApp::start().await;
    let waits = app.submit(&someday()).await;
    let failed = app.submit(&hopeless()).await;
    eventually("it has failed", async || (task(&app, &failed).await["status"] == "failed").then_some(())).await;
    let strange = "00000000-0000-4000-8000-000000000000";
    let order = json!({"action": "cancel", "ids": [failed, waits, strange], "by": "ada", "note": "too many"});
    let report = bulk(&app, order).await;
    assert_eq!(report["done"], 1);
    assert_eq!(report["refused"].as_array().expect("refusals").len(), 2);
    let cancelled = task(&app, &waits).await;
    assert_eq!(cancelled["status"], "cancelled");
    let told = cancelled["history"].as_array().expect("events").iter().any(|event| event["data"]["by"] == "ada");
    assert!(told, "{cancelled:#}");
    let retried = bulk(&app, json!({"action": "retry", "filter": {"status": ["failed"]}})).await;
    assert_eq!(retried["done"], 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_a_retry_tells_which_tasks_would_not_get_their_unique_key() {
    let app = TestApp::start().await;
    let hold = |mut task: Value, key: &str| {
        task["unique_key"] = json!(key);
        tagged(task, "keyed")
    };
    // The first two share a key, and the third lost its key to a task that waits.
    for key in ["shared", "shared", "lost"] {
        let id = app.submit(&hold(hopeless(), key)).await;
        eventually("it has failed", async || (task(&app, &id).await["status"] == "failed").then_some(())).await;
    }
    app.submit(&hold(someday(), "lost")).await;
    assert_eq!(app.post("/api/v1/pause", &json!({})).await.0, StatusCode::OK);
    for dry_run in [true, false] {
        let order = json!({"action": "retry", "filter": {"tag": "keyed"}, "dry_run": dry_run});
        let report = bulk(&app, order).await;
        assert_eq!((&report["matched"], &report["done"]), (&json!(3), &json!(1)), "{report}");
        let refused = report["refused"].as_array().expect("refusals");
        assert_eq!(refused.len(), 2, "{report}");
        assert!(refused.iter().all(|refusal| refusal["reason"].as_str().is_some_and(|why| why.contains("unique key"))));
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_waits_can_be_decided_at_once() {
    let app = TestApp::start().await;
    for _ in 0..5 {
        let mut task = crate::support::app::calculation("1 + 1");
        task["approval"] = json!("required");
        app.submit(&tagged(task, "batch")).await;
    }
    let order = json!({"action": "approve", "filter": {"tag": "batch"}, "by": "ada"});
    assert_eq!(tried_and_done(&app, &order).await, (5, 5));
    eventually("all have run", async || {
        let (_, listing) = app.get("/api/v1/tasks?tag=batch&status=completed").await;
        (listing["items"].as_array()?.len() == 5).then_some(())
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_task_can_be_moved_and_what_has_ended_cannot() {
    let app = TestApp::start().await;
    let mut body = hopeless();
    body["run_at"] = someday()["run_at"].clone();
    let id = app.submit(&body).await;
    let (status, _) = app.post(&format!("/api/v1/tasks/{id}/snooze"), &json!({"until": "2050-05-05T05:05:05Z"})).await;
    assert_eq!(status, StatusCode::OK);
    let (_, moved) = app.post(&format!("/api/v1/tasks/{id}/reprioritise"), &json!({"priority": 10})).await;
    assert_eq!((&moved["run_at"], &moved["priority"]), (&json!("2050-05-05T05:05:05.000Z"), &json!(10)));
    // It cannot succeed, but it is tried at once: that is what is asked for.
    app.post(&format!("/api/v1/tasks/{id}/snooze"), &json!({"for_s": 0})).await;
    eventually("it has been tried", async || (task(&app, &id).await["status"] == "failed").then_some(())).await;
    let (status, _) = app.post(&format!("/api/v1/tasks/{id}/snooze"), &json!({"for_s": 5})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_mean_nothing_or_everything_by_mistake_are_refused() {
    let app = TestApp::start().await;
    for order in [
        json!({"action": "cancel"}),
        json!({"action": "cancel", "filter": {}}),
        json!({"action": "cancel", "ids": ["1"], "filter": {"all": true}}),
        json!({"action": "cancel", "filter": {"tagg": "x"}}),
        json!({"action": "cancel", "filter": {"status": ["sleeping"]}}),
        json!({"action": "reprioritise", "filter": {"all": true}}),
        json!({"action": "reprioritise", "priority": 11, "filter": {"all": true}}),
        json!({"action": "snooze", "filter": {"all": true}}),
        json!({"action": "snooze", "until": "soon", "filter": {"all": true}}),
        json!({"action": "explode", "filter": {"all": true}}),
    ] {
        let (status, problem) = app.post("/api/v1/tasks/bulk", &order).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{order}: {problem}");
    }
    app.stop().await;
}
