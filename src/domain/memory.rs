//! What is remembered of finished tasks and recalled before the next plan is made.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::id::TaskId;
use super::time::Timestamp;

/// A finished task, as later plans see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Derived from the task: a task is remembered once, as it ended last.
    pub id: Uuid,
    /// The task.
    pub task_id: TaskId,
    /// Agent that ran it.
    pub agent: String,
    /// On whose behalf it ran; recalled only for the same user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What was asked.
    pub goal: String,
    /// Whether it completed.
    pub succeeded: bool,
    /// What came of it, in a few sentences.
    pub summary: String,
    /// The steps it took, one line each, with what failed marked as such.
    pub outline: String,
    /// When it ended.
    pub at: Timestamp,
}

/// A memory with its likeness to what was asked; higher is more alike, comparable within one recall only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecalledMemory {
    /// What is remembered.
    pub memory: Memory,
    /// How much it is alike.
    pub score: f32,
}
