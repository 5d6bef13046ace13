//! Where a delegated step came from: who wrote it, what it depends on, and which hosts people named for it.

use serde::{Deserialize, Serialize};

use super::provenance::Provenance;

/// Tag of a task that carries out a step of its parent.
pub const STEP_TAG: &str = "delegated-step";

/// Origin of a step that became a task. Its parent's model may have written goal and plan of that task, so neither counts as
/// words of people: a person must approve there what a person would have had to approve in the parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepOrigin {
    /// Whether a person wrote the step.
    pub is_given: bool,
    /// What the author of the plan of the step had seen.
    pub planned_from: Provenance,
    /// What the step depends on, the plan and the handed-over values included.
    pub provenance: Provenance,
    /// Addresses of the places that people named to the parent, without path.
    pub named: Vec<String>,
    /// Patterns of hosts that `egress` of the parent names.
    pub egress: Vec<String>,
    /// Whether something that a model composed has left the parent: no answer in this task gives links then.
    #[serde(default = "unknown_as_sent")]
    pub has_sent_composed: bool,
}

/// An older version did not say it.
const fn unknown_as_sent() -> bool {
    true
}

impl StepOrigin {
    /// The origin of a step of which nothing is known: an older version made its task, or the record cannot be read.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            is_given: false,
            planned_from: Provenance::unknown(),
            provenance: Provenance::unknown(),
            named: Vec::new(),
            egress: Vec::new(),
            has_sent_composed: true,
        }
    }
}
