//! What people do with tasks.

use std::collections::HashSet;

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::app::{PATIENCE, TestApp, calculation, hopeless, someday};

#[tokio::test(flavor = "multi_thread")]
async fn a_submitted_task_is_carried_out_and_shown_with_all_that_is_known_of_it() {
    let app = TestApp::start().await;
    let body = calculation("10!");
    let response = app.request(Method::POST, "/api/v1/tasks").json(&body).send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::CREATED);
    let location = response.headers()["location"].to_str().expect("text").to_owned();
    let created: serde_json::Value = response.json().await.expect("JSON");
    assert_eq!(created["created"], true);
    assert_eq!(location, format!("/api/v1/tasks/{}", created["id"].as_str().expect("an id")));
    assert!(created["run_at"].as_str().is_some_and(|time| time.ends_with('Z')), "{created}");

    let task = app.until(created["id"].as_str().expect("an id"), "completed").await;
    assert_eq!(task["result"]["output"]["value"], "3628800");
    assert_eq!(task["attempts"].as_array().expect("attempts").len(), 1);
    assert_eq!(task["progress"]["done"], 1);
    app.until_told(created["id"].as_str().expect("an id")).await;
    assert_eq!(app.get(&location).await.1["id"], created["id"]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_replica_takes_on_what_it_is_given_and_nothing_that_waits() {
    let app = TestApp::start().await;
    // Once this is done, and its end was looked after, nothing due is left.
    let first = app.submit(&calculation("1 + 1")).await;
    app.until(&first, "completed").await;
    let taken = async {
        loop {
            let (_, task) = app.post("/api/v1/tasks", &calculation("2 + 2")).await;
            if task["status"] == "running" {
                return task;
            }
            app.until(task["id"].as_str().expect("an id"), "completed").await;
        }
    };
    let task = tokio::time::timeout(PATIENCE, taken).await.expect("an idle replica inserts tasks as its own");
    assert_eq!(app.until(task["id"].as_str().expect("an id"), "completed").await["attempts"][0]["number"], 1);

    let mut keyed = calculation("3 + 3");
    keyed["unique_key"] = json!("k");
    let mut dependent = calculation("4 + 4");
    dependent["depends_on"] = json!([first]);
    for (body, status) in [(someday(), "pending"), (keyed, "pending"), (dependent, "waiting")] {
        let (_, task) = app.post("/api/v1/tasks", &body).await;
        assert_eq!(task["status"], status, "{task}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_key_makes_submitting_again_harmless() {
    let app = TestApp::start().await;
    let mut body = someday();
    body["unique_key"] = json!("nightly");
    let first = app.submit(&body).await;
    body["goal"] = json!("something else entirely");
    let (status, again) = app.post("/api/v1/tasks", &body).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&again["created"], again["id"].as_str()), (&json!(false), Some(first.as_str())));
    assert_eq!(again["goal"], someday()["goal"], "the first one is as it was");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_stored_whole_and_runs_in_the_order_of_its_dependencies() {
    let app = TestApp::start().await;
    let ids = [uuid::Uuid::now_v7().to_string(), uuid::Uuid::now_v7().to_string()];
    let mut first = calculation("1 + 1");
    first["id"] = json!(ids[0]);
    let mut second = calculation("2 + 2");
    second["id"] = json!(ids[1]);
    second["depends_on"] = json!([ids[0]]);
    let (status, listing) = app.post("/api/v1/tasks", &json!([first, second])).await;
    assert_eq!(status, StatusCode::CREATED, "{listing}");
    assert_eq!(listing["items"][1]["status"], "waiting");
    let first = app.until(&ids[0], "completed").await;
    let second = app.until(&ids[1], "completed").await;
    let end = |task: &serde_json::Value| task["finished_at"].as_str().expect("a time").to_owned();
    assert!(end(&first) <= end(&second));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_can_be_cancelled_and_tried_again() {
    let app = TestApp::start().await;
    let id = app.submit(&someday()).await;
    let cancel = format!("/api/v1/tasks/{id}/cancel");
    let (status, task) = app.post(&cancel, &json!(null)).await;
    assert_eq!((status, &task["status"]), (StatusCode::OK, &json!("cancelled")));
    assert_eq!(app.post(&cancel, &json!(null)).await.0, StatusCode::OK, "twice is as good as once");

    // Its time is still to come, and stays.
    let run_at = task["run_at"].clone();
    let (status, task) = app.post(&format!("/api/v1/tasks/{id}/retry"), &json!(null)).await;
    assert_eq!((status, &task["status"]), (StatusCode::ACCEPTED, &json!("pending")));
    assert_eq!(task["run_at"], run_at);

    // One that is due needs a model, and there is none: it waits and says so.
    let id = app.submit(&json!({"goal": "a goal that needs a model"})).await;
    app.until_says("/readyz", |ready| ready["waiting_for_model"] == 1).await;
    let waiting = app.get(&format!("/api/v1/tasks/{id}")).await.1;
    assert_eq!((&waiting["status"], &waiting["attempt"]), (&json!("pending"), &json!(0)), "{waiting:#}");
    assert!(
        waiting["waits"]["text"].as_str().is_some_and(|text| text.starts_with("has waited for a model since ")),
        "{waiting:#}"
    );

    let done = app.submit(&calculation("1 + 1")).await;
    app.until(&done, "completed").await;
    for action in ["cancel", "retry"] {
        let (status, problem) = app.post(&format!("/api/v1/tasks/{done}/{action}"), &json!(null)).await;
        assert_eq!(status, StatusCode::CONFLICT);
        assert!(problem["detail"].as_str().is_some_and(|text| text.contains("completed")), "{problem}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_task_stops_soon_when_it_is_cancelled() {
    let server = slow_server().await;
    let app = TestApp::with(&[("QRON__TOOLS__HTTP__ALLOW", r#"["127.0.0.1"]"#)]).await;
    let plan = json!({ "steps": [{ "id": "wait", "tool": "http_request", "arguments": { "url": server } }] });
    let id = app.submit(&json!({ "goal": "wait for a slow server", "plan": plan })).await;
    app.until(&id, "running").await;
    let (status, task) = app.post(&format!("/api/v1/tasks/{id}/cancel"), &json!(null)).await;
    assert_eq!((status, &task["cancel_requested"]), (StatusCode::ACCEPTED, &json!(true)), "{task}");
    app.until(&id, "cancelled").await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_stops_a_replica_still_answers_and_says_that_it_is_not_ready() {
    let server = slow_server().await;
    let settings = [("QRON__TOOLS__HTTP__ALLOW", r#"["127.0.0.1"]"#), ("QRON__WORKER__GRACE_S", "600")];
    let mut app = TestApp::with(&settings).await;
    let plan = json!({ "steps": [{ "id": "wait", "tool": "http_request", "arguments": { "url": server } }] });
    let id = app.submit(&json!({ "goal": "wait for a slow server", "plan": plan })).await;
    app.until(&id, "running").await;
    let running = app.app.take().expect("it runs");
    let runner = running.runner().clone();
    let stopping = tokio::spawn(running.shutdown());
    let said = async {
        loop {
            let (status, body) = app.get("/readyz").await;
            if status == StatusCode::SERVICE_UNAVAILABLE {
                return body;
            }
        }
    };
    let said = tokio::time::timeout(PATIENCE, said).await.expect("not ready any more");
    assert!(said["reasons"][0].as_str().is_some_and(|reason| reason.contains("stopping")), "{said}");
    assert_eq!(app.get(&format!("/api/v1/tasks/{id}")).await.1["status"], "running");
    runner.stop_now();
    stopping.await.expect("no panic").expect("a clean end");
}

/// A server that takes connections and never answers.
async fn slow_server() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            open.push(connection);
        }
    });
    format!("http://{address}/")
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_shown_requeued_and_purged_one_or_all() {
    let app = TestApp::start().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(app.submit(&hopeless()).await);
    }
    for id in &ids {
        app.until(id, "failed").await;
    }
    let (_, listing) = app.get("/api/v1/dead-letters").await;
    let buried: Vec<&str> =
        listing["items"].as_array().expect("a listing").iter().filter_map(|item| item["buried_at"].as_str()).collect();
    assert!(buried.len() == 3 && buried.is_sorted_by(|one, next| one >= next), "the latest first: {buried:?}");
    let (_, page) = app.get("/api/v1/dead-letters?limit=2").await;
    let next = page["next"].as_str().expect("there is one more");
    let (_, rest) = app.get(&format!("/api/v1/dead-letters?after={next}")).await;
    assert_eq!((&rest["items"][0], &rest["next"]), (&listing["items"][2], &json!(null)));
    let (status, problem) = app.get("/api/v1/dead-letters?after=yesterday").await;
    assert!(status == StatusCode::BAD_REQUEST && problem.to_string().contains("yesterday"), "{problem}");
    let (status, letter) = app.get(&format!("/api/v1/dead-letters/{}", ids[0])).await;
    assert_eq!(status, StatusCode::OK);
    assert!(letter["failure"]["message"].as_str().is_some_and(|text| text.contains("nowhere.txt")), "{letter}");
    assert_eq!(letter["goal"], hopeless()["goal"]);

    let (status, task) = app.post(&format!("/api/v1/dead-letters/{}/requeue", ids[0]), &json!(null)).await;
    assert_eq!((status, &task["status"]), (StatusCode::ACCEPTED, &json!("pending")));
    app.until(&ids[0], "failed").await;
    assert_eq!(app.get("/api/v1/dead-letters").await.1["items"].as_array().map(Vec::len), Some(3));

    let response = app.request(Method::DELETE, &format!("/api/v1/dead-letters/{}", ids[0])).send().await;
    assert_eq!(response.expect("an answer").status(), StatusCode::NO_CONTENT);
    assert_eq!(app.get(&format!("/api/v1/dead-letters/{}", ids[0])).await.0, StatusCode::NOT_FOUND);
    assert_eq!(app.post("/api/v1/dead-letters/requeue", &json!({})).await.0, StatusCode::BAD_REQUEST);
    let (_, outcome) = app.post("/api/v1/dead-letters/requeue", &json!({ "all": true })).await;
    assert_eq!(outcome["done"], 2, "{outcome}");
    for id in &ids {
        app.until(id, "failed").await;
    }
    let (_, outcome) = app.post("/api/v1/dead-letters/purge", &json!({ "ids": [ids[1]] })).await;
    assert_eq!(outcome["done"], 1);
    let (_, outcome) = app.post("/api/v1/dead-letters/purge", &json!({ "all": true })).await;
    assert_eq!(outcome["done"], 1);
    assert_eq!(app.get("/api/v1/dead-letters").await.1["items"], json!([]));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_are_fetched_as_downloads() {
    let app = TestApp::start().await;
    let steps = json!([{ "id": "keep", "tool": "save_artifact",
        "arguments": { "name": "page.html", "media_type": "text/html", "content": "<script>alert(1)</script>" } }]);
    let id = app.submit(&json!({ "goal": "save a page as an artifact", "plan": { "steps": steps } })).await;
    let task = app.until(&id, "completed").await;
    assert_eq!(task["artifacts"][0]["name"], "page.html");
    let (_, listing) = app.get(&format!("/api/v1/tasks/{id}/artifacts")).await;
    assert_eq!(listing["items"][0]["sha256"].as_str().map(str::len), Some(64));
    let path = format!("/api/v1/tasks/{id}/artifacts/page.html");
    let response = app.request(Method::GET, &path).send().await.expect("an answer");
    assert_eq!(response.headers()["content-disposition"], "attachment; filename*=UTF-8''page.html");
    assert_eq!(response.headers()["content-type"], "text/html");
    assert_eq!(response.headers()["content-length"], "25");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert_eq!(response.text().await.expect("a body"), "<script>alert(1)</script>");
    let (status, problem) = app.get(&format!("/api/v1/tasks/{id}/artifacts/other.html")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("other.html")));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_and_paged() {
    let app = TestApp::start().await;
    for number in 0..5 {
        let mut body = someday();
        body["tags"] = json!([if number < 3 { "early" } else { "late" }]);
        body["user"] = json!("ada");
        app.submit(&body).await;
    }
    let done = app.submit(&calculation("1 + 1")).await;
    app.until(&done, "completed").await;
    let count = async |query: &str| {
        let (status, listing) = app.get(&format!("/api/v1/tasks?{query}")).await;
        assert_eq!(status, StatusCode::OK, "{listing}");
        listing["items"].as_array().expect("a listing").len()
    };
    assert_eq!(count("tag=early").await, 3);
    assert_eq!(count("user=ada&tag=late").await, 2);
    assert_eq!(count("status=completed").await, 1);
    assert_eq!(count("status=PENDING,completed").await, 6);
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let (_, page) = app.get(&format!("/api/v1/tasks?limit=2{after}")).await;
        seen.extend(page["items"].as_array().expect("a page").clone());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert!(seen.is_sorted_by(|one, next| one["run_at"].as_str() >= next["run_at"].as_str()), "the latest first");
    assert_eq!(seen.last().map(|task| task["id"].clone()), Some(json!(done)));
    let ids: HashSet<String> = seen.iter().map(|task| task["id"].to_string()).collect();
    assert_eq!((seen.len(), ids.len()), (6, 6));

    let (_, ended) = app.get("/api/v1/tasks?order=ended").await;
    assert_eq!((&ended["items"][0]["id"], ended["items"].as_array().map(Vec::len)), (&json!(done), Some(1)));
    assert_eq!(count("order=next").await, 5, "what has ended is not next");
    assert_eq!(count(&format!("id_prefix={}", &done[..24])).await, 1);
    let (_, counts) = app.get("/api/v1/tasks/counts").await;
    assert_eq!(counts, json!({ "total": 6, "counts": { "pending": 5, "completed": 1 } }));
    let (_, counts) = app.get("/api/v1/tasks/counts?tag=early&status=pending,failed").await;
    assert_eq!(counts, json!({ "total": 3, "counts": { "pending": 3 } }));
    for (path, parts) in [
        ("tasks?order=oldest", ["oldest", "ended"]),
        ("tasks?id_prefix=xyz", ["xyz", "hexadecimal"]),
        ("tasks?id_prefix=0199&status=pending", ["id_prefix", "limit alone"]),
        ("tasks?id_prefix=0199&order=next", ["id_prefix", "limit alone"]),
        ("tasks/counts?limit=3", ["counts", "leave order, limit"]),
        ("dead-letters?id_prefix=01", ["01", "hexadecimal"]),
        ("dead-letters?id_prefix=0199&after=1:1", ["id_prefix", "limit alone"]),
    ] {
        let (status, problem) = app.get(&format!("/api/v1/{path}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {problem}");
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(parts.iter().all(|part| detail.contains(part)), "{path}: {detail}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_search_health_and_metrics_answer() {
    let app = TestApp::start().await;
    assert_eq!(app.get("/healthz").await.0, StatusCode::OK);
    let ready = async { while app.get("/readyz").await.0 != StatusCode::OK {} };
    tokio::time::timeout(PATIENCE, ready).await.expect("ready");
    let (_, agents) = app.get("/api/v1/agents").await;
    let agent = &agents["items"][0];
    assert_eq!((&agent["name"], &agent["health"]), (&json!("generalist"), &json!("ok")), "{agents}");
    assert_eq!(agent["capacity"], 100);

    let id = app.submit(&calculation("6 * 7")).await;
    app.until(&id, "completed").await;
    let found = async {
        loop {
            let (status, found) = app.get("/api/v1/search?q=calculate%206%20*%207").await;
            assert_eq!(status, StatusCode::OK, "{found}");
            if found["items"][0]["task_id"] == id.as_str() {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("the task is found");
    let (_, metrics) = app.get("/metrics").await;
    let metrics = metrics.as_str().expect("text");
    let counted = r#"qron_api_requests_total{method="GET",route="/api/v1/tasks/{id}",status="200"}"#;
    assert!(metrics.contains(counted), "{counted} is missing");
    assert!(!metrics.contains(&id), "an id became a label");
    app.stop().await;
}
