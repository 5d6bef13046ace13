//! Tasks in answers of the API.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Listing;
use super::approvals::ApprovalView;
use super::artifacts::ArtifactView;
use super::steps::StepView;
use super::suspect::SuspectView;
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
use crate::domain::task::{Task, TaskSpec, TaskState, TaskStatus};
use crate::domain::time::Timestamp;
use crate::domain::unique::UniqueFor;
use crate::scheduler::Runner;
use crate::store::{Found, Page};

/// A task.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Task)]
pub struct TaskView {
    /// Id of the task and of its point.
    pub id: TaskId,
    /// What the agent must achieve.
    pub goal: String,
    /// Status of the task.
    pub status: TaskStatus,
    /// When it becomes due.
    pub run_at: String,
    /// 0 (can wait) to 10 (urgent).
    pub priority: u8,
    /// Agent that must run it.
    pub agent: Option<String>,
    /// Capabilities that its agent must have.
    pub capabilities: Vec<String>,
    /// Tasks that must end before it can run.
    pub depends_on: Vec<TaskId>,
    /// What it does when one of those does not complete.
    #[serde(default)]
    pub on_dependency_failure: OnDependencyFailure,
    /// Task that created it.
    #[serde(default)]
    pub parent: Option<TaskId>,
    /// The tree that it belongs to, with its rights; absent for a task that no task created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<TreeView>,
    /// Key that only one task may hold at a time.
    pub unique_key: Option<String>,
    /// How long it holds the key.
    #[serde(default)]
    pub unique_for: UniqueFor,
    /// Key by which tasks share the capacity.
    #[serde(default)]
    pub concurrency_key: Option<String>,
    /// Schedule whose firing created it.
    pub schedule_id: Option<String>,
    /// Failed attempts that count against `max_attempts`.
    pub attempt: u32,
    /// Attempts it may have.
    pub max_attempts: u32,
    /// Time limit of one attempt, in seconds.
    pub timeout_s: u64,
    /// Plan that it was submitted with.
    pub plan: Option<Plan>,
    /// Data for the agent.
    pub context: Map<String, Value>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// User on whose behalf it runs.
    pub user: Option<String>,
    /// Replica that runs it.
    pub owner: Option<String>,
    /// Agent of its latest attempt, in listings of tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran_by: Option<String>,
    /// When it was inserted.
    pub created_at: String,
    /// When it last changed.
    pub updated_at: String,
    /// When it ended.
    pub finished_at: Option<String>,
    /// Its result.
    pub result: Option<Value>,
    /// Whether its answer is that of the run before, taken over because all tools gave what they gave then.
    #[serde(default)]
    pub unchanged: bool,
    /// Why its result is suspect; absent when it is like the earlier results of its schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect: Option<SuspectView>,
    /// Why it ended without success; while it goes on, the failure of its last attempt, unless a person had it tried again.
    pub error: Option<Failure>,
    /// Why it waits for its model; of a run, that its calls fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<WaitView>,
    /// The tasks that carry out steps of it, while it waits for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub awaits: Vec<TaskId>,
    /// Whether a person requested to cancel it while it was running.
    pub cancel_requested: bool,
    /// Questions to people about it, with their decisions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<ApprovalView>,
    /// Fields of the point that qron does not know; all fields of a point that cannot be read as a task.
    pub extra: Map<String, Value>,
    /// Why the point cannot be read as a task, in which case the other fields hold what can be read; absent when it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

impl From<Task> for TaskView {
    fn from(task: Task) -> Self {
        let Task { id, spec, state } = task;
        let TaskSpec {
            goal,
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
            max_attempts,
            timeout_s,
            plan,
            context,
            tags,
            user,
            // `approvals` shows the request.
            approval: _,
        } = spec;
        let TaskState {
            status,
            attempt,
            claim,
            created_at,
            updated_at,
            finished_at,
            result,
            error,
            postponed,
            awaits,
            cancel_requested,
            approvals,
            extra,
            // The attempts show the runs that ended uncharged.
            crashes: _,
            releases: _,
            // Its history says who cancelled it.
            withdrawn: _,
        } = state;
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
            tree: TreeView::new(lineage),
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
            ran_by: None,
            created_at: created_at.to_rfc3339(),
            updated_at: updated_at.to_rfc3339(),
            finished_at: finished_at.map(Timestamp::to_rfc3339),
            unchanged: is_unchanged(result.as_ref()),
            suspect: SuspectView::of(result.as_ref()),
            result,
            error,
            waits: postponed.as_ref().map(|wait| WaitView::new(wait, Some(wait.next_try(run_at)), None)),
            // An older version may have moved the task on and left them.
            awaits: awaits.filter(|_| status == TaskStatus::Waiting).map(|awaited| awaited.tasks).unwrap_or_default(),
            cancel_requested,
            approvals: approvals.iter().map(ApprovalView::from).collect(),
            extra,
            unreadable: None,
        }
    }
}

/// Whether `result` is marked as taken over from an earlier run.
fn is_unchanged(result: Option<&Value>) -> bool {
    result.and_then(|result| result.get("unchanged")).and_then(Value::as_bool).unwrap_or_default()
}

