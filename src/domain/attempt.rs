//! Attempts: one run of a task by one replica, and its record.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::budget::Spent;
use super::conversation::Usage;
use super::failure::Failure;
use super::id::{TaskId, derived};
use super::number;
use super::time::Timestamp;

/// How an attempt ended, or that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptStatus {
    /// The attempt is under way, or its process ended before it could record an end.
    Running,
    /// The task completed.
    Completed,
    /// It failed. The task is retried or goes to the dead letters.
    Failed,
    /// The replica released the task at shutdown.
    Released,
    /// It ended because no model was usable. A later attempt continues from its checkpoint.
    Postponed,
    /// It stopped at a call that a person must approve. A later attempt continues from its checkpoint.
    AwaitingApproval,
    /// It waits for tasks that carry out its steps. A later attempt continues from its checkpoint.
    AwaitingTasks,
    /// The task was cancelled.
    Cancelled,
    /// Its replica had lost the claim, so that its outcome was not recorded on the task. Also stands for a status of
    /// a newer version that this version does not know: what the attempt spent still counts.
    #[serde(other)]
    Lost,
}

/// Progress of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct RunProgress {
    /// Steps that completed.
    #[serde(deserialize_with = "number::count")]
    #[schema(required)]
    pub done: u32,
    /// Steps that failed.
    #[serde(deserialize_with = "number::count")]
    #[schema(required)]
    pub failed: u32,
    /// Steps that are not run, because one that they depend on failed or another plan took their place.
    #[serde(deserialize_with = "number::count")]
    #[schema(required)]
    pub blocked: u32,
    /// Steps known so far; grows when a run is replanned.
    #[serde(deserialize_with = "number::count")]
    #[schema(required)]
    pub total: u32,
    /// Seconds that the open steps will still take, by the estimates of the plan; absent when it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_s: Option<u32>,
    /// What the run does now, in words.
    #[schema(required)]
    pub note: String,
}

impl RunProgress {
    /// Steps that nothing more becomes of.
    #[must_use]
    pub const fn settled(&self) -> u32 {
        self.done.saturating_add(self.failed).saturating_add(self.blocked)
    }

    /// The steps in words: `1 of 3 done, 1 failed, 1 blocked`.
    #[must_use]
    pub fn describe(&self) -> String {
        let part = |count: u32, word: &str| if count == 0 { String::new() } else { format!(", {count} {word}") };
        let Self { done, total, failed, blocked, left_s: _, note: _ } = self;
        format!("{done} of {total} done{}{}", part(*failed, "failed"), part(*blocked, "blocked"))
    }
}

/// Status of a step of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// It has not begun.
    Pending,
    /// It is under way, or was when its run ended.
    Running,
    /// It completed.
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

/// A tool call that a step made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MadeCall {
    /// Id of the call within the run.
    pub id: String,
    /// The tool.
    pub tool: String,
    /// Arguments that the model chose, when they are short; those of a tool step stand in its plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it returned; `None` while it is under way, and when its run was cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A step of a run, as the last checkpoint holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct StepRecord {
    /// Name of the step.
    pub id: String,
    /// Number of plans made before the one that it belongs to.
    pub plan: u32,
    /// Tool that it calls.
    pub tool: Option<String>,
    /// Instruction for the model.
    pub instruction: Option<String>,
    /// Arguments of the tool, with their references.
    pub arguments: Option<Value>,
    /// Steps that had to succeed first, by name or by reference.
    pub depends_on: Vec<String>,
    /// Its status.
    pub status: StepStatus,
    /// The task by which another agent carries it out.
    pub task: Option<TaskId>,
    /// Its output.
    pub output: Option<Value>,
    /// Why it failed, or was not run.
    pub error: Option<String>,
    /// When its last try began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Its tool calls, in their order.
    pub calls: Vec<MadeCall>,
    /// Calls that are left out of `calls`.
    pub more_calls: u32,
    /// Model calls.
    pub model_calls: u32,
    /// Tokens of these.
    pub usage: Usage,
    /// Their cost in US dollars.
    pub cost_usd: f64,
}

/// The record of one attempt. Only the replica that holds its claim writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Derived from task and claim, so that a repeated write replaces the same point.
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
    /// Progress of the run.
    #[serde(default)]
    pub progress: RunProgress,
    /// Hash of the task's work ([`task_hash`](super::task::task_hash)). Another run continues from this attempt
    /// only when its hash is equal. `None` when an older version wrote the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<String>,
    /// Checkpoint: the serialised state of the agent's machine, from which the next attempt continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Value>,
    /// Result of the task; `None` unless the attempt completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What the task has spent, earlier attempts included.
    #[serde(default)]
    pub spent: Spent,
    /// The part of `spent` that earlier attempts had spent when this one began.
    #[serde(default)]
    pub carried: Spent,
    /// Root of the tree that the task belongs to; `None` for a task that no other task created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree_root: Option<TaskId>,
}

impl Attempt {
    /// Id of the attempt that runs the task `task_id` under `claim`.
    #[must_use]
    pub fn id_for(task_id: TaskId, claim: &str) -> Uuid {
        derived(&["attempt", &task_id.to_string(), claim])
    }
}
