//! What the API shows of tasks.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::approvals::ApprovalView;
use super::artifacts::ArtifactView;
use super::steps::StepView;
use super::tree::TreeView;
use crate::clock;
use crate::domain::attempt::{Attempt, AttemptStatus, RunProgress};
use crate::domain::budget::Spent;
use crate::domain::dependency::OnDependencyFailure;
use crate::domain::event::{Event, Level};
use crate::domain::failure::Failure;
use crate::domain::id::TaskId;
use crate::domain::outage::Postponement;
use crate::domain::plan::Plan;
use crate::domain::task::{Task, TaskStatus};
use crate::domain::time::Timestamp;
use crate::domain::unique::UniqueFor;
use crate::scheduler::Runner;
use crate::store::{Found, Page};

/// A task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskView {
    /// Id of the task and of its point.
    pub id: TaskId,
    /// What the agent shall achieve.
    pub goal: String,
    /// Where it stands.
    pub status: TaskStatus,
    /// When it becomes due.
    pub run_at: String,
    /// 0 (can wait) to 10 (urgent).
    pub priority: u8,
    /// Agent it must go to.
    pub agent: Option<String>,
    /// What its agent must be able to do.
    pub capabilities: Vec<String>,
    /// Tasks that must have ended first.
    pub depends_on: Vec<TaskId>,
    /// What it does when one of those ends otherwise than completed.
    #[serde(default)]
    pub on_dependency_failure: OnDependencyFailure,
    /// Task that made it.
    #[serde(default)]
    pub parent: Option<TaskId>,
    /// The tree it belongs to and what that allows it; absent for a task that no task made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<TreeView>,
    /// Key that keeps out others with the same.
    pub unique_key: Option<String>,
    /// How long the key had to be free for it to be inserted.
    #[serde(default)]
    pub unique_for: UniqueFor,
    /// Whose share of the capacity it takes.
    #[serde(default)]
    pub concurrency_key: Option<String>,
    /// Schedule whose firing it is.
    pub schedule_id: Option<String>,
    /// Attempts that ended in failure and were charged.
    pub attempt: u32,
    /// Attempts it may have.
    pub max_attempts: u32,
    /// Time limit of one attempt, in seconds.
    pub timeout_s: u64,
    /// Plan to carry out, if it came with one.
    pub plan: Option<Plan>,
    /// Data for the agent.
    pub context: Map<String, Value>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// On whose behalf it runs.
    pub user: Option<String>,
    /// Replica that runs it.
    pub owner: Option<String>,
    /// When it was inserted.
    pub created_at: String,
    /// When it last changed.
    pub updated_at: String,
    /// When it ended.
    pub finished_at: Option<String>,
    /// What came of it.
    pub result: Option<Value>,
    /// The last failure.
    pub error: Option<Failure>,
    /// Why it waits for its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<WaitView>,
    /// Somebody asked to stop it while it was running.
    pub cancel_requested: bool,
    /// What people were asked about it, and what they decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<ApprovalView>,
    /// Fields of the point that qron does not know; of one that cannot be read, all.
    pub extra: Map<String, Value>,
    /// Why the point cannot be read as a task; absent when it can. The other fields are then what can be read of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

impl From<Task> for TaskView {
    fn from(task: Task) -> Self {
        // What is not shown is how a task got where it is: the runs that ended uncharged.
        let Task {
            id,
            goal,
            status,
            run_at,
            priority,
            agent,
            capabilities,
            depends_on,
            on_dependency_failure,
            parent,
            lineage,
            unique_key,
            unique_for,
            concurrency_key,
            schedule_id,
            attempt,
            max_attempts,
            crashes: _,
            releases: _,
            timeout_s,
            plan,
            context,
            tags,
            user,
            claim,
            created_at,
            updated_at,
            finished_at,
            result,
            error,
            postponed,
            cancel_requested,
            approvals,
            extra,
        } = task;
        Self {
            id,
            goal,
            status,
            run_at: run_at.to_rfc3339(),
            priority,
            agent,
            capabilities,
            depends_on,
            on_dependency_failure,
            parent,
            tree: TreeView::of(lineage),
            unique_key,
            unique_for,
            concurrency_key,
            schedule_id,
            attempt,
            max_attempts,
            timeout_s,
            plan,
            context,
            tags,
            user,
            owner: claim.map(|claim| claim.owner),
            created_at: created_at.to_rfc3339(),
            updated_at: updated_at.to_rfc3339(),
            finished_at: finished_at.map(Timestamp::to_rfc3339),
            result,
            error,
            waits: postponed.as_ref().map(|wait| WaitView::of(wait, Some(run_at))),
            cancel_requested,
            approvals: approvals.iter().map(ApprovalView::from).collect(),
            extra,
            unreadable: None,
        }
    }
}

impl TaskView {
    /// The task as `runner` sees it: also a task that was never tried says that it waits for its model.
    pub(in crate::api) fn of(task: Task, runner: &Runner) -> Self {
        let waits = runner.waits_for_model(&task, clock::now());
        Self { waits: waits.map(|(wait, next)| WaitView::of(&wait, next)), ..Self::from(task) }
    }

