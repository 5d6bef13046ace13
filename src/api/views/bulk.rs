//! What the API tells of a change of many tasks.

use serde::{Deserialize, Serialize};

use crate::domain::id::TaskId;
use crate::queue;

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

/// Why something was not done for one task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// The task.
    pub task_id: TaskId,
    /// The reason.
    pub reason: String,
}

impl From<queue::Refusal> for Refusal {
    fn from(refusal: queue::Refusal) -> Self {
        Self { task_id: refusal.task, reason: refusal.error.to_string() }
    }
}
