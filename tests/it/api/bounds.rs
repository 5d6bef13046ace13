//! What is beyond the bounds of a task is refused by every door, and points that cannot be read are seen and stopped.

use qdrant_client::Payload;
use qdrant_client::Qdrant;
use qdrant_client::qdrant::{NamedVectors, PointStruct, UpsertPointsBuilder};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support;
use crate::support::app::{TestApp, calculation};

/// A sweep that does not come by during a test.
const NEVER: (&str, &str) = ("QRON__SCHEDULER__SWEEP", "0 0 0 1 1 *");

fn with(field: &str, value: Value) -> Value {
    let mut body = calculation("1 + 1");
    body[field] = value;
    body
}

fn steps(count: usize) -> Value {
    (0..count)
        .map(|step| json!({"id": format!("s{step}"), "tool": "calculate", "arguments": {"expression": "1"}}))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exceeds_a_bound_is_refused_by_tasks_and_schedules_alike() {
    let app = TestApp::start().await;
    for (field, value, told) in [
        ("timeout_s", json!(2_592_001), "timeout_s 2592001 is out of range: use 1 to 2592000"),
        ("timeout_s", json!(31_536_000), "timeout_s 31536000 is out of range"),
        ("timeout_s", json!(i64::MAX), "timeout_s 9223372036854775807 is out of range"),
        ("timeout_s", json!(0), "timeout_s 0 is out of range"),
        ("max_attempts", json!(1_001), "max_attempts 1001 is out of range: use 1 to 1000"),
        ("priority", json!(11), "priority 11 is out of range: use 0 to 10"),
        ("agent", json!("x".repeat(201)), "agent: a text of 201 characters"),
        ("user", json!("x".repeat(201)), "user: a text of 201 characters"),
        ("tags", json!(["x".repeat(201)]), "tags: a text of 201 characters"),
        ("capabilities", json!([" "]), "capabilities: a text of 1 characters"),
        ("concurrency_key", json!("x".repeat(201)), "concurrency_key: a text of 201 characters"),
        ("goal", json!("x".repeat(5_001)), "the goal has 5001 characters: use 10 to 5000"),
    ] {
        let body = with(field, value);
        let (status, problem) = app.post("/api/v1/tasks", &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(told)), "{problem}");
        let mut waiting = body.clone();
        waiting["depends_on"] = json!([7]);
        let (status, problem) = app.post("/api/v1/tasks", &json!([calculation("2 + 2"), waiting])).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
        let (status, problem) = app.post("/api/v1/schedules", &json!({"id": "s", "every": "1h", "task": body})).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(told)), "{problem}");
    }
    // A number beyond 64 bits with a sign keeps its digits as text, which no count is.
    let (status, problem) = app.post("/api/v1/tasks", &with("timeout_s", json!(u64::MAX))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("18446744073709551615")), "{problem}");
    assert_eq!(app.count().await, 0);
    app.stop().await;
}

