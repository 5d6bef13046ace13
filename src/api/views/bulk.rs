//! Reports of bulk changes in answers of the API.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::id::TaskId;
use crate::queue;

/// Outcome of a change of many tasks.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct BulkReport {
    /// Whether nothing was changed, and the report says what would be.
    pub dry_run: bool,
    /// Tasks that match the filter and whose status allows the change.
    pub matched: u64,
    /// Tasks that were changed, or would be.
    pub done: u64,
    /// Tasks that were not changed, and why.
    pub refused: Vec<Refusal>,
    /// Value of `after` for the next request; absent when all tasks are changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Tasks inserted later are left out; send it as `created_before` with the next request.
    pub as_of: String,
}

/// Why one task was not changed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
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
