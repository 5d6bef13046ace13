//! What a person decided about the plan that the runs of a schedule begin with.

use serde::{Deserialize, Serialize};

use super::PlannedRun;
use crate::domain::time::Timestamp;

/// Runs whose plans a pinned plan keeps as evidence.
const MAX_PINNED_RUNS: usize = 4;

/// What people decided about the plan of a schedule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanDecision {
    /// The runs whose plan a person pinned, the newest first; empty for none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pinned: Vec<PlannedRun>,
    /// When a person pinned it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned_at: Option<Timestamp>,
    /// When a person had the plan forgotten: only runs that ended later count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forgotten_at: Option<Timestamp>,
}

impl PlanDecision {
    /// Whether no person decided anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The decision to keep to the plan of `runs`.
    #[must_use]
    pub fn pin(runs: &[PlannedRun], now: Timestamp) -> Self {
        let pinned = runs.iter().take(MAX_PINNED_RUNS).cloned().collect();
        Self { pinned, pinned_at: Some(now), forgotten_at: None }
    }

    /// The decision to forget whatever plan there is.
    #[must_use]
    pub const fn forget(now: Timestamp) -> Self {
        Self { pinned: Vec::new(), pinned_at: None, forgotten_at: Some(now) }
    }
}
