//! A process that is killed while a task waits: for a person, or for another agent.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::support::{questions, saving};
use crate::support::eventually;

/// A `qron run` on its own embedded store. Killed without warning when dropped.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    /// Starts it in `folder`, with these settings beside those of every test here.
    fn start(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qron"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if ["QRON", "OPENAI_", "QDRANT_"].iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(["run", "--no-model"])
            .current_dir(folder)
            .env("QRON__API__ADDRESS", "127.0.0.1:0")
            .env("QRON__EMBEDDED__ADDRESS", "127.0.0.1:0")
            .env("QRON__LOG__FORMAT", "json")
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stderr.take().expect("its log")).lines().map_while(Result::ok);
        let url = lines.by_ref().find_map(|line| {
            let entry: Value = serde_json::from_str(&line).ok()?;
            Some(entry["api"].as_str()?.to_owned())
        });
        // Its log must be read, or it would stop when the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url: url.expect("it says where its api is") }
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let answer = http.post(format!("{}/api/v1{path}", self.url)).json(body).send().await.expect("an answer");
        answer.json().await.expect("JSON")
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        http.get(format!("{}/api/v1{path}", self.url)).send().await.ok()?.json().await.ok()
    }

    async fn until(&self, id: &str, status: &str) -> Value {
        eventually(&format!("{id} is {status}"), async || {
            let task = self.get(&format!("/tasks/{id}")).await?;
            (task["status"] == status).then_some(task)
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const ASKS: (&str, &str) = ("QRON__AGENTS__GENERALIST__NEEDS_APPROVAL", r#"["save_artifact"]"#);

#[tokio::test(flavor = "multi_thread")]
async fn a_question_survives_the_death_of_the_process_and_so_does_its_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = Process::start(folder.path(), &[ASKS]);
    let task = first.post("/tasks", &saving(&["report"])).await;
    let id = task["id"].as_str().expect("an id").to_owned();
    let asked = questions(&first.until(&id, "awaiting_approval").await);
    drop(first);

    let second = Process::start(folder.path(), &[ASKS]);
    let waiting = second.until(&id, "awaiting_approval").await;
    assert_eq!(questions(&waiting), asked);
    let decision = json!({"hashes": [asked[0].0], "by": "ada"});
    second.post("/pause", &json!({})).await;
    assert_eq!(second.post(&format!("/tasks/{id}/approve"), &decision).await["status"], "pending");
    drop(second);

    let third = Process::start(folder.path(), &[ASKS]);
    let approved = third.until(&id, "pending").await;
    assert_eq!(approved["approvals"][0]["by"], "ada");
    third.post("/resume", &json!({})).await;
    let done = third.until(&id, "completed").await;
    assert_eq!(done["artifacts"][0]["name"], "report");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_for_another_agent_survives_the_death_of_the_process() {
    let settings = [
        ("QRON__AGENTS__BOSS__CAPABILITIES", r#"["home"]"#),
        ("QRON__AGENTS__SCRIBE__CAPABILITIES", r#"["writing"]"#),
        ("QRON__AGENTS__SCRIBE__NEEDS_APPROVAL", r#"["save_artifact"]"#),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let first = Process::start(folder.path(), &settings);
    let write = json!({"id": "write", "tool": "save_artifact", "capability": "writing",
        "arguments": {"name": "report", "content": "text"}});
    let add = json!({"id": "add", "tool": "calculate", "arguments": {"expression": "40 + 2"}, "depends_on": ["write"]});
    let order = json!({"goal": "have the report written", "agent": "boss", "plan": {"steps": [write, add]}});
    let parent = first.post("/tasks", &order).await["id"].as_str().expect("an id").to_owned();
    let waiting = first.until(&parent, "waiting").await;
    let child = waiting["awaits"][0].as_str().expect("the task of the step").to_owned();
    let asked = questions(&first.until(&child, "awaiting_approval").await);
    drop(first);

    let second = Process::start(folder.path(), &settings);
    assert_eq!(questions(&second.until(&child, "awaiting_approval").await), asked);
    assert_eq!(second.until(&parent, "waiting").await["awaits"], json!([child]));
    second.post(&format!("/tasks/{child}/approve"), &json!({"hashes": [asked[0].0]})).await;
    let done = second.until(&parent, "completed").await;
    assert_eq!(done["result"]["output"]["value"], "42");
    let children = second.get(&format!("/tasks?parent={parent}")).await.expect("a list");
    assert_eq!(children["items"].as_array().map(Vec::len), Some(1), "the step became one task: {children}");
}
