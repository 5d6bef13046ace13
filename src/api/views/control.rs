//! What the API shows of pauses.

use serde::{Deserialize, Serialize};

use super::Listing;
use crate::domain::pause::{Pause, PauseOutcome};

/// What became of a request to pause something.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Paused {
    /// Whether it was paused before.
    pub outcome: PauseOutcome,
    /// Everything that is paused now.
    #[serde(flatten)]
    pub pauses: Listing<PauseView>,
}

/// What became of a request to end a pause.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resumed {
    /// Whether there was a pause to end.
    pub was_paused: bool,
    /// Everything that is still paused.
    #[serde(flatten)]
    pub pauses: Listing<PauseView>,
}

/// Something that is paused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PauseView {
    /// The agent; the whole fleet when absent.
    pub agent: Option<String>,
    /// Who paused it or gave it its note last, by their own account.
    pub by: Option<String>,
    /// Why.
    pub note: Option<String>,
    /// Since when.
    pub since: String,
}

impl From<Pause> for PauseView {
    fn from(pause: Pause) -> Self {
        Self { agent: pause.agent, by: pause.by, note: pause.note, since: pause.since.to_rfc3339() }
    }
}
