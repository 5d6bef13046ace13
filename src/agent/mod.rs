//! planAndExecute: from a task to its outcome.
//!
//! [`machine`] decides and does no I/O; the driver here does the I/O it asks for and reports back. Whoever runs
//! a task supplies a [`Recorder`], so that this module knows nothing of claims and attempts.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;

use crate::clock;
use crate::domain::agent::AgentProfile;
use crate::domain::attempt::Progress;
use crate::domain::budget::Spent;
use crate::domain::event::{Event, Level};
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::task::Task;
use crate::llm::Models;
use crate::store::Store;
use crate::tools::Toolbox;

mod driver;
pub mod machine;
mod memory;

use driver::{Driven, Driver};
use machine::{Machine, Setup};
use memory::Remembrance;

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
pub struct Agent {
    models: Option<Models>,
    tools: Toolbox,
    store: Store,
    memory: MemorySettings,
}

impl Agent {
    /// An agent runtime. Without `models` only tasks that carry a plan of tool steps can run.
    #[must_use]
    pub const fn new(models: Option<Models>, tools: Toolbox, store: Store, memory: MemorySettings) -> Self {
        Self { models, tools, store, memory }
    }

    /// Runs `task` as `profile`, from `checkpoint` if there is one (the `state` of an earlier [`Checkpoint`]), and
    /// remembers how it ended unless it will be tried again. Dropping the future stops the run and its calls.
    pub async fn run(
        &self,
        task: &Task,
        profile: &AgentProfile,
        checkpoint: Option<Value>,
        recorder: &dyn Recorder,
    ) -> Outcome {
        let mut machine = match self.open(task, profile, checkpoint.as_ref(), recorder) {
            Ok(machine) => machine,
            Err(failure) => return Outcome { result: Err(failure), spent: Spent::default() },
        };
        let memory = Remembrance { store: &self.store, models: self.models.as_ref(), recorder };
        if machine.needs_plan() {
            machine.set_memories(memory.recall(task, self.memory.recall).await);
        }
        let driver = Driver::new(machine, self.models.clone(), self.tools.clone(), task, profile, recorder);
        match driver.run().await {
            Driven::Unrecorded(outcome) => outcome,
            Driven::Ended(outcome, machine) => {
                if is_final(task, &outcome) {
                    memory.remember(task, &profile.name, &outcome, &machine).await;
                }
                outcome
            }
        }
    }

    /// The machine of a run: continued from `checkpoint` when that can be read, else a new one.
    fn open(
        &self,
        task: &Task,
        profile: &AgentProfile,
        checkpoint: Option<&Value>,
        recorder: &dyn Recorder,
    ) -> Result<Machine, Failure> {
        let setup = Setup {
            goal: task.goal.clone(),
            context: task.context.clone(),
            plan: task.plan.clone(),
            role: profile.role.clone(),
            instructions: profile.instructions.clone(),
            tools: self.tools.specs(profile),
            budget: profile.budget.clone(),
            model: profile.model.clone(),
            has_model: self.models.is_some(),
            // Whatever the model's settings say.
            max_output_tokens: 0,
            memories: Vec::new(),
            last_attempt: is_last_attempt(task),
        };
        let Some(state) = checkpoint else { return Machine::new(setup) };
        Machine::resume(setup.clone(), state).or_else(|unreadable| {
            let message = format!("starts over: {unreadable}");
            recorder.note(Event::new("checkpoint_discarded", message, clock::now()).level(Level::Warn));
            Machine::new(setup)
        })
    }
}

const fn is_last_attempt(task: &Task) -> bool {
    task.attempt.saturating_add(1) >= task.max_attempts
}

/// Whether nothing follows this run by itself: then it is worth remembering.
fn is_final(task: &Task, outcome: &Outcome) -> bool {
    match &outcome.result {
        Ok(_) => true,
        Err(failure) if failure.class == FailureClass::Cancelled => false,
        Err(failure) => !failure.class.is_retryable() || is_last_attempt(task),
    }
}
