//! A world for one test: a store of its own, a web server that the test holds in its hands, and runners.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use qron::agent::Agent;
use qron::clock;
use qron::config::Config;
use qron::domain::agent::AgentProfile;
use qron::domain::id::TaskId;
use qron::domain::plan::Plan;
use qron::domain::task::{Task, TaskStatus};
use qron::llm::Models;
use qron::queue::Queue;
use qron::scheduler::{Parts, Runner};
use qron::store::{Store, StoreError};
use qron::tools::Toolbox;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{self as support, eventually};

/// A sweep that does not come by during a test: only signals can make things happen.
pub(crate) const NEVER: &str = "0 0 0 1 1 *";
/// A sweep that comes by every second.
pub(crate) const EVERY_SECOND: &str = "* * * * * *";

/// Sizes that no configuration can change. A test makes them small, so that it needs few tasks.
const CONSTANTS: [&str; 5] = [
    "SCHEDULER__WINDOW",
    "SCHEDULER__CLAIM_BATCH",
    "SCHEDULER__ADMISSION_BATCH",
    "WORKER__CANCEL_POLL_MS",
    "TOOLS__UNCLAIMED_MS",
];

fn set_constant(config: &mut Config, key: &str, value: u32) {
    match key.trim_start_matches("QRON__") {
        "SCHEDULER__WINDOW" => config.scheduler.window = value,
        "SCHEDULER__CLAIM_BATCH" => config.scheduler.claim_batch = value as usize,
        "SCHEDULER__ADMISSION_BATCH" => config.scheduler.admission_batch = value,
        "TOOLS__UNCLAIMED_MS" => config.tools.unclaimed_ms = value.into(),
        "WORKER__CANCEL_POLL_MS" => config.worker.cancel_poll_ms = value.into(),
        other => panic!("{other} is no constant"),
    }
}

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) config: Config,
    pub(crate) web: Web,
    /// Of every runner that was started.
    queues: Mutex<Vec<Queue>>,
}

impl World {
    /// A world whose configuration is the default with these variables, e.g. `("RETRY__BASE_MS", "10")`.
    pub(crate) async fn new(variables: &[(&str, &str)]) -> Self {
        let folder = std::env::temp_dir().join(support::unique_prefix());
        let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let fixed = [
            ("STORE__URL", support::qdrant_url()),
            ("STORE__PREFIX", support::unique_prefix()),
            ("TOOLS__WORKSPACE", path("workspace")),
            ("TOOLS__HTTP__ALLOW", "[\"127.0.0.0/8\"]".to_owned()),
            ("ARTIFACTS__FOLDER", path("artifacts")),
            ("SCHEDULER__SWEEP", NEVER.to_owned()),
            ("WORKER__CANCEL_POLL_MS", "50".to_owned()),
            ("RETRY__BASE_MS", "50".to_owned()),
            ("MEMORY__RECALL", "0".to_owned()),
            ("MODEL__MODELS", "gpt-5-mini".to_owned()),
        ];
        let given = variables.iter().map(|(key, value)| (*key, (*value).to_owned()));
        let variables = fixed.into_iter().chain(given).map(|(key, value)| (format!("QRON__{key}"), value));
        let (constants, variables): (Vec<_>, Vec<_>) =
            variables.partition(|(key, _)| CONSTANTS.contains(&key.trim_start_matches("QRON__")));
        let mut config = Config::load_with(None, variables).expect("a valid configuration");
        for (key, value) in constants {
            set_constant(&mut config, &key, value.parse().expect("a number"));
        }
        Self::over(config).await
    }

    /// A world with this configuration: what another process would see of the store.
    pub(crate) async fn over(config: Config) -> Self {
        let web = Web::start().await;
        let embeddings = &config.embeddings;
        let vector_size = (!embeddings.model.is_empty()).then_some(embeddings.dimensions);
        let store = Store::connect(&config.store, &config.artifacts, vector_size).await.expect("a store");
        Self { store, config, web, queues: Mutex::default() }
    }