    /// The point as `runner` sees it; of one that cannot be read as a task, what can be read of it and the reason.
    pub(in crate::api) fn of_point(found: Found, runner: &Runner) -> Self {
        Self { unreadable: found.unreadable, ..Self::of(found.task, runner) }
    }
}

/// Why a task waits for its model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WaitView {
    /// Name of the model; empty when none is configured.
    pub model: String,
    /// Since when.
    pub since: String,
    /// When it is tried next; absent when no model is configured.
    pub next_try: Option<String>,
    /// How often its run ended for want of the model.
    pub times: u32,
    /// What went wrong first.
    pub cause: String,
    /// The same in a sentence.
    pub text: String,
}

impl WaitView {
    fn of(wait: &Postponement, next: Option<Timestamp>) -> Self {
        Self {
            model: wait.model.clone(),
            since: wait.since.to_rfc3339(),
            next_try: next.map(Timestamp::to_rfc3339),
            times: wait.times,
            cause: wait.cause.message.clone(),
            text: wait.describe(next),
        }
    }
}

/// A task that was submitted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Submitted {
    /// Whether it is new; `false` when its unique key or id was taken.
    pub created: bool,
    /// The task.
    #[serde(flatten)]
    pub task: TaskView,
}

/// How many tasks there are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TaskCounts {
    /// Of all statuses together.
    pub total: u64,
    /// Of each status that at least one task has.
    pub counts: BTreeMap<String, u64>,
}

impl TaskCounts {
    pub(in crate::api) fn of(counts: &HashMap<TaskStatus, u64>) -> Self {
        Self {
            total: counts.values().sum(),
            counts: counts.iter().map(|(status, count)| (status.to_string(), *count)).collect(),
        }
    }

    /// How many there are of these statuses together.
    #[must_use]
    pub fn among(&self, statuses: &[TaskStatus]) -> u64 {
        statuses.iter().filter_map(|status| self.counts.get(status.as_str())).sum()
    }
}

/// The tasks that a task made, and what came of them together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Children {
    /// How many there are.
    pub total: u64,
    /// How many there are of each status.
    pub counts: BTreeMap<String, u64>,
    /// Whether nothing more happens to any of them by itself.
    pub finished: bool,
    /// A page of them, with their results.
    pub items: Vec<TaskView>,
    /// What to send as `after` to get the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Children {
    pub(in crate::api) fn of(page: Page<Task>, counts: &HashMap<TaskStatus, u64>) -> Self {
        Self {
            total: counts.values().sum(),
            counts: counts.iter().map(|(status, count)| (status.to_string(), *count)).collect(),
            finished: counts.keys().all(|status| status.is_terminal()),
            items: page.items.into_iter().map(TaskView::from).collect(),
            next: page.next,
        }
    }
}

/// A task with all that is known of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskDetail {
    /// The task.
    #[serde(flatten)]
    pub task: TaskView,
    /// How far its newest attempt is.
    pub progress: Option<RunProgress>,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptView>,
    /// What happened, oldest first.
    pub history: Vec<EventView>,
    /// Its artifacts, without content.
    pub artifacts: Vec<ArtifactView>,
}

/// An attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttemptView {
    /// 1 for the first.
    pub number: u32,
    /// How it ended.
    pub status: AttemptStatus,
    /// Agent that ran it.
    pub agent: String,
    /// Replica that ran it.
    pub replica: String,
    /// When it began.
    pub started_at: String,
    /// When it was last written.
    pub updated_at: String,
    /// When it ended.
    pub finished_at: Option<String>,
    /// How far it is.
    pub progress: RunProgress,
    /// What came of it.
    pub result: Option<Value>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// What the run has spent, earlier attempts included.
    pub spent: Spent,
    /// Its steps, of the newest attempts: those of earlier attempts included, since a run goes on where the last one ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepView>,
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            status: attempt.status,
            agent: attempt.agent,
            replica: attempt.replica,
            started_at: attempt.started_at.to_rfc3339(),
            updated_at: attempt.updated_at.to_rfc3339(),
            finished_at: attempt.finished_at.map(Timestamp::to_rfc3339),
            progress: attempt.progress,
            result: attempt.result,
            failure: attempt.failure,
            spent: attempt.spent,
            steps: Vec::new(),
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventView {
    /// Id, ordered by time.
    pub id: String,
    /// When.
    pub at: String,
    /// What, as one word.
    pub kind: String,
    /// How much attention it deserves.
    pub level: Level,
    /// What, in a sentence.
    pub message: String,
    /// Agent it is about.
    pub agent: Option<String>,
    /// Replica that recorded it.
    pub replica: Option<String>,
    /// Details.
    pub data: Map<String, Value>,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        Self {
            id: event.id.to_string(),
            at: event.at.to_rfc3339(),
            kind: event.kind,
            level: event.level,
            message: event.message,
            agent: event.agent,
            replica: event.replica,
            data: event.data,
        }
    }
}
