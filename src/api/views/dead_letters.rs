//! Dead letters in answers of the API.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::bulk::Refusal;
use super::steps::StepView;
use crate::domain::dead_letter::DeadLetter;
use crate::domain::failure::Failure;
use crate::domain::id::TaskId;

/// A dead letter.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = DeadLetter)]
pub struct DeadLetterView {
    /// The task.
    pub task_id: TaskId,
    /// Its goal; empty when none could be read.
    pub goal: String,
    /// Agent that ran it last.
    pub agent: Option<String>,
    /// The last failure of the task.
    pub failure: Failure,
    /// Runs of the task.
    pub attempts: u32,
    /// Failures of the attempts before the last, oldest first.
    pub earlier_failures: Vec<Failure>,
    /// The steps that were done before it ended, when one letter is shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps_done: Vec<StepView>,
    /// Payload of the point of the task at that time.
    pub payload: Map<String, Value>,
    /// When the letter was written.
    pub buried_at: String,
}

impl From<DeadLetter> for DeadLetterView {
    fn from(letter: DeadLetter) -> Self {
        Self {
            task_id: letter.task_id,
            goal: letter.goal,
            agent: letter.agent,
            failure: letter.failure,
            attempts: letter.attempts,
            earlier_failures: letter.earlier_failures,
            steps_done: Vec::new(),
            payload: letter.payload,
            buried_at: letter.buried_at.to_rfc3339(),
        }
    }
}

/// Outcome of a request about many dead letters.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct BulkOutcome {
    /// Letters that were requeued or purged.
    pub done: u64,
    /// Letters that were not, and why.
    pub refused: Vec<Refusal>,
}