    /// The configured agents.
    pub(crate) fn agents(&self) -> Vec<AgentProfile> {
        self.config.agents.values().cloned().collect()
    }

    /// A runner called `name` with these agents.
    pub(crate) async fn runner_of(&self, name: &str, agents: Vec<AgentProfile>) -> Runner {
        self.start(name, agents, &self.config).await
    }

    /// A runner called `name` with the configured agents.
    pub(crate) async fn runner(&self, name: &str) -> Runner {
        self.runner_of(name, self.agents()).await
    }

    /// A runner with a configuration of its own.
    pub(crate) async fn start(&self, name: &str, agents: Vec<AgentProfile>, config: &Config) -> Runner {
        Runner::start(self.parts(name, agents, config)).await.expect("a runner")
    }

    /// What a runner with a configuration of its own is made of.
    pub(crate) fn parts(&self, name: &str, agents: Vec<AgentProfile>, config: &Config) -> Parts {
        let models = Models::new(&config.model, &config.embeddings).expect("valid settings");
        let queue = Queue::new(self.store.clone(), name);
        let tools = Toolbox::new(&config.tools, &self.store, &queue).expect("tools");
        self.queues.lock().expect("not poisoned").push(queue.clone());
        Parts {
            queue,
            agent: Agent::new(models, tools, self.store.clone(), config.memory.clone(), config.scheduler.zone),
            agents,
            scheduler: config.scheduler.clone(),
            limits: config.limits.clone(),
            worker: config.worker.clone(),
            retry: config.retry.clone(),
            approvals: config.approvals.clone(),
            retention: config.retention.clone(),
        }
    }

    /// Inserts tasks and wakes whoever runs.
    pub(crate) async fn insert(&self, tasks: &[Task]) {
        for batch in tasks.chunks(256) {
            self.store.insert(batch).await.expect("inserted");
        }
        self.wake();
    }

    /// Has every runner look for due tasks now.
    pub(crate) fn wake(&self) {
        self.queues.lock().expect("not poisoned").iter().for_each(Queue::wake);
    }

    pub(crate) async fn task(&self, id: TaskId) -> Task {
        self.store.task(id).await.expect("readable").expect("there")
    }

    /// Waits until a task has this status.
    pub(crate) async fn until(&self, id: TaskId, status: TaskStatus) -> Task {
        eventually(&format!("task {id} is {status}"), async || {
            let task = self.task(id).await;
            if task.state.status == status {
                Ok(task)
            } else {
                Err(format!("{} ({:?})", task.state.status, task.state.error))
            }
        })
        .await
    }

    /// Waits until this many tasks have this status.
    pub(crate) async fn until_count(&self, status: TaskStatus, wanted: u64) {
        eventually(&format!("{wanted} tasks are {status}"), async || {
            let counts = self.store.task_counts().await.map_err(|error: StoreError| error.to_string())?;
            if counts.get(&status) == Some(&wanted) { Ok(()) } else { Err(format!("{counts:?}")) }
        })
        .await;
    }

    /// Kinds of the events of a task, in their order.
    pub(crate) async fn history(&self, id: TaskId) -> Vec<String> {
        let events = self.store.events(Some(id), 1_000).await.expect("readable");
        events.into_iter().map(|event| event.kind).collect()
    }
}

/// A task with an explicit plan.
pub(crate) fn planned(goal: &str, steps: &Value) -> Task {
    let plan: Plan = serde_json::from_value(json!({ "steps": steps })).expect("a plan");
    Task::new(TaskId::fresh(), goal, clock::now()).with(|task| task.spec.plan = Some(plan))
}

/// A task that calculates.
pub(crate) fn sum(goal: &str) -> Task {
    planned(goal, &json!([{"id": "s1", "tool": "calculate", "arguments": {"expression": "19 + 23"}}]))
}

