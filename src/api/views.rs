//! What the API shows: the domain's things with times in RFC 3339. The command line reads the same structs.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::approval::{Approval, Subject, Verdict};
use crate::domain::attempt::{Attempt, AttemptStatus, Progress};
use crate::domain::budget::Spent;
use crate::domain::control::Pause;
use crate::domain::dead_letter::DeadLetter;
use crate::domain::dependency::OnDependencyFailure;
use crate::domain::event::{Event, Level};
use crate::domain::failure::Failure;
use crate::domain::id::TaskId;
use crate::domain::memory::Recalled;
use crate::domain::plan::Plan;
use crate::domain::replica::{AgentPresence, Replica};
use crate::domain::task::{Task, TaskStatus};
use crate::domain::time::Timestamp;
use crate::domain::unique::UniqueFor;
use crate::store::{Artifact, Page};

/// A page of a listing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listing<T> {
    /// The items.
    pub items: Vec<T>,
    /// What to send as `after` to get the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

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
    /// Somebody asked to stop it while it was running.
    pub cancel_requested: bool,
    /// What people were asked about it, and what they decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<ApprovalView>,
    /// Fields of the point that qron does not know.
    pub extra: Map<String, Value>,
}

impl From<Task> for TaskView {
    fn from(task: Task) -> Self {
        Self {
            id: task.id,
            goal: task.goal,
            status: task.status,
            run_at: task.run_at.to_rfc3339(),
            priority: task.priority,
            agent: task.agent,
            capabilities: task.capabilities,
            depends_on: task.depends_on,
            on_dependency_failure: task.on_dependency_failure,
            parent: task.parent,
            unique_key: task.unique_key,
            unique_for: task.unique_for,
            concurrency_key: task.concurrency_key,
            schedule_id: task.schedule_id,
            attempt: task.attempt,
            max_attempts: task.max_attempts,
            timeout_s: task.timeout_s,
            plan: task.plan,
            context: task.context,
            tags: task.tags,
            user: task.user,
            owner: task.claim.map(|claim| claim.owner),
            created_at: task.created_at.to_rfc3339(),
            updated_at: task.updated_at.to_rfc3339(),
            finished_at: task.finished_at.map(Timestamp::to_rfc3339),
            result: task.result,
            error: task.error,
            cancel_requested: task.cancel_requested,
            approvals: task.approvals.iter().map(ApprovalView::from).collect(),
            extra: task.extra,
        }
    }
}

/// A question to a person.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApprovalView {
    /// What an answer is bound to: another call has another hash.
    pub hash: String,
    /// `task`: whether it runs at all; `call`: whether a tool is called.
    pub kind: String,
    /// Step that makes the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Tool that is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Arguments of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
    /// Since when it is asked.
    pub asked_at: String,
    /// When it counts as refused unless somebody decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// What was decided; absent while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Who decided, by their own account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<String>,
}

impl From<&Approval> for ApprovalView {
    fn from(approval: &Approval) -> Self {
        let (kind, step, tool, arguments) = match &approval.subject {
            Subject::Task => ("task", None, None, None),
            Subject::Call { step, tool, arguments, .. } => {
                ("call", Some(step.clone()), Some(tool.clone()), serde_json::from_str(arguments).ok())
            }
        };
        let decision = approval.decision.as_ref();
        Self {
            hash: approval.hash.clone(),
            kind: kind.to_owned(),
            step,
            tool,
            arguments,
            asked_at: approval.asked_at.to_rfc3339(),
            expires_at: approval.expires_at.map(Timestamp::to_rfc3339),
            verdict: decision.map(|decision| decision.verdict),
            by: decision.and_then(|decision| decision.by.clone()),
            note: decision.and_then(|decision| decision.note.clone()),
            decided_at: decision.map(|decision| decision.at.to_rfc3339()),
        }
    }
}

/// A question that waits for an answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenApproval {
    /// The task that asks.
    pub task_id: TaskId,
    /// What it shall achieve.
    pub goal: String,
    /// Agent it must go to.
    pub agent: Option<String>,
    /// On whose behalf it runs.
    pub user: Option<String>,
    /// The question.
    #[serde(flatten)]
    pub approval: ApprovalView,
}

impl OpenApproval {
    /// The open questions of `task`.
    pub(super) fn of(task: &Task) -> Vec<Self> {
        let open = |approval: &Approval| Self {
            task_id: task.id,
            goal: task.goal.clone(),
            agent: task.agent.clone(),
            user: task.user.clone(),
            approval: approval.into(),
        };
        task.approvals.iter().filter(|approval| approval.is_open()).map(open).collect()
    }
}

/// Something on hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PauseView {
    /// The agent; the whole fleet when absent.
    pub agent: Option<String>,
    /// Who paused it, by their own account.
    pub by: Option<String>,
    /// Why.
    pub note: Option<String>,
    /// Since when.
    pub since: String,
}

impl From<Pause> for PauseView {
    fn from(pause: Pause) -> Self {
        Self { agent: pause.agent, by: pause.by, note: pause.note, since: pause.since.to_rfc3339() }
    }
}

