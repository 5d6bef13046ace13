//! An agent for one test, with all it needs, and what it left behind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use qron::agent::{Agent, Checkpoint, MemorySettings, Outcome, Recorder};
use qron::domain::agent::AgentProfile;
use qron::domain::event::Event;
use qron::domain::failure::Failure;
use qron::domain::id::TaskId;
use qron::domain::plan::Plan;
use qron::domain::schedule::zone::Zone;
use qron::domain::task::Task;
use qron::domain::time::Timestamp;
use qron::domain::tool::{Effect, ToolResult, ToolSpec};
use qron::llm::scripted::{Scenario, Script, ScriptedModel};
use qron::llm::{EmbeddingSettings, Models};
use qron::queue::Queue;
use qron::store::Store;
use qron::tools::{Tool, ToolContext, Toolbox};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::support::{qdrant_url, unique_prefix};

pub(crate) struct Bed {
    pub(crate) agent: Agent,
    pub(crate) store: Store,
    pub(crate) model: ScriptedModel,
    pub(crate) profile: AgentProfile,
    pub(crate) effects: Effects,
    /// What the tool `board` gives.
    pub(crate) board: Board,
    prefix: String,
    _folder: TempDir,
}

fn section<T: DeserializeOwned>(name: &str) -> T {
    let mut defaults: toml::Table = toml::from_str(qron::config::DEFAULT_TOML).expect("the defaults");
    defaults.remove(name).expect("the section").try_into().expect("its settings")
}

impl Bed {
    pub(crate) async fn new(scenarios: Vec<Scenario>) -> Self {
        Self::with(Script::new(scenarios), &qdrant_url()).await
    }

    /// An agent that asks a model with this script and keeps its data in the Qdrant at `url`.
    pub(crate) async fn with(script: Script, url: &str) -> Self {
        Self::with_patience(script, url, 60_000).await
    }

    /// The same, with a time limit of model calls in milliseconds.
    pub(crate) async fn with_patience(script: Script, url: &str, timeout_ms: u64) -> Self {
        Self::over(script, url, timeout_ms, unique_prefix()).await
    }

    /// Another agent over the same store, as in another replica or after a restart.
    pub(crate) async fn beside(&self, scenarios: Vec<Scenario>) -> Self {
        let other = Self::over(Script::new(scenarios), &qdrant_url(), 60_000, self.prefix.clone()).await;
        other.board.shows(self.board.0.lock().expect("a board").clone());
        other
    }

    async fn over(script: Script, url: &str, timeout_ms: u64, prefix: String) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store: qron::store::Settings = section("store");
        (store.url, store.prefix) = (url.to_owned(), prefix.clone());
        let mut artifacts: qron::store::ArtifactSettings = section("artifacts");
        artifacts.folder = folder.path().join("artifacts");
        let store = Store::connect(&store, &artifacts, None).await.expect("a store");

        let model = ScriptedModel::start(script).await.expect("a scripted model");
        let mut models: qron::llm::Settings = section("model");
        (models.base_url, models.timeout_ms) = (model.base_url(), timeout_ms);
        models.models = vec!["gpt-5-mini".to_owned()];
        (models.retry.base_ms, models.retry.max_ms, models.retry.max_retry_after_ms) = (5, 20, 50);
        let embeddings = EmbeddingSettings { model: String::new(), dimensions: 8 };
        let models = Models::new(&models, &embeddings).expect("good settings");

        let mut tools: qron::tools::Settings = section("tools");
        tools.workspace = folder.path().join("workspace");
        let (effects, board) = (Effects::default(), Board::default());
        let tools = Toolbox::new(&tools, &store, &Queue::new(store.clone(), "agent-test")).expect("a toolbox");
        let tools = tools.with(Arc::new(Nap)).and_then(|tools| tools.with(Arc::new(Page)));
        let tools = tools.and_then(|tools| tools.with(Arc::new(board.clone())));
        let tools = tools.and_then(|tools| tools.with(Arc::new(Deliver(effects.clone())))).expect("tools for tests");

        let memory = MemorySettings { recall: 3 };
        let agent = Agent::new(models, tools, store.clone(), memory, Zone::default());
        let profile = serde_json::from_value(json!({"name": "tester", "role": "a tester"})).expect("a profile");
        Self { agent, store, model, profile, effects, board, prefix, _folder: folder }
    }

    /// Runs a task and remembers it, as a worker whose claim holds does.
    pub(crate) async fn run(&self, task: &Task) -> (Outcome, Traces) {
        let traces = Traces::default();
        let outcome = self.agent.run(task, &self.profile, None, &traces).await;
        if let Some(memory) = &outcome.memory {
            self.agent.remember(memory, &traces).await;
        }
        // The last one comes with the outcome, for whoever records that.
        traces.checkpoints.lock().expect("checkpoints").extend(outcome.checkpoint.clone());
        (outcome, traces)
    }
}

pub(crate) fn task(goal: &str) -> Task {
    Task::new(TaskId::fresh(), goal, Timestamp::from_millis(1_767_225_600_000))
}

pub(crate) fn planned(goal: &str, steps: &Value) -> Task {
    let plan: Plan = serde_json::from_value(json!({ "steps": steps })).expect("a plan");
    task(goal).with(|task| task.spec.plan = Some(plan))
}

