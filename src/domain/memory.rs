//! Memory: finished tasks that a later plan can learn from.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::budget::Spent;
use super::drift::ResultForm;
use super::failure::FailureClass;
use super::id::TaskId;
use super::number;
use super::plan_reuse::PlannedRun;
use super::time::Timestamp;
pub use choice::{Candidate, chosen};
pub use experience::{MAX_EXPERIENCE_BYTES, experience};
pub use likeness::{MIN_MEANING, MIN_WORDS, shared_words};
pub use masked_goal::{goal_hash, masked_goal};

mod choice;
mod experience;
mod likeness;
mod masked_goal;

/// A finished task, as later plans see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Derived from the task id, so that a task has one memory: of its last end.
    pub id: Uuid,
    /// The task.
    pub task_id: TaskId,
    /// Agent that ran it.
    pub agent: String,
    /// On whose behalf it ran; runs recall it only for the same user, or for none when it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Goal of the task.
    pub goal: String,
    /// Whether it completed.
    pub succeeded: bool,
    /// Result or failure, in a few sentences: for people who search, and for models only when the run read nothing untrusted.
    pub summary: String,
    /// The steps it took, one line each, with what failed marked as such: for people who search.
    pub outline: String,
    /// When it ended.
    pub at: Timestamp,
    /// Schedule whose firing it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_id: Option<String>,
    /// [`goal_hash`] of its goal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal_hash: Option<String>,
    /// The form of its result, by which later results are found to be unlike it; `None` for a failure, and when an older version
    /// wrote the memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<ResultForm>,
    /// What the program noted about the run; `None` when an older version wrote the memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<RunFacts>,
}

/// What the program itself noted about a run: no word in it was written by a page, a file or another task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunFacts {
    /// Whether the run read anything that others may have written.
    pub untrusted: bool,
    /// Whether another task made the task, so that its goal may be the words of a model.
    pub made_by_task: bool,
    /// Where its first plan came from.
    pub origin: PlanOrigin,
    /// The steps of its last plan, with those that an earlier plan left behind before them.
    pub steps: Vec<StepFact>,
    /// Hash of the names and schemas of the tools that it was offered.
    pub tool_hash: String,
    /// Hosts that its plan names, each once.
    pub hosts: Vec<String>,
    /// Tool calls that it made.
    #[serde(deserialize_with = "number::count")]
    pub tool_calls: u32,
    /// Results of the schedule in a row, this one included, that are unlike those before them; 0 when it is like them.
    #[serde(deserialize_with = "number::count")]
    pub suspect_in_a_row: u32,
    /// What it spent.
    pub spent: Spent,
    /// Time from its beginning to its end, in milliseconds.
    #[serde(deserialize_with = "number::count")]
    pub wall_ms: u64,
    /// Class of the failure that it ended with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureClass>,
    /// Hash of its result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_hash: Option<String>,
    /// Its plan, when a later run may begin with it: one that a model made before it saw any output, and that led to success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned: Option<PlannedRun>,
    /// Hash of the outputs of its tools, when its answer followed from them alone, so that a later run with equal ones may take
    /// the answer over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs_hash: Option<String>,
    /// Hash of what a later run must have been given to take the answer over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_hash: Option<String>,
    /// Whether its answer was taken over from an earlier run.
    pub unchanged: bool,
    /// Bytes of the block of memories that its prompt had; 0 for none.
    #[serde(deserialize_with = "number::count")]
    pub experience_bytes: u32,
}

/// Where the first plan of a run came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanOrigin {
    /// It came with the task.
    Task,
    /// Earlier runs of the schedule had made it, and it held.
    Reused,
    /// Earlier runs of the schedule had made it, and a new one took its place.
    Replaced,
    /// A model made it, or the run worked in turns; also an origin that a newer version knows.
    #[default]
    #[serde(other)]
    Model,
}

impl PlanOrigin {
    /// The word for it in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Reused => "reused",
            Self::Replaced => "replaced",
            Self::Model => "model",
        }
    }
}

/// A step of a run, in the words of the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFact {
    /// The tool that it called; `None` for an instruction step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Whether it was done.
    pub done: bool,
    /// Class of its failure; `None` when it did not fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureClass>,
}

/// A recalled memory with its similarity; higher is more similar. Scores are comparable within one recall only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecalledMemory {
    /// What is remembered.
    pub memory: Memory,
    /// The similarity.
    pub score: f32,
}