/// What each door says of a task with this field: the API, a schedule, the tool `create_task` of a running task, and a point
/// of another client.
async fn refusals(
    app: &TestApp,
    client: &Qdrant,
    tasks: &str,
    field: &str,
    value: &Value,
) -> [(&'static str, String); 4] {
    let body = with(field, value.clone());
    let (_, of_task) = app.post("/api/v1/tasks", &body).await;
    let (_, of_schedule) = app.post("/api/v1/schedules", &json!({"id": "s", "every": "1h", "task": body})).await;

    let mut arguments = json!({"goal": "a task that a task makes"});
    arguments[field] = value.clone();
    let plan = json!([{"id": "make", "tool": "create_task", "arguments": arguments}]);
    let maker = json!({"goal": "make a task that is refused", "max_attempts": 1, "plan": plan});
    // What the arguments alone tell is refused with the plan.
    let of_tool = match app.post("/api/v1/tasks", &maker).await {
        (StatusCode::CREATED, task) => {
            app.until(task["id"].as_str().expect("an id"), "failed").await["error"]["message"].to_string()
        }
        (_, problem) => problem["detail"].to_string(),
    };

    let mut point = json!({"goal": "a task of another client"});
    point[field] = value.clone();
    let payload = Payload::try_from(point).expect("an object");
    let id = uuid::Uuid::new_v4().to_string();
    let point = PointStruct::new(id.clone(), NamedVectors::default(), payload);
    client.upsert_points(UpsertPointsBuilder::new(tasks, vec![point]).wait(true)).await.expect("written");
    let of_point = app.until(&id, "failed").await["error"]["message"].to_string();
    [("task", of_task.to_string()), ("schedule", of_schedule.to_string()), ("tool", of_tool), ("point", of_point)]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_door_refuses_the_same_with_the_same_rule() {
    let prefix = crate::support::unique_prefix();
    let settings = [("QRON__STORE__PREFIX", prefix.as_str()), ("QRON__SCHEDULER__SWEEP", "* * * * * *")];
    let app = TestApp::with(&settings).await;
    let client = Qdrant::from_url(&crate::support::qdrant_url()).skip_compatibility_check().build().expect("a client");
    for (field, value, rule) in [
        ("goal", json!(" "), "the goal has 0 characters: use "),
        ("goal", json!("x".repeat(50_001)), "the goal has 50001 characters: use "),
        ("agent", json!("x".repeat(201)), "agent: a text of 201 characters; use 1 to 200"),
        ("capabilities", json!(["x".repeat(201)]), "capabilities: a text of 201 characters; use 1 to 200"),
        ("capabilities", json!(vec!["x"; 101]), "capabilities has 101 entries; the most is "),
    ] {
        for (door, refusal) in refusals(&app, &client, &format!("{prefix}tasks"), field, &value).await {
            let shown: String = refusal.chars().take(500).collect();
            assert!(refusal.contains(rule), "{door}, {field}: {shown} does not say {rule:?}");
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_longer_than_the_budget_of_every_agent_that_could_take_it_is_refused() {
    let settings = [
        ("QRON__AGENTS__SMALL__BUDGET__MAX_STEPS", "2"),
        ("QRON__AGENTS__SMALL__CAPABILITIES", "[\"sums\"]"),
        ("QRON__AGENTS__GENERALIST__BUDGET__MAX_STEPS", "5"),
    ];
    let app = TestApp::with(&settings).await;
    for (fields, told) in [
        (json!({"plan": steps(6)}), Some("6 steps, and the budget of agent \"generalist\" allows 5")),
        (json!({"plan": steps(3), "agent": "small"}), Some("agents.small.budget.max_steps")),
        (json!({"plan": steps(3), "capabilities": ["sums"]}), Some("allows 2")),
        (json!({"plan": steps(5)}), None),
        (json!({"plan": steps(2), "agent": "small"}), None),
    ] {
        let mut body = json!({"goal": "many small sums"});
        body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        let (status, answer) = app.post("/api/v1/tasks", &body).await;
        match told {
            None => assert_eq!(status, StatusCode::CREATED, "{answer}"),
            Some(told) => {
                assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
                assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains(told)), "{answer}");
            }
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn points_that_cannot_be_read_are_listed_shown_with_the_reason_and_cancelled() {
    let prefix = support::unique_prefix();
    let app = TestApp::with(&[("QRON__STORE__PREFIX", prefix.as_str()), NEVER]).await;
    let soon = 4_102_444_800_000_i64;
    let own = |fields: Value| {
        let mut point = json!({
            "goal": "it was fine once", "status": "pending", "run_at": soon, "rank": soon, "priority": 5, "admitted": true,
            "created_at": soon, "updated_at": soon, "max_attempts": 3, "timeout_s": 60,
        });
        point.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        point
    };
    let cases = [
        (own(json!({"timeout_s": "soon"})), "timeout_s"),
        (own(json!({"plan": 7})), "plan"),
        (own(json!({"goal": ["a", "list"]})), "goal"),
        (own(json!({"status": "hibernating"})), "hibernating"),
        (own(json!({"status": "running", "max_attempts": -1})), "max_attempts"),
        (own(json!({"context": "text"})), "context"),
    ];
    let client = Qdrant::from_url(&support::qdrant_url()).skip_compatibility_check().build().expect("a client");
    let points = (1_u64..).zip(&cases).map(|(id, (payload, _))| {
        PointStruct::new(id, NamedVectors::default(), Payload::try_from(payload.clone()).expect("an object"))
    });
    let request = UpsertPointsBuilder::new(format!("{prefix}tasks"), points.collect::<Vec<_>>()).wait(true);
    client.upsert_points(request).await.expect("written");

    let (_, listing) = app.get("/api/v1/tasks").await;
    let listed = listing["items"].as_array().expect("a listing");
    for (id, (_, told)) in (1_u64..).zip(&cases) {
        let named = |task: &Value| task["unreadable"].as_str().is_some_and(|reason| reason.contains(told));
        let found = listed.iter().find(|task| task["id"] == id || task["id"].as_str() == Some(&*id.to_string()));
        assert!(found.is_some_and(named), "{told}: {found:?}");
        let (status, task) = app.get(&format!("/api/v1/tasks/{id}")).await;
        assert_eq!(status, StatusCode::OK, "{task}");
        assert!(named(&task), "{told}: {task}");
    }
    // One by one, and the last two together.
    for id in 1..=4 {
        let (status, task) = app.post(&format!("/api/v1/tasks/{id}/cancel"), &json!({})).await;
        assert_eq!((status, &task["status"]), (StatusCode::OK, &json!("cancelled")), "{task}");
    }
    let (_, refused) = app.post("/api/v1/tasks/bulk", &json!({"action": "snooze", "for_s": 5, "ids": ["5"]})).await;
    assert!(refused["refused"][0]["reason"].as_str().is_some_and(|why| why.contains("only cancelled")), "{refused}");
    let (_, report) = app.post("/api/v1/tasks/bulk", &json!({"action": "cancel", "ids": ["5", "6"]})).await;
    assert_eq!((&report["done"], &report["refused"]), (&json!(2), &json!([])), "{report}");
    for id in 1..=cases.len() {
        let (_, task) = app.get(&format!("/api/v1/tasks/{id}")).await;
        assert_eq!((&task["status"], &task["unreadable"]), (&json!("cancelled"), &Value::Null), "{task}");
        assert!(task["error"]["message"].as_str().is_some_and(|why| why.contains("could not be read")), "{task}");
    }

    // The sweep gives up one that waits for a person, whom nothing could ask; until then it is shown like the others.
    let asking = Payload::try_from(own(json!({"status": "awaiting_approval", "approvals": 3}))).expect("an object");
    let point = PointStruct::new(9_u64, NamedVectors::default(), asking);
    let request = UpsertPointsBuilder::new(format!("{prefix}tasks"), vec![point]).wait(true);
    client.upsert_points(request).await.expect("written");
    let (_, task) = app.get("/api/v1/tasks/9").await;
    let told = [&task["unreadable"], &task["error"]["message"]];
    assert!(told.iter().any(|reason| reason.as_str().is_some_and(|reason| reason.contains("approvals"))), "{task}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_steps_of_a_failed_run_are_shown_with_what_they_put_out() {
    let app = TestApp::start().await;
    let long = "x".repeat(5_000);
    let body = json!({
        "goal": "two steps that work and one that does not",
        "max_attempts": 1,
        "plan": [
            {"id": "sum", "tool": "calculate", "arguments": {"expression": "40 + 2"}},
            {"id": "keep", "tool": "set_state", "arguments": {"key": "k", "value": long}, "depends_on": ["sum"]},
            {"id": "again", "tool": "get_state", "arguments": {"key": "k"}, "depends_on": ["keep"]},
            {"id": "read", "tool": "read_file", "arguments": {"path": "nowhere.txt"}, "depends_on": ["again"]},
            {"id": "last", "tool": "calculate", "arguments": {"expression": "1"}, "depends_on": ["read"]},
        ],
    });
    let id = app.submit(&body).await;
    let task = app.until(&id, "failed").await;
    let steps = task["attempts"][0]["steps"].as_array().expect("steps");
    let told: Vec<(&str, &str)> =
        steps.iter().map(|step| (step["id"].as_str().unwrap_or(""), step["status"].as_str().unwrap_or(""))).collect();
    assert_eq!(told, [("sum", "done"), ("keep", "done"), ("again", "done"), ("read", "failed"), ("last", "blocked")]);
    assert_eq!((&steps[0]["tool"], &steps[0]["output"]["value"]), (&json!("calculate"), &json!("42")));
    assert!(steps[2]["output"].as_str().is_some_and(|text| text.ends_with('…')), "{}", steps[2]);
    assert!(steps[2]["output_bytes"].as_u64().is_some_and(|bytes| bytes > 5_000), "{}", steps[2]);
    assert!(steps[3]["error"].as_str().is_some_and(|error| error.contains("nowhere.txt")), "{}", steps[3]);
    let (_, whole) = app.get(&format!("/api/v1/tasks/{id}/steps")).await;
    assert!(whole["items"][2]["output"].to_string().contains(&long), "the whole output");
    assert_eq!(whole["items"][1]["arguments"], json!({"key": "k", "value": long}), "the whole arguments");
    assert!(steps[1]["arguments_bytes"].as_u64().is_some_and(|bytes| bytes > 5_000), "{}", steps[1]);
    assert_eq!((&steps[3]["depends_on"], &steps[3]["calls"][0]["tool"]), (&json!(["again"]), &json!("read_file")));
    assert!(steps[3]["calls"][0]["error"].as_str().is_some_and(|error| error.contains("nowhere.txt")), "{}", steps[3]);
    assert!(steps[3]["started_at"].as_str() <= steps[3]["finished_at"].as_str(), "{}", steps[3]);
    assert!(steps[4]["started_at"].is_null() && steps[4]["calls"].is_null(), "it was not run: {}", steps[4]);
    let (_, letter) = app.get(&format!("/api/v1/dead-letters/{id}")).await;
    let done: Vec<&Value> = letter["steps_done"].as_array().expect("steps").iter().map(|step| &step["id"]).collect();
    assert_eq!(done, ["sum", "keep", "again"]);
    assert_eq!(app.get("/api/v1/tasks/99/steps").await.0, StatusCode::NOT_FOUND);
    app.stop().await;
}
