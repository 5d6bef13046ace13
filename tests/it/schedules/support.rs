//! Replicas of qron over one store, and schedules whose past the test chooses.

use std::process::Command;
use std::time::Duration;

use qron::app::App;
use qron::clock;
use qron::config::Config;
use qron::domain::schedule::{Definition, Schedule};
use qron::domain::task::{Task, TaskStatus};
use qron::store::{Store, TaskFilter};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::support;

/// How long a test waits for something that takes much less.
const PATIENCE: Duration = Duration::from_mins(1);

/// A store of its own and the replicas that a test starts over it.
pub(crate) struct World {
    pub(crate) store: Store,
    prefix: String,
    folder: tempfile::TempDir,
}

/// One running qron.
pub(crate) struct Replica {
    app: App,
    http: reqwest::Client,
}

impl World {
    pub(crate) async fn new() -> Self {
        let (prefix, folder) = (support::unique_prefix(), tempfile::tempdir().expect("a folder"));
        let config = config(&prefix, folder.path());
        let store = Store::connect(&config.store, &config.artifacts, None).await.expect("a store");
        Self { store, prefix, folder }
    }

    pub(crate) async fn replica(&self) -> Replica {
        self.replica_in("UTC").await
    }

    /// A replica whose schedules are in `zone` unless they say otherwise.
    pub(crate) async fn replica_in(&self, zone: &str) -> Replica {
        let mut config = config(&self.prefix, self.folder.path());
        config.scheduler.zone = zone.parse().expect("a zone");
        Self::start(config).await
    }

    /// A replica that asks the model at `base_url`.
    pub(crate) async fn replica_asking(&self, base_url: String) -> Replica {
        let mut config = config(&self.prefix, self.folder.path());
        (config.model.base_url, config.model.models) = (base_url, vec!["gpt-5-mini".to_owned()]);
        Self::start(config).await
    }

    async fn start(config: Config) -> Replica {
        let app = App::start(config).await.expect("the app starts");
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client");
        Replica { app, http }
    }

    /// Stores a schedule, decided up to `behind_s` seconds ago, as if qron had not run since.
    pub(crate) async fn asleep(&self, id: &str, definition: Value, behind_s: i64) -> Schedule {
        let definition: Definition = serde_json::from_value(definition).expect("a definition");
        let then = clock::now().plus_millis(-behind_s * 1000);
        let schedule = Schedule::new(id, definition, then);
        self.store.insert_schedule(&schedule).await.expect("stored").expect("new")
    }

    pub(crate) async fn schedule(&self, id: &str) -> Schedule {
        self.store.schedule(id).await.expect("readable").expect("there")
    }

    /// The tasks of a schedule, by the time of their firing.
    pub(crate) async fn tasks(&self, id: &str) -> Vec<Task> {
        let filter = TaskFilter { schedule_id: Some(id.to_owned()), ..TaskFilter::default() };
        let mut tasks = self.store.tasks(&filter, 1_000, None).await.expect("readable").items;
        tasks.sort_by_key(qron::domain::schedule::fire_time);
        tasks
    }

    pub(crate) async fn with_status(&self, id: &str, status: TaskStatus) -> Vec<Task> {
        let tasks = self.tasks(id).await;
        tasks.into_iter().filter(|task| task.state.status == status).collect()
    }
}

impl Replica {
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let request = self.http.request(method, format!("{}/api/v1{path}", self.app.api_url()));
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        read(request.send().await.expect("an answer")).await
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        self.send(Method::POST, path, Some(body)).await
    }

    pub(crate) fn url(&self) -> String {
        self.app.api_url()
    }

    pub(crate) async fn stop(self) {
        self.app.shutdown().await.expect("a clean end");
    }
}

async fn read(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let text = response.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn config(prefix: &str, folder: &std::path::Path) -> Config {
    let within = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let settings = [
        ("STORE__URL", support::qdrant_url()),
        ("STORE__PREFIX", prefix.to_owned()),
        ("API__ADDRESS", "127.0.0.1:0".to_owned()),
        ("TOOLS__WORKSPACE", within("workspace")),
        ("ARTIFACTS__FOLDER", within("artifacts")),
        ("WORKER__GRACE_S", "1".to_owned()),
    ];
    let variables = settings.map(|(name, value)| (format!("QRON__{name}"), value));
    let mut config = Config::load_with(None, variables).expect("a valid configuration");
    config.worker.cancel_poll_ms = 50;
    config
}

/// A template that calculates, and so ends at once.
pub(crate) fn quick() -> Value {
    json!({
        "goal": "calculate for ${fire_time}",
        "plan": {"steps": [{"id": "it", "tool": "calculate", "arguments": {"expression": "19 + 23"}}]},
    })
}

/// A template for an agent that is not there, so that its tasks stay alive.
pub(crate) fn endless() -> Value {
    json!({"goal": "wait for an agent at ${fire_time}", "agent": "nobody"})
}

/// Defines a schedule whose tasks end at once unless it says otherwise, whatever it was before.
pub(crate) async fn define(replica: &Replica, id: &str, more: &Value) -> Value {
    let mut body = json!({"task": quick()});
    let fields = body.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    let (status, saved) = replica.send(Method::PUT, &format!("/schedules/{id}"), Some(&body)).await;
    assert!(status.is_success(), "{saved}");
    saved
}

/// Runs the command line on the replica at `url`: whether it went well, its output and its errors.
pub(crate) fn qron(url: &str, arguments: &[&str]) -> (bool, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_qron")).args(arguments).env("QRON_URL", url).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}
