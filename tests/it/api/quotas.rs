//! How much one request, one user and one token may ask for.

use qdrant_client::qdrant::{NamedVectors, PointStruct, UpsertPointsBuilder};
use qdrant_client::{Payload, Qdrant};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support;
use crate::support::app::{TestApp, calculation, someday};

fn of_user(user: &str) -> Value {
    let mut task = someday();
    task["user"] = json!(user);
    task
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_names_only_so_much() {
    let app = TestApp::start().await;
    let with = |field: &str, value: Value| {
        let mut task = calculation("1 + 1");
        task[field] = value;
        task
    };
    let many = |count: usize| json!((0..count).map(|index| format!("w{index}")).collect::<Vec<_>>());
    let ids = |count: usize| json!((1..=count).map(|id| id.to_string()).collect::<Vec<_>>());
    let tasks = json!(vec![json!({"goal": "one of very many"}); 10_001]);
    for (path, body, expected, words) in [
        ("tasks", tasks, 413, "10001 tasks; the most is 10000"),
        ("tasks", with("tags", many(101)), 400, "tags has 101 entries; the most is 100"),
        ("tasks", with("capabilities", many(101)), 400, "capabilities has 101 entries"),
        ("tasks", with("depends_on", ids(10_001)), 400, "depends_on has 10001 entries"),
        ("tasks/bulk", json!({"action": "cancel", "ids": ids(10_001)}), 400, "ids has 10001 entries"),
        ("dead-letters/requeue", json!({"ids": ids(10_001)}), 400, "ids has 10001 entries"),
        ("dead-letters/purge", json!({"ids": ids(10_001)}), 400, "ids has 10001 entries"),
    ] {
        let (status, problem) = app.post(&format!("/api/v1/{path}"), &body).await;
        assert_eq!(status.as_u16(), expected, "{path}: {problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(words)), "{problem} lacks {words}");
    }
    assert_eq!(app.count().await, 0);
    let (status, told) = app.post("/api/v1/tasks", &with("tags", many(100))).await;
    assert_eq!(status, StatusCode::CREATED, "{told}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_of_a_user_has_a_length() {
    let app = TestApp::with(&[("QRON__LIMITS__USERS__ALICE__MAX_QUEUED", "3")]).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(app.submit(&of_user("alice")).await);
    }
    // A list that would go beyond is refused whole.
    let (status, problem) =
        app.post("/api/v1/tasks", &json!([of_user("bob"), of_user("alice"), of_user("alice")])).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{problem}");
    for part in ["\"alice\" has 2 tasks", "adds 2", "the most is 3", "limits.users"] {
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(part)), "{problem} lacks {part}");
    }
    assert_eq!(app.count().await, 2);
    let keyed = async |key: &str| {
        let request = app.request(Method::POST, "/api/v1/tasks").header("idempotency-key", key);
        request.json(&of_user("alice")).send().await.expect("an answer").status()
    };
    assert_eq!(keyed("third").await, StatusCode::CREATED);
    // The request sent again adds nothing to the full queue.
    assert_eq!(keyed("third").await, StatusCode::OK);
    assert_eq!(keyed("fourth").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(app.count().await, 3);
    let refused = app.request(Method::POST, "/api/v1/tasks").json(&of_user("alice")).send().await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "60");
    // Others, and tasks of nobody, have nothing to do with it.
    app.submit(&of_user("bob")).await;
    app.submit(&someday()).await;
    let (status, _) = app.post(&format!("/api/v1/tasks/{}/cancel", ids[0]), &json!({})).await;
    assert_eq!(status, StatusCode::OK);
    app.submit(&of_user("alice")).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn points_of_other_clients_are_held_to_the_queue_of_their_user() {
    let prefix = support::unique_prefix();
    let app = TestApp::with(&[
        ("QRON__STORE__PREFIX", prefix.as_str()),
        ("QRON__LIMITS__USERS__ALICE__MAX_QUEUED", "3"),
        ("QRON__SCHEDULER__SWEEP", "* * * * * *"),
    ])
    .await;
    app.submit(&of_user("alice")).await;
    let client = Qdrant::from_url(&support::qdrant_url()).skip_compatibility_check().build().expect("a client");
    let point = |id: u64, user: Option<&str>| {
        let mut payload = json!({"goal": "look at this in ten years", "run_at": "2036-01-01T00:00:00Z"});
        if let Some(user) = user {
            payload["user"] = json!(user);
        }
        PointStruct::new(id, NamedVectors::default(), Payload::try_from(payload).expect("an object"))
    };
    let points: Vec<PointStruct> =
        (1..=5).map(|id| point(id, Some("alice"))).chain([point(6, Some("bob")), point(7, None)]).collect();
    let tasks = format!("{prefix}tasks");
    client.upsert_points(UpsertPointsBuilder::new(&tasks, points).wait(true)).await.expect("written");
    let letters = app
        .until_says("/api/v1/dead-letters", |letters| {
            letters["items"].as_array().is_some_and(|letters| letters.len() == 3)
        })
        .await;
    for letter in letters["items"].as_array().expect("a listing") {
        assert!(letter.to_string().contains("limits.users"), "{letter}");
    }
    // A dead letter is written before its task is marked as failed.
    app.until_says("/api/v1/tasks/counts", |counts| counts["counts"] == json!({"pending": 5, "failed": 3})).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_the_rate_are_told_when_to_come_again() {
    let app = TestApp::with(&[("QRON__API__REQUESTS_PER_S", "1"), ("QRON__API__TOKEN", "token")]).await;
    let ask = async |token: &str| {
        let request = app.request(Method::GET, "/api/v1/tasks").header("authorization", format!("Bearer {token}"));
        request.send().await.expect("an answer")
    };
    // Those without the token use nothing of it up.
    for _ in 0..50 {
        assert_eq!(ask("wrong").await.status(), StatusCode::UNAUTHORIZED);
    }
    let mut passed = 0;
    let refused = loop {
        let answer = ask("token").await;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            break answer;
        }
        assert_eq!(answer.status(), StatusCode::OK);
        passed += 1;
        assert!(passed < 200, "the rate does not hold");
    };
    assert!(passed >= 20, "only {passed} passed at once");
    let wait: u64 = refused.headers()["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert_eq!(wait, 1);
    let problem: Value = refused.json().await.expect("JSON");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("api.requests_per_s")), "{problem}");
    for _ in 0..50 {
        let probe = app.request(Method::GET, "/healthz").send().await.expect("an answer");
        assert_eq!(probe.status(), StatusCode::OK);
        let metrics = app.request(Method::GET, "/metrics").header("authorization", "Bearer token");
        assert_eq!(metrics.send().await.expect("an answer").status(), StatusCode::OK);
    }
    app.stop().await;
}
