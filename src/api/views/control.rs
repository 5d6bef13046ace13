//! Pauses in answers of the API.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Listing;
use crate::domain::pause::{Pause, PauseOutcome};

/// Outcome of a request to pause.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Paused {
    /// Whether the pause is new.
    pub outcome: PauseOutcome,
    /// All pauses in effect.
    #[serde(flatten)]
    pub pauses: Listing<PauseView>,
}

/// Outcome of a request to resume.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Resumed {
    /// Whether there was a pause to end.
    pub was_paused: bool,
    /// The pauses still in effect.
    #[serde(flatten)]
    pub pauses: Listing<PauseView>,
}

/// A pause of an agent or of the fleet.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Pause)]
pub struct PauseView {
    /// The agent; the whole fleet when absent.
    pub agent: Option<String>,
    /// Name that the person gave who set the pause, or its note last.
    pub by: Option<String>,
    /// Note of that person.
    pub note: Option<String>,
    /// Since when the pause is in effect.
    pub since: String,
}

impl From<Pause> for PauseView {
    fn from(pause: Pause) -> Self {
        Self { agent: pause.agent, by: pause.by, note: pause.note, since: pause.since.to_rfc3339() }
    }
}