pub(crate) fn agent(name: &str, capabilities: &[&str], capacity: usize) -> AgentProfile {
    serde_json::from_value(json!({"name": name, "capabilities": capabilities, "capacity": capacity})).expect("an agent")
}

/// A web server whose pages the test controls: `/held/NAME` answers once NAME is released, `/failing/NAME` answers
/// with status 500 until NAME is released, `/slow/NAME` takes a second. Visits are counted by path.
#[derive(Clone)]
pub(crate) struct Web {
    base: String,
    pages: Arc<Pages>,
}

#[derive(Default)]
struct Pages {
    visits: Mutex<HashMap<String, usize>>,
    gates: Mutex<BTreeMap<String, watch::Sender<bool>>>,
    slow: Mutex<Slow>,
}

#[derive(Default)]
struct Slow {
    now: usize,
    peak: usize,
    busy: Duration,
}

impl Pages {
    fn gate(&self, name: &str) -> watch::Sender<bool> {
        let mut gates = self.gates.lock().expect("not poisoned");
        gates.entry(name.to_owned()).or_insert_with(|| watch::Sender::new(false)).clone()
    }

    fn visit(&self, path: String) {
        *self.visits.lock().expect("not poisoned").entry(path).or_default() += 1;
    }
}

impl Web {
    async fn start() -> Self {
        let pages = Arc::new(Pages::default());
        let router = Router::new()
            .route("/open/{name}", get(open).post(open))
            .route("/held/{name}", get(held).post(held))
            .route("/failing/{name}", get(failing))
            .route("/slow/{name}", get(slow))
            .with_state(Arc::clone(&pages));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base, pages }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    /// A step that fetches `path`.
    pub(crate) fn step(&self, id: &str, path: &str) -> Value {
        json!({"id": id, "tool": "http_request", "arguments": {"url": self.url(path), "method": "GET"}})
    }

    pub(crate) fn release(&self, name: &str) {
        self.pages.gate(name).send_replace(true);
    }

    pub(crate) fn visits(&self, path: &str) -> usize {
        self.pages.visits.lock().expect("not poisoned").get(path).copied().unwrap_or(0)
    }

    /// Most visitors that slow pages had at once, and the time they spent there together.
    pub(crate) fn occupation(&self) -> (usize, Duration) {
        let slow = self.pages.slow.lock().expect("not poisoned");
        (slow.peak, slow.busy)
    }

    /// Waits until `path` has been asked for `count` times.
    pub(crate) async fn until_visited(&self, path: &str, count: usize) {
        eventually(&format!("{path} is visited {count} times"), async || {
            let visits = self.visits(path);
            if visits >= count { Ok(()) } else { Err(format!("{visits} visits")) }
        })
        .await;
    }
}

async fn open(State(pages): State<Arc<Pages>>, Path(name): Path<String>) -> &'static str {
    pages.visit(format!("open/{name}"));
    "open"
}

async fn held(State(pages): State<Arc<Pages>>, Path(name): Path<String>) -> &'static str {
    pages.visit(format!("held/{name}"));
    let mut gate = pages.gate(&name).subscribe();
    drop(gate.wait_for(|open| *open).await);
    "released"
}

async fn failing(State(pages): State<Arc<Pages>>, Path(name): Path<String>) -> (StatusCode, &'static str) {
    pages.visit(format!("failing/{name}"));
    let released = *pages.gate(&name).borrow();
    if released { (StatusCode::OK, "well again") } else { (StatusCode::INTERNAL_SERVER_ERROR, "out of order") }
}

async fn slow(State(pages): State<Arc<Pages>>, Path(name): Path<String>) -> &'static str {
    pages.visit(format!("slow/{name}"));
    let began = Instant::now();
    {
        let mut slow = pages.slow.lock().expect("not poisoned");
        slow.now += 1;
        slow.peak = slow.peak.max(slow.now);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut slow = pages.slow.lock().expect("not poisoned");
    slow.now -= 1;
    slow.busy += began.elapsed();
    "at last"
}
