//! A dead letter: a task that failed for good, with what a person needs to understand why.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::failure::Failure;
use super::id::TaskId;
use super::number;
use super::time::Timestamp;

/// A dead letter; at most one for each task, under the task's own id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The task.
    pub task_id: TaskId,
    /// Its goal; empty when none could be read.
    pub goal: String,
    /// Agent that ran it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The failure that ended the task.
    pub failure: Failure,
    /// How often it was run.
    #[serde(deserialize_with = "number::count")]
    pub attempts: u32,
    /// Failures of the attempts before the last, oldest first.
    #[serde(default)]
    pub earlier_failures: Vec<Failure>,
    /// Payload of the task's point when the dead letter was written.
    pub payload: Map<String, Value>,
    /// When the dead letter was written.
    pub buried_at: Timestamp,
}
