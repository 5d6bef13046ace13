//! `qron run` as a child process, tasks for it, and a web server that sees which steps are carried out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path as Segments, State};
use axum::routing::get;
use qron::clock;
use qron::config::Config;
use qron::domain::id::TaskId;
use qron::domain::task::{Task, TaskStatus};
use qron::domain::time::Timestamp;
use qron::store::Store;
use serde_json::json;
use tokio::sync::watch;

use crate::support;
use crate::support::eventually;
pub(crate) use crate::support::process::Qron;
use crate::support::process::{any_below, steady_port};

/// Time without a heartbeat after which a replica is dead.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// A place for one test: folder, store, web server.
pub(crate) struct Place {
    folder: PathBuf,
    /// `None` when qron brings the store along.
    store_url: Option<String>,
    embedded_port: u16,
    prefix: String,
    capacity: usize,
    /// How long running tasks may go on after SIGTERM, in seconds.
    pub(crate) grace_s: u64,
    pub(crate) web: Web,
}

impl Place {
    /// A place whose store is the one that qron brings along, and that dies with it.
    pub(crate) async fn embedded(capacity: usize, page_takes: Duration) -> Self {
        Self::new(None, capacity, page_takes).await
    }

    /// A place whose store outlives qron.
    pub(crate) async fn shared(capacity: usize, page_takes: Duration) -> Self {
        Self::new(Some(support::qdrant_url()), capacity, page_takes).await
    }

    async fn new(store_url: Option<String>, capacity: usize, page_takes: Duration) -> Self {
        let prefix = support::unique_prefix();
        let folder = std::env::temp_dir().join(&prefix);
        std::fs::create_dir_all(&folder).expect("a folder");
        let web = Web::start(page_takes).await;
        Self { folder, store_url, embedded_port: steady_port(), prefix, capacity, grace_s: 1, web }
    }

    /// Starts the program.
    pub(crate) fn start(&self, name: &str) -> Qron {
        let folder = self.folder.display();
        let (url, prefix, capacity) = (self.store_url.as_deref().unwrap_or_default(), &self.prefix, self.capacity);
        let text = format!(
            r#"
            store = {{ url = "{url}", prefix = "{prefix}" }}
            embedded = {{ data_dir = "{folder}/data", address = "127.0.0.1:{}", next_free_port = false }}
            scheduler = {{ sweep = "* * * * * *" }}
            worker = {{ lease_ms = {}, heartbeat_ms = 500, grace_s = {} }}
            tools = {{ workspace = "{folder}/workspace", http = {{ allow = ["127.0.0.0/8"] }} }}
            artifacts = {{ folder = "{folder}/artifacts" }}
            api = {{ address = "127.0.0.1:{}" }}
            agents = {{ generalist = {{ capacity = {capacity} }} }}
            "#,
            self.embedded_port,
            LEASE.as_millis(),
            self.grace_s,
            steady_port(),
        );
        let file = self.folder.join(format!("{name}.toml"));
        std::fs::write(&file, text).expect("written");
        Qron::start(&file, &self.folder.join(format!("{name}.log")))
    }

    /// The store, once it answers.
    pub(crate) async fn store(&self) -> Store {
        let embedded = format!("http://127.0.0.1:{}", self.embedded_port);
        let url = self.store_url.clone().unwrap_or(embedded);
        let variables = [("QRON__STORE__URL", url), ("QRON__STORE__PREFIX", self.prefix.clone())];
        let variables = variables.map(|(key, value)| (key.to_owned(), value));
        let config = Config::load_with(None, variables).expect("a valid configuration");
        eventually("the store answers", async || {
            Store::connect(&config.store, &config.artifacts, None).await.map_err(|error| error.to_string())
        })
        .await
    }

    /// Tasks of three steps, one after the other; the first and the last are seen by the web server.
    pub(crate) fn tasks(&self, count: usize) -> Vec<Task> {
        let visit = |task: usize, step: &str, after: &[&str]| {
            let url = format!("{}/visit/{task}/{step}", self.web.base);
            json!({
                "id": step, "tool": "http_request", "arguments": {"url": url, "method": "GET"}, "depends_on": after,
            })
        };
        let task = |index: usize| {
            let sum = json!({
                "id": "s2", "tool": "calculate", "arguments": {"expression": format!("{index} + 1")}, "depends_on": ["s1"],
            });
            let plan = json!({"steps": [visit(index, "s1", &[]), sum, visit(index, "s3", &["s2"])]});
            let goal = format!("visit, calculate, visit {index}");
            let plan = Some(serde_json::from_value(plan).expect("a plan"));
            Task::new(TaskId::fresh(), goal, clock::now()).with(|task| task.spec.plan = plan)
        };
        (0..count).map(task).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The logs of a test that failed are worth keeping.
        if !std::thread::panicking() {
            drop(std::fs::remove_dir_all(&self.folder));
        }
    }
}

/// A web server that notes who came when. A visit takes its time, and waits while the doors are closed.
#[derive(Clone)]
pub(crate) struct Web {
    base: String,
    rooms: Arc<Rooms>,
}

struct Rooms {
    takes: Duration,
    visits: Mutex<BTreeMap<(usize, String), Vec<Timestamp>>>,
    closed: watch::Sender<bool>,
}

impl Web {
    async fn start(takes: Duration) -> Self {
        let rooms = Arc::new(Rooms { takes, visits: Mutex::default(), closed: watch::Sender::new(false) });
        let router = Router::new().route("/visit/{task}/{step}", get(visit)).with_state(Arc::clone(&rooms));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base, rooms }
    }

    /// When `step` of the task with this index was carried out.
    pub(crate) fn visits(&self, task: usize, step: &str) -> Vec<Timestamp> {
        let visits = self.rooms.visits.lock().expect("not poisoned");
        visits.get(&(task, step.to_owned())).cloned().unwrap_or_default()
    }

    /// How many visits there were.
    pub(crate) fn count(&self) -> usize {
        self.rooms.visits.lock().expect("not poisoned").values().map(Vec::len).sum()
    }

    /// Lets visitors in but not out, or out again.
    pub(crate) fn close(&self, closed: bool) {
        self.rooms.closed.send_replace(closed);
    }
}

async fn visit(State(rooms): State<Arc<Rooms>>, Segments((task, step)): Segments<(usize, String)>) -> &'static str {
    rooms.visits.lock().expect("not poisoned").entry((task, step)).or_default().push(clock::now());
    tokio::time::sleep(rooms.takes).await;
    drop(rooms.closed.subscribe().wait_for(|closed| !*closed).await);
    "welcome"
}

/// Waits until this many tasks are completed.
pub(crate) async fn until_completed(store: &Store, wanted: usize) {
    eventually(&format!("{wanted} tasks are completed"), async || {
        let counts = store.task_counts().await.map_err(|error| error.to_string())?;
        let completed = counts.get(&TaskStatus::Completed).copied().unwrap_or(0);
        if completed == wanted as u64 { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await;
}

/// A moment within `span`; another one with every call.
pub(crate) fn any_moment(span: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(span.start + any_below(span.end - span.start))
}
