//! Times without an offset, and numbers of any length, through the API.

use reqwest::StatusCode;
use serde_json::json;

use crate::support::app::{TestApp, someday};

#[tokio::test(flavor = "multi_thread")]
async fn a_time_without_an_offset_is_on_the_wall_clock_of_the_configured_zone() {
    let app = TestApp::with(&[("QRON__SCHEDULER__ZONE", "America/New_York")]).await;
    let mut task = someday();
    task["run_at"] = json!("2040-07-01T09:00:00");
    let id = app.submit(&task).await;
    let (_, shown) = app.get(&format!("/api/v1/tasks/{id}")).await;
    assert_eq!(shown["run_at"], "2040-07-01T13:00:00.000Z");
    let later = json!({ "until": "2040-12-01 09:00" });
    let (status, shown) = app.post(&format!("/api/v1/tasks/{id}/snooze"), &later).await;
    assert_eq!((status, &shown["run_at"]), (StatusCode::OK, &json!("2040-12-01T14:00:00.000Z")));
    let many = json!({ "action": "snooze", "until": "2040-08-01", "ids": [id] });
    let (status, report) = app.post("/api/v1/tasks/bulk", &many).await;
    assert_eq!(status, StatusCode::OK, "{report}");
    let (_, shown) = app.get(&format!("/api/v1/tasks/{id}")).await;
    assert_eq!(shown["run_at"], "2040-08-01T04:00:00.000Z");
    let schedule = json!({ "at": "2040-07-01 09:00", "task": { "goal": "do it once and no more" } });
    let (status, shown) = app.post("/api/v1/schedules/preview", &schedule).await;
    assert_eq!(status, StatusCode::OK, "{shown}");
    assert!(shown.to_string().contains("2040-07-01T13:00:00"), "{shown}");
    for (zone, meant) in [("EST", "America/New_York"), ("pst", "America/Los_Angeles"), ("UTC+2", "is an offset")] {
        let body = json!({ "cron": "0 9 * * *", "zone": zone, "task": { "goal": "do it every day" } });
        let (status, problem) = app.post("/api/v1/schedules/preview", &body).await;
        assert!(status.is_client_error() && problem.to_string().contains(meant), "{zone}: {problem}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_numbers_of_any_length_keep_their_digits() {
    let app = TestApp::start().await;
    let body = r#"{
        "goal": "keep the numbers as they are",
        "context": {"fits": 9223372036854775807, "large": 18446744073709551615, "huge": -36893488147419103232, "far": 1e400},
        "plan": {"steps": [{"id": "keep", "tool": "set_state", "arguments": {"key": "n", "value": 18446744073709551616}},
            {"id": "read", "tool": "get_state", "arguments": {"key": "n"}, "depends_on": ["keep"]}]}
    }"#;
    let request = app.request(reqwest::Method::POST, "/api/v1/tasks").header("content-type", "application/json");
    let answer = request.body(body).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::CREATED);
    let submitted: serde_json::Value = answer.json().await.expect("JSON");
    let task = app.until(submitted["id"].as_str().expect("an id"), "completed").await;
    let kept = json!({
        "fits": i64::MAX, "large": "18446744073709551615", "huge": "-36893488147419103232", "far": "1e400",
    });
    assert_eq!(task["context"], kept);
    assert_eq!(task["result"]["output"]["value"], "18446744073709551616");
    app.stop().await;
}
