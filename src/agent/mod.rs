//! planAndExecute: from a task to its outcome.
//!
//! [`machine`] decides and does no I/O; the driver does the I/O that the machine requests, and reports back. The
//! caller supplies a [`Recorder`], so that this module knows nothing of claims and attempts.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::clock;
use crate::domain::agent::AgentProfile;
use crate::domain::approval::ApprovalRequest;
use crate::domain::attempt::RunProgress;
use crate::domain::budget::Spent;
use crate::domain::delegation::Awaited;
use crate::domain::event::{Event, EventKind, Level};
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::files::TaskFile;
use crate::domain::handover::PARENT;
use crate::domain::id::TaskId;
use crate::domain::memory::Memory;
use crate::domain::schedule::zone::Zone;
use crate::domain::task::Task;
use crate::domain::time::Timestamp;
use crate::domain::tool::ToolSpec;
use crate::domain::tree::TreeBudget;
use crate::llm::Models;
use crate::store::Store;
use crate::telemetry::metrics;
use crate::tools::Toolbox;

mod dependency_results;
mod drift;
mod driver;
mod earlier_runs;
pub mod machine;
mod memory;
mod model_access;
mod tree;

use driver::{Driver, RunEnd};
use earlier_runs::{Given, memory_of};
pub use machine::steps_of;
use machine::{Machine, ReusedPlan, RunClock, Setup};
use memory::MemoryAccess;
use tree::Tree;

/// Section `[memory]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemorySettings {
    /// Earlier runs that are told about before planning, at most 3; 0 for none.
    pub recall: u32,
}

/// A checkpoint: the state of a run, from which another process can continue it.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The machine, serialised.
    pub state: Value,
    /// Progress of the run.
    pub progress: RunProgress,
    /// What the run has spent.
    pub spent: Spent,
}

/// Records the checkpoints and events of a run.
#[async_trait]
pub trait Recorder: Send + Sync {
    /// Makes a checkpoint durable. Before this returns, the run makes no call that could not be repeated; it ends
    /// when this fails. Checkpoints are written one at a time.
    async fn checkpoint(&self, checkpoint: Checkpoint) -> Result<(), Failure>;
    /// Called at the start, with what earlier runs of the task had spent.
    async fn begin(&self, _spent: &Spent) {}
    /// Records that the run exists before its first model call, which may take long, unless a checkpoint did so. The
    /// run ends when this fails.
    async fn announce(&self) -> Result<(), Failure> {
        Ok(())
    }
    /// Checks that the run still holds its task, right before a call that must not be made twice. The run ends when
    /// this fails.
    async fn confirm(&self) -> Result<(), Failure> {
        Ok(())
    }
    /// Records an event; never fails the run.
    fn note(&self, event: Event);
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The result of the task, or why there is none.
    pub result: Result<Value, Failure>,
    /// What was spent, earlier attempts included.
    pub spent: Spent,
    /// The last state of the run, when it is not recorded yet. The caller records it in one write with the outcome.
    pub checkpoint: Option<Checkpoint>,
    /// The calls that a person must decide on before the run can continue. When there are any, the run has not ended,
    /// and `result` only says that it waits.
    pub approvals_requested: Vec<ApprovalRequest>,
    /// The tasks of which one must have ended before the run can continue. When there are any, the run has not ended, and `result`
    /// only says that it waits.
    pub awaits: Option<Awaited>,
    /// The memory of the run, for [`Agent::remember`] once the outcome is recorded; `None` when the task will be
    /// retried.
    pub memory: Option<Memory>,
}

impl Outcome {
    fn failed(failure: Failure, spent: Spent) -> Self {
        Self {
            result: Err(failure),
            spent,
            checkpoint: None,
            approvals_requested: Vec::new(),
            awaits: None,
            memory: None,
        }
    }
}

/// Runs tasks. Cheap to clone.
#[derive(Clone)]
pub struct Agent {
    models: Option<Models>,
    tools: Toolbox,
    store: Store,
    memory: MemorySettings,
    /// Zone in which the model is told the time.
    zone: Zone,
}

impl Agent {
    /// An agent runtime that tells its models the time in `zone`. Without `models` only tasks that carry a plan of tool
    /// steps can run.
    #[must_use]
    pub const fn new(models: Option<Models>, tools: Toolbox, store: Store, memory: MemorySettings, zone: Zone) -> Self {
        Self { models, tools, store, memory, zone }
    }

