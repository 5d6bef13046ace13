//! The program with a real model: runs goals one after another over its API.

use std::fmt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::process::{PROGRAM, steady_port};

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// A task that has ended.
pub(crate) struct Finished {
    pub(crate) status: String,
    pub(crate) output: Value,
    pub(crate) artifacts: Vec<(String, String)>,
    pub(crate) ended: DateTime<Utc>,
    pub(crate) calls: f64,
    pub(crate) tokens: f64,
    pub(crate) seconds: f64,
    error: String,
}

impl Finished {
    /// Its result in lower case.
    pub(crate) fn text(&self) -> String {
        self.output.as_str().map_or_else(|| self.output.to_string(), str::to_owned).to_lowercase()
    }

    /// Whether the result holds all of `words`.
    pub(crate) fn says(&self, words: &[&str]) -> bool {
        let text = self.text().replace(',', "");
        words.iter().all(|word| text.contains(&word.to_lowercase()))
    }

    pub(crate) fn names_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.text().contains(word))
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = if self.error.is_empty() { self.output.to_string() } else { self.error.clone() };
        let said: String = said.chars().take(200).collect();
        write!(f, "{:>2} calls {:>6} tokens {:>4.0} s  {said}", self.calls, self.tokens, self.seconds)
    }
}

/// A running program. Killed when dropped.
pub(crate) struct Program {
    child: Child,
    url: String,
    http: reqwest::Client,
    _folder: TempDir,
}

impl Program {
    /// Starts it with the model of the environment and the right to read pages of this machine.
    pub(crate) async fn start() -> Self {
        qron::app::install_crypto();
        let model =
            std::env::var("QRON_TEST_MODEL_URL").expect("QRON_TEST_MODEL_URL: the base URL of a model endpoint");
        let name = std::env::var("QRON_TEST_MODEL").unwrap_or_else(|_| "qwen2.5-coder-1.5b".to_owned());
        let folder = tempfile::tempdir().expect("a folder");
        let (api, store) = (steady_port(), steady_port());
        let settings = format!(
            "[model]\nbase_url = {model:?}\nmodels = [{name:?}]\ntimeout_ms = 600000\n\
             [tools.http]\nallow = [\"127.0.0.1\"]\n\
             [api]\naddress = \"127.0.0.1:{api}\"\n\
             [embedded]\naddress = \"127.0.0.1:{store}\"\ndata_dir = \"{}\"\n",
            folder.path().join("data").display(),
        );
        let config = folder.path().join("qron.toml");
        std::fs::write(&config, settings).expect("written");
        let path = folder.path().join("log");
        let log = std::fs::File::create(&path).expect("a log file");
        let child = Command::new(PROGRAM)
            .args(["run", "--config"])
            .arg(&config)
            .env("OPENAI_API_KEY", "none")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("the program starts");
        let mut program = Self {
            child,
            url: format!("http://127.0.0.1:{api}"),
            http: reqwest::Client::builder().no_proxy().build().expect("a client"),
            _folder: folder,
        };
        while program.get("/healthz").await.is_err() {
            let ended = program.child.try_wait().expect("a child");
            assert!(ended.is_none(), "{}", std::fs::read_to_string(&path).expect("a log"));
            tokio::time::sleep(PAUSE).await;
        }
        program
    }

    /// Runs a goal to its end.
    pub(crate) async fn run(&self, goal: &str) -> Finished {
        let (calls, tokens) = self.spent().await;
        let began = Instant::now();
        let body = json!({"goal": goal, "max_attempts": 1});
        let added = self.http.post(format!("{}/api/v1/tasks", self.url)).json(&body).send().await.expect("sent");
        let added: Value = added.json().await.expect("JSON");
        let id = added.pointer("/id").and_then(Value::as_str).unwrap_or_else(|| panic!("{added}")).to_owned();
        let task = self.ended(&id).await;
        let ended = task["finished_at"].as_str().unwrap_or_default();
        let ended = DateTime::parse_from_rfc3339(ended).expect("a time").to_utc();
        let seconds = began.elapsed().as_secs_f64();
        let (calls_now, tokens_now) = self.spent().await;
        Finished {
            status: task["status"].as_str().unwrap_or_default().to_owned(),
            output: task.pointer("/result/output").cloned().unwrap_or_else(|| task["result"].clone()),
            artifacts: self.artifacts(&id).await,
            ended,
            calls: calls_now - calls,
            tokens: tokens_now - tokens,
            seconds,
            error: task.pointer("/error/message").and_then(Value::as_str).unwrap_or_default().to_owned(),
        }
    }

    /// Waits as long as it takes: a model on a slow machine is no fault.
    async fn ended(&self, id: &str) -> Value {
        loop {
            let task = self.json(&format!("/api/v1/tasks/{id}")).await;
            if ["completed", "failed", "cancelled"].contains(&task["status"].as_str().unwrap_or_default()) {
                return task;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn artifacts(&self, id: &str) -> Vec<(String, String)> {
        let listed = self.json(&format!("/api/v1/tasks/{id}/artifacts")).await;
        let mut read = Vec::new();
        for artifact in listed["items"].as_array().cloned().unwrap_or_default() {
            let name = artifact["name"].as_str().unwrap_or_default().to_owned();
            let text = self.get(&format!("/api/v1/tasks/{id}/artifacts/{name}")).await.unwrap_or_default();
            read.push((name, text));
        }
        read
    }

    /// Model calls and tokens so far.
    async fn spent(&self) -> (f64, f64) {
        let metrics = self.get("/metrics").await.expect("metrics");
        let sum = |name: &str| {
            let lines = metrics.lines().filter(|line| line.starts_with(name));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        (sum("qron_model_calls_total"), sum("qron_model_tokens_total"))
    }

    async fn json(&self, path: &str) -> Value {
        let text = self.get(path).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    async fn get(&self, path: &str) -> Result<String, reqwest::Error> {
        self.http.get(format!("{}{path}", self.url)).send().await?.error_for_status()?.text().await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