pub(crate) fn success(answer: &str) -> Value {
    json!({"success": true, "answer": answer, "reason": "the outputs show it"})
}

/// A step as a model writes it.
pub(crate) fn written(id: &str, tool: &str, arguments: &Value, depends_on: &[&str]) -> Value {
    json!({"id": id, "tool": tool, "arguments": arguments.to_string(), "instruction": null,
        "depends_on": depends_on, "capability": null, "estimated_s": null})
}

/// A step with judgement as a model writes it, which may call `tools`.
pub(crate) fn judged(id: &str, instruction: &str, tools: &[&str]) -> Value {
    json!({"id": id, "tool": null, "arguments": "{}", "instruction": instruction, "tools": tools, "depends_on": [],
        "capability": null, "estimated_s": null})
}

pub(crate) fn plan(steps: &[Value]) -> Value {
    json!({"analysis": "clear enough", "steps": steps})
}

/// What a run leaves behind, in memory.
#[derive(Default)]
pub(crate) struct Traces {
    pub(crate) checkpoints: Mutex<Vec<Checkpoint>>,
    pub(crate) events: Mutex<Vec<Event>>,
    /// How often the run was announced.
    pub(crate) announced: AtomicUsize,
    /// Refuses every checkpoint from this one on (1 for the first).
    pub(crate) refuse_from: Option<usize>,
}

impl Traces {
    pub(crate) fn kinds(&self) -> Vec<String> {
        self.events.lock().expect("events").iter().map(|event| event.kind.clone()).collect()
    }

    pub(crate) fn last_state(&self) -> Option<Value> {
        self.checkpoints.lock().expect("checkpoints").last().map(|checkpoint| checkpoint.state.clone())
    }
}

#[async_trait]
impl Recorder for Traces {
    async fn checkpoint(&self, checkpoint: Checkpoint) -> Result<(), Failure> {
        let mut checkpoints = self.checkpoints.lock().expect("checkpoints");
        if self.refuse_from.is_some_and(|first| checkpoints.len() + 1 >= first) {
            return Err(Failure::transient("the claim was lost"));
        }
        checkpoints.push(checkpoint);
        Ok(())
    }

    async fn announce(&self) -> Result<(), Failure> {
        self.announced.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn note(&self, event: Event) {
        self.events.lock().expect("events").push(event);
    }
}

fn spec(name: &str, effect: Effect, idempotent: bool) -> ToolSpec {
    let parameters = json!({"type": "object", "properties": {}, "additionalProperties": true});
    ToolSpec {
        name: name.to_owned(),
        description: format!("Does {name}."),
        parameters,
        output: json!(true),
        effect,
        idempotent,
        untrusted: ["page", "board"].contains(&name),
    }
}

/// Takes `ms` milliseconds, and gives that back.
struct Nap;

#[async_trait]
impl Tool for Nap {
    fn spec(&self) -> ToolSpec {
        spec("nap", Effect::Read, true)
    }

    async fn call(&self, _: &ToolContext, arguments: Value) -> ToolResult {
        let ms = arguments["ms"].as_u64().ok_or_else(|| Failure::invalid("ms is missing"))?;
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok(json!({"slept": ms}))
    }
}

/// A page of the web, with whatever `text` somebody put there.
struct Page;

#[async_trait]
impl Tool for Page {
    fn spec(&self) -> ToolSpec {
        spec("page", Effect::Read, true)
    }

    async fn call(&self, _: &ToolContext, arguments: Value) -> ToolResult {
        Ok(arguments["text"].clone())
    }
}

/// A board of the web, which shows what the test puts there.
#[derive(Clone)]
pub(crate) struct Board(Arc<Mutex<ToolResult>>);

impl Default for Board {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Ok(json!({"state": "all is green"})))))
    }
}

impl Board {
    pub(crate) fn shows(&self, result: ToolResult) {
        *self.0.lock().expect("a board") = result;
    }
}

#[async_trait]
impl Tool for Board {
    fn spec(&self) -> ToolSpec {
        spec("board", Effect::Read, true)
    }

    async fn call(&self, _: &ToolContext, _: Value) -> ToolResult {
        self.0.lock().expect("a board").clone()
    }
}

/// What `deliver` has done to the world: the key of each call, in order.
#[derive(Clone, Default)]
pub(crate) struct Effects(Arc<Mutex<Vec<String>>>, Arc<Notify>);

impl Effects {
    pub(crate) fn keys(&self) -> Vec<String> {
        self.0.lock().expect("effects").clone()
    }

    /// Until `deliver` has been called once more.
    pub(crate) async fn another(&self) {
        self.1.notified().await;
    }
}

/// Changes the world and must not be repeated. Fails as `fail` says, or never returns when `hang` is set.
struct Deliver(Effects);

#[async_trait]
impl Tool for Deliver {
    fn spec(&self) -> ToolSpec {
        spec("deliver", Effect::External, false)
    }

    async fn call(&self, context: &ToolContext, arguments: Value) -> ToolResult {
        self.0.0.lock().expect("effects").push(context.idempotency_key.clone());
        self.0.1.notify_one();
        if arguments["hang"] == true {
            std::future::pending::<()>().await;
        }
        match arguments["fail"].as_str() {
            Some("transient") => Err(Failure::transient("the post office is closed")),
            Some(_) => Err(Failure::permanent("no such address")),
            None => Ok(json!({"delivered": arguments})),
        }
    }
}
