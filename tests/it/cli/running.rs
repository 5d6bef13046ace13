//! A `qron run` whose log is a file, started under any umask, and its API.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::program::command;

/// Longest wait for anything here.
const DEADLINE: Duration = Duration::from_mins(2);

/// A command that runs the program after it has set its umask.
pub(crate) fn under_umask(umask: &str) -> Command {
    let program = command(&[]);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]).arg(program.get_program()).stdin(Stdio::null());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// A `qron run` whose log is a file. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
    api: String,
    pub(crate) store: String,
    token: Option<String>,
}

impl Running {
    /// Starts `command` as `qron run` with its data in `sub/data` below `folder`.
    pub(crate) async fn start(mut command: Command, folder: &Path, variables: &[(&str, &str)]) -> Self {
        let log = folder.join("log.json");
        let file = fs::File::options().create(true).append(true).open(&log).expect("a log file");
        let from = fs::read_to_string(&log).expect("a log").len();
        let child = command
            .args(["run", "--no-model"])
            .current_dir(folder)
            .env("QRON__API__ADDRESS", "127.0.0.1:0")
            .env("QRON__EMBEDDED__ADDRESS", "127.0.0.1:0")
            .env("QRON__EMBEDDED__DATA_DIR", folder.join("sub/data"))
            .env("QRON__LOG__FORMAT", "json")
            .envs(variables.iter().copied())
            .stdout(file.try_clone().expect("a log file"))
            .stderr(file)
            .spawn()
            .expect("it starts");
        let token =
            variables.iter().find(|(name, _)| *name == "QRON__API__TOKEN").map(|(_, token)| (*token).to_owned());
        let mut running = Self { child, log, api: String::new(), store: String::new(), token };
        let began = Instant::now();
        loop {
            let said = running.said();
            let entries = said[from..].lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(entry) = entries.into_iter().find(|entry| entry["api"].is_string()) {
                entry["api"].as_str().expect("a URL").clone_into(&mut running.api);
                entry["store"].as_str().expect("a URL").clone_into(&mut running.store);
                return running;
            }
            assert!(began.elapsed() < DEADLINE && running.child.try_wait().expect("a child").is_none(), "{said}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).expect("a log")
    }

    /// The status and the body of an answer of its API.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, String) {
        qron::app::install_crypto();
        let mut request = reqwest::Client::new().request(method, format!("{}{path}", self.api));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.expect("an answer");
        (response.status().as_u16(), response.text().await.expect("a body"))
    }

    /// Submits a task and gives back its record when it has ended.
    pub(crate) async fn ended(&self, task: &Value) -> Value {
        let (status, body) = self.ask(Method::POST, "/api/v1/tasks", Some(task)).await;
        assert!(status < 300, "{body}");
        let id = serde_json::from_str::<Value>(&body).expect("JSON")["id"].as_str().expect("an id").to_owned();
        let began = Instant::now();
        loop {
            let (_, body) = self.ask(Method::GET, &format!("/api/v1/tasks/{id}"), None).await;
            let task: Value = serde_json::from_str(&body).expect("JSON");
            if ["completed", "failed", "blocked", "cancelled"].contains(&task["status"].as_str().unwrap_or_default()) {
                return task;
            }
            assert!(began.elapsed() < DEADLINE, "{task}\n{}", self.said());
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Runs `plan` to its good end.
    pub(crate) async fn completed(&self, plan: &Value) {
        let task = self.ended(&json!({"goal": "carry out this plan", "plan": plan})).await;
        assert_eq!(task["status"], "completed", "{task}");
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn terminate(mut self) {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(killed.success());
        let began = Instant::now();
        while self.child.try_wait().expect("a child").is_none() {
            assert!(began.elapsed() < DEADLINE, "it does not stop");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
