//! Results of a search in answers of the API.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::id::TaskId;
use crate::domain::memory::RecalledMemory;

/// A finished task that is similar to the searched text.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = FoundTask)]
pub struct Found {
    /// The task.
    pub task_id: TaskId,
    /// Goal of the task.
    pub goal: String,
    /// Whether it completed.
    pub succeeded: bool,
    /// Summary of the outcome.
    pub summary: String,
    /// The steps it took.
    pub outline: String,
    /// Agent that ran it.
    pub agent: String,
    /// When it ended.
    pub at: String,
    /// Similarity; comparable within one answer only.
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