    /// Runs `task` as `profile`, from `checkpoint` if there is one (the `state` of an earlier [`Checkpoint`]). Dropping the
    /// future stops the run and its calls.
    pub async fn run(
        &self,
        task: &Task,
        profile: &AgentProfile,
        checkpoint: Option<Value>,
        recorder: &dyn Recorder,
    ) -> Outcome {
        if task.spec.is_milestone() {
            let result = Ok(Value::Object(Map::new()));
            return Outcome {
                result,
                spent: Spent::default(),
                checkpoint: None,
                approvals_requested: Vec::new(),
                awaits: None,
                memory: None,
            };
        }
        let rights = &task.spec.lineage.rights;
        if !rights.allows_agent(&profile.name) {
            let (agent, allowed) = (&profile.name, rights.delegates_to.join(", "));
            let message =
                format!("the parent task may not create tasks for agent {agent:?}; its delegates_to allows: {allowed}");
            return Outcome::failed(Failure::permanent(message), Spent::default());
        }
        let profile = &rights.narrow(profile);
        let dependencies = match dependency_results::results(&self.store, task).await {
            Ok(results) => results,
            Err(error) => {
                let failure = Failure::transient(format!("the results of the dependencies cannot be read: {error}"));
                return Outcome::failed(failure, Spent::default());
            }
        };
        let (now, turns) = (clock::now(), self.takes_turns(profile));
        let tools = match task.spec.plan {
            Some(_) => self.tools.specs(profile),
            None => self.tools.usable_specs(profile),
        };
        let model = self.models.as_ref().and_then(|models| models.first_choice(profile.model.as_deref()));
        let given =
            Given::new(task, profile, model.unwrap_or_default(), &tools, (now, self.zone), checkpoint.is_some());
        let needs_plan = task.spec.plan.is_none() && !turns;
        let of_schedule = if needs_plan { self.memory_access(recorder).of_schedule(task).await } else { Vec::new() };
        let reused = if needs_plan { self.reused_plan(task, &given, &of_schedule).await } else { None };
        let offered = self.offered(task, profile).await;
        let begin = Begin { dependencies, offered, tools, turns, reused, now };
        let mut machine = match self.open(task, profile, begin, checkpoint.as_ref(), recorder) {
            Ok(machine) => machine,
            Err(failure) => return Outcome::failed(failure, Spent::default()),
        };
        recorder.begin(machine.spent()).await;
        let tree = match Tree::of(&self.store, task, self.tools.tree_budget(), machine.spent()).await {
            Ok(tree) => tree,
            Err(error) => return Outcome::failed(tree::unreadable(&error), machine.spent().clone()),
        };
        let _until_it_ends =
            (machine.spent().steps == 0).then(|| self.tools.begin_folder(task.id, task.state.created_at));
        let files = TaskFile::named_in(&task.spec.context);
        if let Err(failure) = self.tools.place_files(task.id, &files).await {
            return Outcome::failed(failure, machine.spent().clone());
        }
        if machine.needs_plan() {
            let experience = self.memory_access(recorder).experience(task, of_schedule, self.memory.recall).await;
            machine.set_experience(experience);
        }
        if let Some(earlier) = machine.wants_earlier_answer() {
            machine.set_earlier_answer(self.earlier_result(task, earlier).await);
        }
        let driver = Driver::new(machine, self.models.clone(), self.tools.clone(), task, profile, recorder, tree);
        match driver.run().await {
            RunEnd::Unrecorded(failure, spent) => Outcome::failed(failure, spent),
            RunEnd::Ended { mut result, machine, checkpoint } => {
                metrics::RUN_PLANS.inc([machine.plan_origin().as_str()]);
                if let Some((models, is_usable)) = self.models.as_ref().zip(machine.planned()) {
                    models.record_plan(profile.model.as_deref(), is_usable);
                }
                let is_experience = match &result {
                    Ok(_) => true,
                    Err(failure) => is_final(task, failure) && !machine.is_failure_of_endpoint(failure),
                };
                let mut memory = is_experience.then(|| memory_of(task, &profile.name, &result, &machine, &given));
                if let (Ok(result), Some(memory)) = (&mut result, &mut memory) {
                    self.mark_suspect(task, result, memory, recorder).await;
                }
                let spent = machine.spent().clone();
                Outcome { result, spent, checkpoint, approvals_requested: Vec::new(), awaits: None, memory }
            }
            RunEnd::AwaitingApproval { calls, machine, checkpoint } => {
                let waits = Failure::transient("the run waits for a person to decide on its calls");
                let spent = machine.spent().clone();
                let request = |call| ApprovalRequest { reason: machine.reason_to_ask(&call), call };
                let approvals_requested = calls.into_iter().map(request).collect();
                Outcome { result: Err(waits), spent, checkpoint, approvals_requested, awaits: None, memory: None }
            }
            RunEnd::AwaitingTasks { awaited, machine, checkpoint } => {
                let waits = Failure::transient("the run waits for the tasks that carry out its steps");
                let outcome = Outcome::failed(waits, machine.spent().clone());
                Outcome { checkpoint, awaits: Some(awaited), ..outcome }
            }
        }
    }

    /// Limits of a task and its descendants together.
    #[must_use]
    pub const fn tree_budget(&self) -> &TreeBudget {
        self.tools.tree_budget()
    }

    /// Tasks that have a folder on this replica.
    ///
    /// # Errors
    /// When the folders cannot be read.
    pub async fn folders(&self) -> Result<Vec<TaskId>, Failure> {
        self.tools.folders().await
    }