/// What became of a change of many tasks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BulkReport {
    /// Whether it only tells what would be done.
    pub dry_run: bool,
    /// Tasks that the filter means and that can be changed so.
    pub matched: u64,
    /// How many were changed, or would be.
    pub done: u64,
    /// Which were not, and why.
    pub refused: Vec<Refusal>,
    /// Send it as `after` to go on; absent when all are done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Tasks inserted later are not meant; send it as `created_before` to go on.
    pub as_of: String,
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
    pub(super) fn of(page: Page<Task>, counts: &HashMap<TaskStatus, u64>) -> Self {
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
    pub progress: Option<Progress>,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptView>,
    /// What happened, oldest first.
    pub history: Vec<EventView>,
    /// Its documents, without content.
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
    pub progress: Progress,
    /// What came of it.
    pub result: Option<Value>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// What the run has spent, earlier attempts included.
    pub spent: Spent,
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

/// A document, without its content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ArtifactView {
    /// Name within the task.
    pub name: String,
    /// Media type.
    pub media_type: String,
    /// Size, in bytes.
    pub size: u64,
    /// SHA-256 of its content, hexadecimal.
    pub sha256: String,
    /// Step that made it.
    pub step: String,
    /// When it was written.
    pub created_at: String,
}

impl From<Artifact> for ArtifactView {
    fn from(artifact: Artifact) -> Self {
        Self {
            name: artifact.name,
            media_type: artifact.media_type,
            size: artifact.size,
            sha256: artifact.sha256,
            step: artifact.step,
            created_at: artifact.created_at.to_rfc3339(),
        }
    }
}

/// A dead letter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadLetterView {
    /// The task.
    pub task_id: TaskId,
    /// Its goal; empty when none could be read.
    pub goal: String,
    /// Agent that ran it last.
    pub agent: Option<String>,
    /// Why it is here.
    pub failure: Failure,
    /// How often it was run.
    pub attempts: u32,
    /// Failures of the attempts before the last, oldest first.
    pub earlier_failures: Vec<Failure>,
    /// Payload of its point as it was when it was buried.
    pub payload: Map<String, Value>,
    /// When it was buried.
    pub buried_at: String,
}

impl From<DeadLetter> for DeadLetterView {
    fn from(letter: DeadLetter) -> Self {
        Self {
            task_id: letter.task_id,
            goal: letter.goal,
            agent: letter.agent,
            failure: letter.failure,
            attempts: letter.attempts,
            earlier_failures: letter.earlier_failures,
            payload: letter.payload,
            buried_at: letter.buried_at.to_rfc3339(),
        }
    }
}

/// What became of a request about many dead letters.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BulkOutcome {
    /// How many it was done for.
    pub done: u64,
    /// For which it was not done, and why.
    pub refused: Vec<Refusal>,
}

/// Why something was not done for one task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// The task.
    pub task_id: TaskId,
    /// The reason.
    pub reason: String,
}

/// How an agent of some replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Its replica takes tasks.
    Ok,
    /// A person has put it on hold: it finishes what it has and takes nothing more.
    Paused,
    /// Its replica is finishing what it has and takes nothing more.
    Draining,
    /// Its replica has not been heard of for longer than the lease.
    Silent,
}

/// An agent of one replica.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentView {
    /// Name of the agent.
    pub name: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// Tasks in flight.
    pub in_flight: usize,
    /// Most tasks in flight.
    pub capacity: usize,
    /// Whether it takes tasks.
    pub health: Health,
    /// Its replica.
    pub replica: String,
    /// Host of the replica.
    pub host: String,
    /// Version of qron there.
    pub version: String,
    /// When the replica started.
    pub started_at: String,
    /// When it was last heard of.
    pub updated_at: String,
    /// Share of one core in use by the replica.
    pub cpu: f64,
    /// Resident memory of the replica, in bytes.
    pub memory_bytes: u64,
}

impl AgentView {
    /// The agents of `replica` as they are at `now`.
    pub(super) fn of(replica: &Replica, lease_ms: u64, now: Timestamp) -> Vec<Self> {
        let health = if now.millis_since(replica.updated_at) > lease_ms {
            Health::Silent
        } else if replica.draining {
            Health::Draining
        } else {
            Health::Ok
        };
        let view = |agent: &AgentPresence| Self {
            name: agent.name.clone(),
            capabilities: agent.capabilities.clone(),
            in_flight: agent.in_flight,
            capacity: agent.capacity,
            health: if agent.paused && health == Health::Ok { Health::Paused } else { health },
            replica: replica.id.clone(),
            host: replica.host.clone(),
            version: replica.version.clone(),
            started_at: replica.started_at.to_rfc3339(),
            updated_at: replica.updated_at.to_rfc3339(),
            cpu: replica.cpu,
            memory_bytes: replica.memory_bytes,
        };
        replica.agents.iter().map(view).collect()
    }
}

/// A finished task that is alike what was searched for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    /// The task.
    pub task_id: TaskId,
    /// What was asked.
    pub goal: String,
    /// Whether it completed.
    pub succeeded: bool,
    /// What came of it.
    pub summary: String,
    /// The steps it took.
    pub outline: String,
    /// Agent that ran it.
    pub agent: String,
    /// When it ended.
    pub at: String,
    /// How much it is alike; comparable within one answer only.
    pub score: f32,
}

impl From<Recalled> for Found {
    fn from(Recalled { memory, score }: Recalled) -> Self {
        Self {
            task_id: memory.task_id,
            goal: memory.goal,
            succeeded: memory.succeeded,
            summary: memory.summary,
            outline: memory.outline,
            agent: memory.agent,
            at: memory.at.to_rfc3339(),
            score,
        }
    }
}

/// Whether this replica takes work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether it does.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// Agents that take nothing because a person has put them on hold; the replica is ready all the same.
    #[serde(default)]
    pub paused: Vec<String>,
}
