//! Why a result is suspect, in answers of the API.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::drift;

/// That a result is unlike the earlier results of its schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Suspect)]
pub struct SuspectView {
    /// What is unlike, one sentence each.
    pub reasons: Vec<String>,
    /// Results of the schedule in a row that were suspect, this one included.
    pub in_a_row: u32,
}

impl SuspectView {
    /// What the mark of `result` says; `None` without one.
    pub(in crate::api) fn of(result: Option<&Value>) -> Option<Self> {
        Self::deserialize(result?.get(drift::MARK)?).ok()
    }
}
