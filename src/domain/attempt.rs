//! One run of a task by one replica, and what is kept of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::budget::Spent;
use super::failure::Failure;
use super::id::{TaskId, derived};
use super::number;
use super::time::Timestamp;

/// How an attempt ended, or that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptStatus {
    /// Under way, or cut off with its process.
    Running,
    /// The task completed.
    Completed,
    /// It failed; the task is tried again or in the dead letters.
    Failed,
    /// Handed back unfinished at shutdown.
    Released,
    /// Ended because the model is away; a later attempt goes on from there.
    Postponed,
    /// Stopped where a person must decide; a later attempt goes on from there.
    AwaitingApproval,
    /// Stopped on request.
    Cancelled,
    /// Its replica had lost the claim; its outcome was not recorded on the task. Also what a newer version says that this
    /// one does not know: what was done until then still counts.
    #[serde(other)]
    Lost,
}

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunProgress {
    /// Steps that ended.
    #[serde(deserialize_with = "number::count")]
    pub done: u32,
    /// Steps known so far; grows when a run is replanned.
    #[serde(deserialize_with = "number::count")]
    pub total: u32,
    /// What is being done, in words.
    pub note: String,
}

/// Where a step of a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// It has not begun.
    Pending,
    /// It is under way, or was when the run ended.
    Running,
    /// It ended well.
    Done,
    /// It failed.
    Failed,
    /// A step that it depends on failed.
    Blocked,
}

impl StepStatus {
    /// The status as it is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Blocked => "blocked",
        }
    }
}

/// A step of a run, as its last checkpoint tells.
#[derive(Clone, Debug, PartialEq)]
pub struct StepRecord {
    /// Name of the step.
    pub id: String,
    /// Number of plans made before the one that it belongs to.
    pub plan: u32,
    /// Tool that it calls.
    pub tool: Option<String>,
    /// What the model is to do in it.
    pub instruction: Option<String>,
    /// Where it stands.
    pub status: StepStatus,
    /// What it put out.
    pub output: Option<Value>,
    /// Why it failed, or was not run.
    pub error: Option<String>,
}

/// The record of one attempt. Only the replica that holds its claim writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Derived from task and claim, so that writing it again changes nothing.
    pub id: Uuid,
    /// The task.
    pub task_id: TaskId,
    /// 1 for the first run of the task, counting uncharged ones.
    #[serde(deserialize_with = "number::count")]
    pub number: u32,
    /// Token of its claim.
    pub claim: String,
    /// Replica that ran it.
    pub replica: String,
    /// Agent that ran it.
    pub agent: String,
    /// How it ended.
    pub status: AttemptStatus,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// How far it is.
    #[serde(default)]
    pub progress: RunProgress,
    /// Hash of what the task asked for ([`task_hash`](super::approval::task_hash)): another run goes on from this one only
    /// when it asks for the same. `None` when an older version wrote the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<String>,
    /// State of the agent's machine after its last recorded step; the next attempt continues from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Value>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What the run has spent, earlier attempts included.
    #[serde(default)]
    pub spent: Spent,
    /// The part of `spent` that earlier attempts had spent when this one began.
    #[serde(default)]
    pub carried: Spent,
    /// The first task of the tree that the task belongs to; `None` when no task made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree_root: Option<TaskId>,
}

impl Attempt {
    /// Id of the attempt that `claim` gives of task `task_id`.
    #[must_use]
    pub fn id_for(task_id: TaskId, claim: &str) -> Uuid {
        derived(&["attempt", &task_id.to_string(), claim])
    }
}
