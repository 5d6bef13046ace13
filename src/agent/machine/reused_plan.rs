//! The plan of earlier runs that a run is given, and what its state keeps of it.

use serde::{Deserialize, Serialize};

use crate::domain::id::TaskId;
use crate::domain::plan::Plan;

/// The plan that a run begins with in place of a question for one.
#[derive(Clone, Debug, PartialEq)]
pub struct ReusedPlan {
    /// The plan.
    pub plan: Plan,
    /// Number of earlier runs that made it.
    pub runs: usize,
    /// The answer that holds when the outputs of all tools are what they were.
    pub earlier: Option<EarlierOutputs>,
}

/// Outputs of an earlier run, and where its answer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierOutputs {
    /// Hash of the outputs of its tools.
    pub hash: String,
    /// Its task, which has the answer.
    pub task: TaskId,
}

/// What the state of a run knows of the plan that it began with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Reuse {
    /// Outputs that the tools are expected to give again; `None` once they did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) earlier: Option<EarlierOutputs>,
    /// Whether a new plan took its place.
    #[serde(default)]
    pub(super) replaced: bool,
}
