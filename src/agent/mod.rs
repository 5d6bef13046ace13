//! planAndExecute: from a task to its outcome.
//!
//! [`machine`] decides and does no I/O; the driver here does the I/O it asks for and reports back. Whoever runs
//! a task supplies a [`Recorder`], so that this module knows nothing of claims and attempts.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;

use crate::domain::agent::AgentProfile;
use crate::domain::attempt::Progress;
use crate::domain::budget::Spent;
use crate::domain::event::Event;
use crate::domain::failure::Failure;
use crate::domain::task::Task;
use crate::llm::Models;
use crate::store::Store;
use crate::tools::Toolbox;

pub mod machine;

/// Section `[memory]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemorySettings {
    /// Past tasks shown before planning; 0 for none.
    pub recall: u32,
}

/// State of a run after a recorded step; enough to continue it in another process.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The machine, serialised.
    pub state: Value,
    /// How far it is.
    pub progress: Progress,
    /// What it has spent.
    pub spent: Spent,
}

/// Where a run leaves its traces.
#[async_trait]
pub trait Recorder: Send + Sync {
    /// Makes a checkpoint durable. The run does nothing further before this returns, and ends when it fails.
    async fn checkpoint(&self, checkpoint: Checkpoint) -> Result<(), Failure>;
    /// Notes an event; never fails the run.
    fn note(&self, event: Event);
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The result of the task, or why there is none.
    pub result: Result<Value, Failure>,
    /// What was spent, earlier attempts included.
    pub spent: Spent,
}

/// Runs tasks. Cheap to clone.
#[derive(Clone)]
pub struct Agent {}

impl Agent {
    /// An agent runtime. Without `models` only tasks that carry a plan can run.
    #[must_use]
    pub fn new(models: Option<Models>, tools: Toolbox, store: Store, memory: MemorySettings) -> Self {
        let _ = (models, tools, store, memory);
        todo!()
    }
    /// Runs `task` as `profile`, from `checkpoint` if there is one (the `state` of an earlier [`Checkpoint`]), and remembers
    /// how it ended. Dropping the future stops the run.
    pub async fn run(
        &self,
        task: &Task,
        profile: &AgentProfile,
        checkpoint: Option<Value>,
        recorder: &dyn Recorder,
    ) -> Outcome {
        let _ = (task, profile, checkpoint, recorder);
        todo!()
    }
}
