//! Memory: finished tasks that a later plan can learn from.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::id::TaskId;
use super::time::Timestamp;

/// A finished task, as later plans see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Derived from the task id, so that a task has one memory: of its last end.
    pub id: Uuid,
    /// The task.
    pub task_id: TaskId,
    /// Agent that ran it.
    pub agent: String,
    /// On whose behalf it ran; recalled only for the same user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Goal of the task.
    pub goal: String,
    /// Whether it completed.
    pub succeeded: bool,
    /// Result or failure, in a few sentences.
    pub summary: String,
    /// The steps it took, one line each, with what failed marked as such.
    pub outline: String,
    /// When it ended.
    pub at: Timestamp,
}

/// A recalled memory with its similarity; higher is more similar. Scores are comparable within one recall only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecalledMemory {
    /// What is remembered.
    pub memory: Memory,
    /// The similarity.
    pub score: f32,
}
