//! A qron of its own for each test, and requests to it.

use std::time::Duration;

use qron::app::App;
use qron::config::Config;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::{self as support, eventually};

/// How long a test waits for something that takes milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct TestApp {
    pub(crate) app: Option<App>,
    pub(crate) http: reqwest::Client,
    pub(crate) url: String,
    folder: tempfile::TempDir,
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// A qron with settings of its own.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let own = [("QRON__STORE__URL", support::qdrant_url()), ("QRON__STORE__PREFIX", support::unique_prefix())];
        let app = App::start(config(folder.path(), &own, settings)).await.expect("the app starts");
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client");
        Self { url: app.api_url(), app: Some(app), http, folder }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        read(self.request(Method::GET, path).send().await.expect("an answer")).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        read(self.request(Method::POST, path).json(body).send().await.expect("an answer")).await
    }

    /// Submits a task that is fine and gives back its id.
    pub(crate) async fn submit(&self, body: &Value) -> String {
        let (status, task) = self.post("/api/v1/tasks", body).await;
        assert_eq!(status, StatusCode::CREATED, "{task}");
        task["id"].as_str().expect("an id").to_owned()
    }

    /// Waits until a task has a status.
    pub(crate) async fn until(&self, id: &str, status: &str) -> Value {
        eventually(&format!("{id} is {status}"), async || {
            let (_, task) = self.get(&format!("/api/v1/tasks/{id}")).await;
            if task["status"] == status {
                return Ok(task);
            }
            assert!(task["finished_at"].is_null(), "{id} has ended otherwise: {task:#}");
            Err(format!("{task:#}"))
        })
        .await
    }

    /// Waits for the first events of a task: they are written in batches, shortly after what they tell.
    pub(crate) async fn until_told(&self, id: &str) -> Value {
        eventually(&format!("{id} has a history"), async || {
            let (_, task) = self.get(&format!("/api/v1/tasks/{id}")).await;
            let has_history = task["history"].as_array().is_some_and(|events| !events.is_empty());
            has_history.then_some(task)
        })
        .await
    }

    /// Waits until `path` says what is wanted.
    pub(crate) async fn until_says(&self, path: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("{path} says what is wanted"), async || {
            let (_, said) = self.get(path).await;
            if is_wanted(&said) { Ok(said) } else { Err(format!("{said:#}")) }
        })
        .await
    }

    pub(crate) async fn count(&self) -> usize {
        let (_, listing) = self.get("/api/v1/tasks?limit=1000").await;
        listing["items"].as_array().expect("a listing").len()
    }

    pub(crate) async fn stop(mut self) {
        if let Some(app) = self.app.take() {
            app.shutdown().await.expect("a clean end");
        }
        drop(self.folder);
    }
}

/// Settings for a qron in `folder`, on any free port.
pub(crate) fn config(folder: &std::path::Path, own: &[(&str, String)], settings: &[(&str, &str)]) -> Config {
    let within = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let base = [
        ("QRON__API__ADDRESS", "127.0.0.1:0".to_owned()),
        ("QRON__EMBEDDED__ADDRESS", "127.0.0.1:0".to_owned()),
        ("QRON__EMBEDDED__DATA_DIR", within("data")),
        ("QRON__TOOLS__WORKSPACE", within("workspace")),
        ("QRON__ARTIFACTS__FOLDER", within("artifacts")),
        ("QRON__WORKER__GRACE_S", "1".to_owned()),
        ("QRON__MODEL__MODELS", "gpt-5-mini".to_owned()),
    ];
    let settings = settings.iter().map(|(name, value)| (*name, (*value).to_owned()));
    let all = base.into_iter().chain(own.iter().cloned()).chain(settings);
    Config::load_with(None, all.map(|(name, value)| (name.to_owned(), value))).expect("a valid configuration")
}

async fn read(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let text = response.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// A task that calculates; it needs no model.
pub(crate) fn calculation(expression: &str) -> Value {
    json!({
        "goal": format!("calculate {expression}, please"),
        "plan": { "steps": [{ "id": "it", "tool": "calculate", "arguments": { "expression": expression } }] },
    })
}

/// A task that cannot succeed: the file it reads does not exist.
pub(crate) fn hopeless() -> Value {
    json!({
        "goal": "read a file that is not there",
        "plan": { "steps": [{ "id": "read", "tool": "read_file", "arguments": { "path": "nowhere.txt" } }] },
    })
}

/// A task that is due in ten years.
pub(crate) fn someday() -> Value {
    json!({ "goal": "look at this in ten years", "run_at": "2036-01-01T00:00:00Z" })
}
