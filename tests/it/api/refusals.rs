//! Bad requests: each is named, and nothing is stored half.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::app::{TestApp, calculation};

fn with(field: &str, value: Value) -> Value {
    let mut body = calculation("1 + 1");
    body[field] = value;
    body
}

fn planned(steps: &Value) -> Value {
    with("plan", json!({ "steps": steps }))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_a_task_is_named_and_nothing_is_stored() {
    let app = TestApp::start().await;
    let bad = StatusCode::BAD_REQUEST;
    let impossible = StatusCode::UNPROCESSABLE_ENTITY;
    let deep = (0..40).fold(json!(1), |inner, _| json!({ "x": inner }));
    let cases = [
        (with("goal", json!("")), bad, vec!["0 characters", "10 to 5000"]),
        (with("goal", json!("too short")), bad, vec!["9 characters"]),
        (with("goal", json!("x".repeat(1_000_000))), bad, vec!["1000000 characters", "5000"]),
        (with("goal", json!(7)), bad, vec!["string"]),
        (with("gaol", json!(1)), bad, vec!["gaol", "known are", "goal"]),
        (with("run_at", json!("soon")), bad, vec!["run_at", "soon", "RFC 3339"]),
        (with("priority", json!(11)), bad, vec!["priority 11", "0 to 10"]),
        (with("max_attempts", json!(0)), bad, vec!["max_attempts"]),
        (with("timeout_s", json!(0)), bad, vec!["timeout_s"]),
        (with("id", json!("../7")), bad, vec!["../7", "UUID"]),
        (with("tags", json!([""])), bad, vec!["tags"]),
        (with("context", json!({ "deep": deep })), bad, vec!["context", "nested"]),
        (json!([]), bad, vec!["empty"]),
        (json!("do it"), bad, vec!["object"]),
        (with("agent", json!("nobody")), impossible, vec!["nobody", "generalist"]),
        (with("depends_on", json!(["77"])), impossible, vec!["77", "does not exist"]),
        (planned(&json!([{ "id": "a", "tool": "fly" }])), impossible, vec!["\"a\"", "\"fly\"", "calculate"]),
        (
            planned(&json!([
                { "id": "a", "instruction": "x", "depends_on": ["b"] },
                { "id": "b", "instruction": "x", "depends_on": ["a"] },
            ])),
            impossible,
            vec!["cycle", "a -> b -> a"],
        ),
        (planned(&json!([{ "id": "a", "instruction": "use ${z}" }])), impossible, vec!["\"z\""]),
    ];
    for (body, status, parts) in cases {
        let (answered, problem) = app.post("/api/v1/tasks", &body).await;
        assert_eq!(answered, status, "{problem}");
        let detail = problem["detail"].as_str().expect("a detail");
        for part in parts {
            assert!(detail.contains(part), "{detail:?} does not mention {part:?}");
        }
    }
    assert_eq!(app.count().await, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_a_plan_is_told_before_it_is_taken() {
    let app = TestApp::start().await;
    let call = |id: &str, tool: &str, arguments: Value| json!({ "id": id, "tool": tool, "arguments": arguments });
    let body = planned(&json!([
        call("key", "calculate", json!({ "expresion": "1 + 1" })),
        call("type", "http_request", json!({ "url": "https://example.org", "headers": "none" })),
        call("field", "set_state", json!({ "key": "k", "value": "${key.result}" })),
        call("tool", "fly", json!({})),
    ]));
    let (status, problem) = app.post("/api/v1/tasks", &body).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    let errors: Vec<&str> = problem["errors"].as_array().expect("errors").iter().filter_map(Value::as_str).collect();
    for expected in [
        "step \"key\": calculate has no argument \"expresion\" (did you mean \"expression\"?); it takes expression",
        "step \"key\": calculate requires the argument \"expression\" (text)",
        "step \"type\": the argument \"headers\" of http_request is \"none\"; it must be an object",
        "step \"field\": ${key.result}: calculate answers only value, exact",
        "step \"tool\" uses unknown tool \"fly\"",
    ] {
        assert!(errors.iter().any(|error| error.starts_with(expected)), "{expected}: {errors:?}");
    }
    let (status, problem) = app.post("/api/v1/tasks", &calculation("1 + ")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert!(
        problem["detail"].as_str().is_some_and(|detail| detail.contains("step \"it\": cannot calculate")),
        "{problem}"
    );
    assert_eq!(app.count().await, 0);
    let wildcards = planned(&json!([
        call("a", "calculate", json!({ "expression": "2^10" })),
        call("b", "calculate", json!({ "expression": "${a.value} + 1" })),
        call("c", "set_state", json!({ "key": "k", "value": 1, "ttl_s": "${b.value}" })),
    ]));
    let (status, answer) = app.post("/api/v1/tasks", &wildcards).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_with_one_bad_task_is_refused_whole_and_every_fault_told() {
    let app = TestApp::start().await;
    let list = json!([calculation("1 + 1"), with("goal", json!("no")), with("priority", json!(99))]);
    let (status, problem) = app.post("/api/v1/tasks", &list).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let errors = problem["errors"].as_array().expect("errors");
    assert_eq!(errors.len(), 2, "{problem}");
    assert!(errors[0].as_str().is_some_and(|error| error.starts_with("task 1 of the list")), "{problem}");

    let (status, _) = app.post("/api/v1/tasks", &json!([calculation("1 + 1"), with("agent", json!("nobody"))])).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let cycle = json!([
        { "id": "1", "goal": "wait for the other", "depends_on": ["2"] },
        { "id": "2", "goal": "wait for the other", "depends_on": ["1"] },
    ]);
    let (status, problem) = app.post("/api/v1/tasks", &cycle).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("cycle")), "{problem}");
    assert_eq!(app.count().await, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_a_problem_document() {
    let app = TestApp::with(&[("QRON__API__MAX_BODY_BYTES", "2048")]).await;
    let tasks = "/api/v1/tasks";
    let unknown = "/api/v1/tasks/019a0000-0000-7000-8000-000000000000";
    let json_body =
        |body: String| app.request(Method::POST, tasks).header("content-type", "application/json").body(body);
    let cases = [
        (app.request(Method::GET, "/nowhere"), 404, "/nowhere"),
        (app.request(Method::GET, unknown), 404, "019a0000"),
        (app.request(Method::POST, &format!("{unknown}/cancel")), 404, "019a0000"),
        (app.request(Method::GET, "/api/v1/dead-letters/7"), 404, "7"),
        (app.request(Method::POST, "/api/v1/dead-letters/7/requeue"), 404, "7"),
        (app.request(Method::GET, "/api/v1/tasks/not-an-id"), 400, "not-an-id"),
        (app.request(Method::GET, "/api/v1/tasks?status=maybe"), 400, "maybe"),
        (app.request(Method::GET, "/api/v1/tasks?colour=red"), 400, "colour"),
        (app.request(Method::GET, "/api/v1/tasks?limit=0"), 400, "limit"),
        (app.request(Method::GET, "/api/v1/tasks?after=x"), 400, "after"),
        (app.request(Method::GET, "/api/v1/search?q="), 400, "q is empty"),
        (app.request(Method::DELETE, tasks), 405, "DELETE"),
        (app.request(Method::POST, tasks).body("goal"), 415, "content-type"),
        (json_body("{".to_owned()), 400, "cannot be read: EOF"),
        (json_body("[".repeat(2_000)), 400, "recursion"),
        (json_body(" ".repeat(5_000)), 413, "max_body_bytes"),
    ];
    for (request, status, part) in cases {
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status().as_u16(), status, "{part}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let problem: Value = response.json().await.expect("JSON");
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string() && problem["type"].is_string());
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(part)), "{problem} lacks {part:?}");
    }
    app.stop().await;
}
