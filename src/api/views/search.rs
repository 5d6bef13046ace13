//! What the API shows of a search.

use serde::{Deserialize, Serialize};

use crate::domain::id::TaskId;
use crate::domain::memory::RecalledMemory;

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

impl From<RecalledMemory> for Found {
    fn from(RecalledMemory { memory, score }: RecalledMemory) -> Self {
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
