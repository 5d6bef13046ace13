//! What these tests share.

use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::eventually;

/// A task that saves artifacts of these names, each in a step of its own.
pub(crate) fn saving(names: &[&str]) -> Value {
    let steps: Vec<Value> = names
        .iter()
        .map(|name| json!({ "id": name, "tool": "save_artifact", "arguments": { "name": name, "content": "text" } }))
        .collect();
    json!({ "goal": format!("save the artifacts {names:?}"), "plan": { "steps": steps } })
}

/// Names of the artifacts of a task.
pub(crate) fn artifacts_of(task: &Value) -> Vec<&str> {
    task["artifacts"].as_array().expect("artifacts").iter().filter_map(|artifact| artifact["name"].as_str()).collect()
}

/// The open questions of a task: hash and arguments.
pub(crate) fn questions(task: &Value) -> Vec<(String, Value)> {
    let approvals = task["approvals"].as_array().cloned().unwrap_or_default();
    let open = approvals.iter().filter(|approval| approval["verdict"].is_null());
    open.map(|approval| (approval["hash"].as_str().expect("a hash").to_owned(), approval["arguments"].clone()))
        .collect()
}

pub(crate) async fn task(app: &TestApp, id: &str) -> Value {
    app.get(&format!("/api/v1/tasks/{id}")).await.1
}

/// Waits for an event of this kind and gives it back.
pub(crate) async fn happened(app: &TestApp, id: &str, kind: &str) -> Value {
    eventually(&format!("{id} has an event {kind}"), async || {
        let task = task(app, id).await;
        task["history"].as_array()?.iter().find(|event| event["kind"] == kind).cloned()
    })
    .await
}
