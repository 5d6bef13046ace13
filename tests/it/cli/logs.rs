//! What the log says: whose each line is, and how tasks end.

use std::time::{Duration, Instant};

use qron::llm::scripted::{Fault, Scenario, Script, ScriptedModel};
use reqwest::Method;
use serde_json::{Value, json};

use super::running::{Running, under_umask};

/// Longest wait for a line.
const DEADLINE: Duration = Duration::from_mins(1);

/// A model that fails once, and then plans every task; it gives up on tasks with `hopeless` in their goal.
async fn model() -> ScriptedModel {
    let step = json!({
        "id": "sum", "tool": "calculate", "arguments": "{\"expression\": \"20+22\"}", "instruction": null,
        "depends_on": [], "capability": null, "estimated_s": 1,
    });
    let plan = json!({"analysis": "The goal is clear.", "steps": [step]});
    let refusal = json!({"success": false, "answer": "", "reason": "it cannot be done\nWARN forged"});
    let script = Script::new(vec![
        Scenario::on("").purpose("plan").fault(Fault::CutStream, 1).json(plan),
        Scenario::on("hopeless").purpose("answer").json(refusal),
        Scenario::on("").purpose("answer").json(json!({"success": true, "answer": "42", "reason": "calculated"})),
    ]);
    ScriptedModel::start(script).await.expect("a model")
}