impl TaskView {
    /// The task, which also says that it waits for its model when it has not run yet.
    pub(in crate::api) fn new(task: Task, runner: &Runner) -> Self {
        let waits = runner.waits_for_model(&task, clock::now());
        let patience_s = runner.model_patience_s();
        Self { waits: waits.map(|(wait, next)| WaitView::new(&wait, next, patience_s)), ..Self::from(task) }
    }

    /// A point as a task; of a point that cannot be read as one, what can be read and the reason.
    pub(in crate::api) fn of_point(found: Found, runner: &Runner) -> Self {
        Self { unreadable: found.unreadable, ..Self::new(found.task, runner) }
    }
}

/// Why a task waits for its model.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Wait)]
pub struct WaitView {
    /// Name of the model; empty when none is configured.
    pub model: String,
    /// Since when it waits.
    pub since: String,
    /// When it is tried next; absent when no model is configured, and for a run, which goes on trying.
    pub next_try: Option<String>,
    /// The end of its patience (`model.patience_s`): the first try that fails after it fails the task. Absent where no model is
    /// configured, which is waited for without an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Runs that ended because the model did not answer.
    pub times: u32,
    /// The first failure.
    pub cause: String,
    /// The wait in words that follow the subject "the task".
    pub text: String,
}

impl WaitView {
    fn new(wait: &Postponement, next: Option<Timestamp>, patience_s: Option<u64>) -> Self {
        let patience_s = patience_s.filter(|_| !wait.model.is_empty());
        Self {
            model: wait.model.clone(),
            since: wait.since.to_rfc3339(),
            next_try: next.map(Timestamp::to_rfc3339),
            until: patience_s.map(|patience_s| wait.until(patience_s).to_rfc3339()),
            times: wait.times,
            cause: wait.cause.message.clone(),
            text: wait.describe(next),
        }
    }
}

/// A task that was submitted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = SubmittedTask)]
pub struct Submitted {
    /// Whether it is new; `false` when its unique key or id was taken.
    pub created: bool,
    /// The task.
    #[serde(flatten)]
    pub task: TaskView,
}

/// The submitted task, or a list of them when the request was a list.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, clippy::large_enum_variant, reason = "describes the answer, which is written as what it holds")]
pub(in crate::api) enum SubmittedTasks {
    One(Submitted),
    Many(Listing<Submitted>),
}

/// Counts of tasks.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct TaskCounts {
    /// Tasks of all statuses.
    pub total: u64,
    /// Tasks of each status that at least one task has.
    pub counts: BTreeMap<String, u64>,
}

impl TaskCounts {
    pub(in crate::api) fn new(counts: &HashMap<TaskStatus, u64>) -> Self {
        Self {
            total: counts.values().sum(),
            counts: counts.iter().map(|(status, count)| (status.to_string(), *count)).collect(),
        }
    }

    /// Tasks of these statuses together.
    #[must_use]
    pub fn among(&self, statuses: &[TaskStatus]) -> u64 {
        statuses.iter().filter_map(|status| self.counts.get(status.as_str())).sum()
    }
}

/// The tasks that a task created, with their counts.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = TaskChildren)]
pub struct Children {
    /// Number of children.
    pub total: u64,
    /// Children of each status.
    pub counts: BTreeMap<String, u64>,
    /// Whether all children have ended.
    pub finished: bool,
    /// A page of the children, with their results.
    pub items: Vec<TaskView>,
    /// What to send as `after` to get the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Children {
    pub(in crate::api) fn new(page: Page<Task>, counts: &HashMap<TaskStatus, u64>, runner: &Runner) -> Self {
        Self {
            total: counts.values().sum(),
            counts: counts.iter().map(|(status, count)| (status.to_string(), *count)).collect(),
            finished: counts.keys().all(|status| status.is_terminal()),
            items: page.items.into_iter().map(|task| TaskView::new(task, runner)).collect(),
            next: page.next,
        }
    }
}

/// A task with its attempts, history and artifacts.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TaskDetail {
    /// The task.
    #[serde(flatten)]
    pub task: TaskView,
    /// Progress of its newest attempt.
    pub progress: Option<RunProgress>,
    /// When its run will probably end, by the estimates of its plan; absent when there are none, and once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_end: Option<String>,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptView>,
    /// Its events, oldest first.
    pub history: Vec<EventView>,
    /// Its artifacts, without content.
    pub artifacts: Vec<ArtifactView>,
}

/// An attempt.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Attempt)]
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
    /// Its progress.
    pub progress: RunProgress,
    /// Its result.
    pub result: Option<Value>,
    /// Its failure.
    pub failure: Option<Failure>,
    /// What the run has spent, with its earlier attempts.
    pub spent: Spent,
    /// Its steps, with those of earlier attempts that it continued; only for the newest attempts.
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

/// An event of the history.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    /// Id, ordered by time.
    pub id: String,
    /// When it happened.
    pub at: String,
    /// Kind of the event.
    pub kind: String,
    /// Severity.
    pub level: Level,
    /// The event in words.
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
