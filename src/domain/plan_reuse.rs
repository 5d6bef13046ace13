//! Whether a run of a schedule may begin with the plan that models made for earlier ones, and take over their answer.
//!
//! Everything here decides by identity and evidence, never by likeness, and any doubt is decided against reuse. Two successes
//! whose plans differ in nothing but values of the clock and the context make a plan; a value counts as one of these only when it
//! varied between the two runs. What did not vary must not vary in the new run either.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::plan::Plan;
pub use answer::{AnswerBasis, follows_from_outputs, outputs_hash};
pub use decision::PlanDecision;
pub use evidence::instance;
pub use given::{basis, given_hash, result_hash, tool_hash, variables};
pub use moment::Moment;

mod answer;
mod decision;
mod evidence;
mod given;
mod literals;
mod moment;

/// Successes with one plan after which a schedule begins with it.
pub const SUCCESSES: usize = 2;
/// Longest plan that is kept for reuse, in bytes of JSON.
pub const MAX_PLAN_BYTES: usize = 32 * 1024;
/// Longest goal, and most bytes of all variables, of a run whose plan is kept for reuse.
pub const MAX_GIVEN_BYTES: usize = 8 * 1024;

/// A plan that a model made, and what it was made for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedRun {
    /// The plan, kept as JSON text, so that it comes back exactly.
    #[serde(with = "as_text")]
    pub plan: Plan,
    /// The goal.
    pub goal: String,
    /// The context of the task as texts, by name.
    pub variables: BTreeMap<String, String>,
    /// When the run began, on the clock that its model was told.
    pub moment: Moment,
    /// Hash of agent, model and tools.
    pub basis: String,
}

impl PlannedRun {
    /// Whether both plans are the same but for what the clock and the context explain.
    #[must_use]
    pub fn are_alike(one: &Self, other: &Self) -> bool {
        one.basis == other.basis && evidence::are_alike(one, other)
    }
}

/// What a new run is given, against which the evidence of earlier ones is held.
#[derive(Clone, Debug, PartialEq)]
pub struct GivenRun {
    /// The goal.
    pub goal: String,
    /// As [`PlannedRun::variables`].
    pub variables: BTreeMap<String, String>,
    /// Now, on the clock that the model is told.
    pub moment: Moment,
    /// As [`PlannedRun::basis`].
    pub basis: String,
}

/// A plan as JSON text.
mod as_text {
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::domain::plan::Plan;

    pub(super) fn serialize<S: Serializer>(plan: &Plan, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&serde_json::to_string(plan).map_err(S::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Plan, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
