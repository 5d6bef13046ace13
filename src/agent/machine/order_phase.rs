//! What the state of a run says of steps that other agents carry out.

use serde::{Deserialize, Serialize};

use crate::domain::id::TaskId;
use crate::domain::time::Timestamp;

/// What is known of the orders of a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Orders {
    /// Orders that have ended. It is part of the key of the next one.
    pub(super) ended: u32,
    /// The task of the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) task: Option<TaskId>,
    /// Whether that task has not ended, as far as the run knows.
    pub(super) is_open: bool,
    /// Whether no other agent gets the step.
    pub(super) is_kept: bool,
}

impl Orders {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn end(&mut self) {
        self.ended = self.ended.saturating_add(1);
        self.is_open = false;
    }
}

/// How far the order of a step is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OrderPhase {
    /// It must be placed, or its task be looked at.
    #[default]
    Due,
    /// The driver does that.
    InFlight,
    /// Its task is under way, and is looked at again at this time if it has not ended by then.
    UnderWay(Timestamp),
}