    /// Removes the folders of removed tasks from this replica.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub async fn remove_folders(&self, tasks: Vec<TaskId>) -> Result<(), Failure> {
        self.tools.remove_folders(tasks).await
    }

    /// Writes the memory of a run; replaces that of an earlier run of the task. It is separate from [`Agent::run`],
    /// so that no run waits for it and a run whose outcome was not recorded leaves no memory. Failures are recorded
    /// and counted only.
    pub async fn remember(&self, memory: &Memory, recorder: &dyn Recorder) {
        self.memory_access(recorder).remember(memory).await;
    }

    fn takes_turns(&self, profile: &AgentProfile) -> bool {
        self.models.as_ref().is_some_and(|models| models.takes_turns(profile.model.as_deref()))
    }

    const fn memory_access<'a>(&'a self, recorder: &'a dyn Recorder) -> MemoryAccess<'a> {
        MemoryAccess { store: &self.store, models: self.models.as_ref(), recorder }
    }

    /// What a plan of the model may have other agents do; nothing when the run makes no plan.
    async fn offered(&self, task: &Task, profile: &AgentProfile) -> Vec<String> {
        let plans = |models: &Models| !models.takes_turns(profile.model.as_deref());
        let makes_plan = self.models.as_ref().is_some_and(plans) && task.spec.needs_model();
        if !makes_plan {
            return Vec::new();
        }
        self.tools.offered(profile).await.unwrap_or_else(|failure| {
            tracing::warn!(task = %task.id, %failure, "the run plans without other agents, because the store does not tell of them");
            Vec::new()
        })
    }

    /// The machine of a run: continued from `checkpoint` when that can be read, else a new one.
    fn open(
        &self,
        task: &Task,
        profile: &AgentProfile,
        begin: Begin,
        checkpoint: Option<&Value>,
        recorder: &dyn Recorder,
    ) -> Result<Machine, Failure> {
        let Begin { mut dependencies, offered, tools, turns, reused, now } = begin;
        let handover = task.spec.lineage.handover.as_ref();
        if let Some(handover) = handover {
            dependencies.insert(PARENT.to_owned(), Value::Object(handover.values.clone()));
        }
        let setup = Setup {
            goal: handover.map_or_else(|| task.spec.goal.clone(), |handover| handover.goal_for_agent(&task.spec.goal)),
            is_child: task.generation() > 0,
            writes_to_people: self.tools.writes_to_people(),
            step_origin: task.step_origin(),
            context: task.spec.context.clone(),
            dependencies,
            plan: task.spec.plan.clone(),
            role: profile.role.clone(),
            instructions: profile.instructions.clone(),
            capabilities: profile.capabilities.clone(),
            offered,
            reused,
            tools,
            budget: profile.budget.clone(),
            model: profile.model.clone(),
            turns,
            has_model: self.models.is_some(),
            max_output_tokens: self
                .models
                .as_ref()
                .map_or(0, |models| models.max_output_tokens(profile.model.as_deref())),
            data_bytes: self.models.as_ref().and_then(|models| models.data_bytes(profile.model.as_deref())),
            price: self
                .models
                .as_ref()
                .map(|models| models.highest_price(profile.model.as_deref()))
                .unwrap_or_default(),
            experience: String::new(),
            clock: Some(run_clock(task, self.zone, now)),
            last_attempt: is_last_attempt(task),
            egress: profile.egress.clone(),
            needs_approval: profile.needs_approval.clone(),
            approvals: task.state.approvals.clone(),
        };
        let Some(state) = checkpoint else { return Machine::new(setup) };
        Machine::resume(setup.clone(), state).or_else(|unreadable| {
            let message = format!("the run starts over: {unreadable}");
            recorder.note(Event::new(EventKind::CheckpointDiscarded, message, clock::now()).level(Level::Warn));
            Machine::new(setup)
        })
    }
}

/// What a run begins with, beside its task.
struct Begin {
    dependencies: Map<String, Value>,
    /// Capabilities of other agents that a plan may use.
    offered: Vec<String>,
    tools: Vec<Arc<ToolSpec>>,
    turns: bool,
    reused: Option<ReusedPlan>,
    now: Timestamp,
}

/// The time, and when the task was due if it is a firing of a schedule.
fn run_clock(task: &Task, zone: Zone, now: Timestamp) -> RunClock {
    let firing = task.spec.schedule_id.as_ref().map(|schedule| {
        format!(" This task is a run of the schedule {schedule:?}, due {}.", zone.describe(task.spec.run_at))
    });
    RunClock { at: now, text: format!("It is {}.{}", zone.describe(now), firing.unwrap_or_default()) }
}

const fn is_last_attempt(task: &Task) -> bool {
    task.state.attempt.saturating_add(1) >= task.spec.max_attempts
}

/// Whether no retry follows a run that ended with `failure`, so that it is worth remembering.
const fn is_final(task: &Task, failure: &Failure) -> bool {
    match failure.class {
        FailureClass::Cancelled => false,
        class => !class.is_retryable() || is_last_attempt(task),
    }
}