fn lines(running: &Running) -> Vec<Value> {
    let said = running.said();
    said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The first line that `is_it` accepts.
async fn line(running: &Running, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let lines = lines(running);
        if let Some(found) = lines.iter().find(|line| is_it(line)) {
            return found.clone();
        }
        assert!(began.elapsed() < DEADLINE, "no line: {what}, in {lines:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The first line with `message` about `task`.
async fn line_about(running: &Running, message: &str, task: &Value) -> Value {
    line(running, message, |line| line["message"] == message && line["task"] == *task).await
}

async fn post(running: &Running, path: &str, body: &Value) -> Value {
    let (status, answer) = running.ask(Method::POST, path, Some(body)).await;
    assert!(status < 300, "{answer}");
    serde_json::from_str(&answer).expect("JSON")
}

#[tokio::test]
async fn each_line_says_whose_it_is_and_each_end_has_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model().await;
    let base_url = model.base_url();
    let variables = [
        ("QRON__MODEL__BASE_URL", base_url.as_str()),
        ("QRON__MODEL__MODELS", "gpt-5-mini"),
        ("QRON__MODEL__RETRY__BASE_MS", "1"),
        ("QRON__MODEL__RETRY__MAX_MS", "2"),
        ("QRON__LOG__FILTER", "debug"),
    ];
    let running = Running::start(under_umask("022"), folder.path(), &variables).await;
    let (_, metrics) = running.ask(Method::GET, "/metrics", None).await;
    for series in [
        "qron_tasks_failed_total{agent=\"generalist\",class=\"permanent\"} 0",
        "qron_model_calls_total{model=\"gpt-5-mini\",purpose=\"plan\",outcome=\"transient\"} 0",
        "qron_tool_calls_total{tool=\"calculate\",outcome=\"invalid\"} 0",
    ] {
        assert!(metrics.lines().any(|line| line == series), "no {series} in:\n{metrics}");
    }

    // A line of a library function far below the run says whose it is.
    let done = running.ended(&json!({"goal": "add twenty to twenty-two"})).await;
    assert_eq!(done["status"], "completed", "{done}");
    let again = line(&running, "trying again", |line| line["message"] == "trying again").await;
    let span = json!({"name": "run", "task": done["id"], "attempt": 1, "agent": "generalist"});
    assert_eq!(again["span"], span, "{again}");
    let completed = line_about(&running, "task completed", &done["id"]).await;
    assert_eq!((&completed["level"], &completed["span"]), (&json!("INFO"), &span));

    let failed = running.ended(&json!({"goal": "a hopeless case", "max_attempts": 1})).await;
    assert_eq!(failed["status"], "failed", "{failed}");
    let gave_up = line_about(&running, "task failed for good", &failed["id"]).await;
    assert_eq!((&gave_up["level"], &gave_up["class"]), (&json!("WARN"), &json!("permanent")), "{gave_up}");
    assert!(gave_up["cause"].as_str().is_some_and(|cause| cause.contains("it cannot be done")), "{gave_up}");

    let schedule = json!({"id": "tick", "at": "2100-01-01T00:00:00Z", "task": {"goal": "add up at noon"}});
    post(&running, "/api/v1/schedules", &schedule).await;
    post(&running, "/api/v1/schedules/tick/trigger", &json!({})).await;
    let fired = line(&running, "schedule fired", |line| line["message"] == "schedule fired").await;
    assert_eq!((&fired["schedule"], &fired["level"]), (&json!("tick"), &json!("INFO")), "{fired}");
    assert_eq!(fired["span"]["route"], "/api/v1/schedules/{id}/trigger", "{fired}");
    let tick = line_about(&running, "task completed", &fired["task"]).await;
    assert_eq!(tick["span"]["schedule"], "tick", "{tick}");

    let step = json!({"id": "q", "tool": "calculate", "arguments": {"expression": "1+1"}, "approval": "required"});
    let asking =
        post(&running, "/api/v1/tasks", &json!({"goal": "ask a person first", "plan": {"steps": [step]}})).await;
    let asked = line_about(&running, "task waits for a person: see qron approvals", &asking["id"]).await;
    assert_eq!((&asked["level"], &asked["subjects"]), (&json!("WARN"), &json!("calculate (step q)")), "{asked}");

    let is_pause = |line: &Value| line["agent"] == "generalist" && line["message"].to_string().contains("is paused");
    assert!(!lines(&running).iter().any(is_pause), "nobody has paused it yet");
    post(&running, "/api/v1/pause", &json!({"agent": "generalist"})).await;
    assert_eq!(line(&running, "paused", is_pause).await["level"], "WARN");
    post(&running, "/api/v1/resume", &json!({"agent": "generalist"})).await;
    let is_over = |line: &Value| line["message"] == "agent takes tasks again: the pause is over";
    assert_eq!(line(&running, "resumed", is_over).await["level"], "INFO");

    // Debug is that of the crates of this repository, and each line of a request names the request.
    let lines = lines(&running);
    let is_own = |target: &str| ["qron", "qdrant_embedded"].iter().any(|name| target.starts_with(name));
    let foreign = |line: &&Value| line["level"] == "DEBUG" && !line["target"].as_str().is_some_and(is_own);
    assert_eq!(lines.iter().filter(foreign).count(), 0, "{:#?}", lines.iter().find(foreign));
    let answered: Vec<&Value> = lines.iter().filter(|line| line["message"] == "request answered").collect();
    let numbers: Vec<u64> = answered.iter().filter_map(|line| line["span"]["request"].as_u64()).collect();
    assert!(!answered.is_empty() && numbers.len() == answered.len(), "{answered:#?}");
    running.terminate().await;
}

#[tokio::test]
async fn a_filter_that_hides_most_lines_keeps_their_span() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = model().await;
    let base_url = model.base_url();
    let variables = [
        ("QRON__MODEL__BASE_URL", base_url.as_str()),
        ("QRON__MODEL__MODELS", "gpt-5-mini"),
        ("QRON__LOG__FILTER", "warn,qron::app=info"),
    ];
    let running = Running::start(under_umask("022"), folder.path(), &variables).await;
    let failed = running.ended(&json!({"goal": "a hopeless case", "max_attempts": 1})).await;
    let gave_up = line_about(&running, "task failed for good", &failed["id"]).await;
    assert_eq!(gave_up["span"]["task"], failed["id"], "a filter of the level warn keeps the span: {gave_up}");
    running.terminate().await;
}
