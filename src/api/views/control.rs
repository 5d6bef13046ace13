//! What the API shows of things on hold.

use serde::{Deserialize, Serialize};

use crate::domain::control::Pause;

/// Something on hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PauseView {
    /// The agent; the whole fleet when absent.
    pub agent: Option<String>,
    /// Who paused it, by their own account.
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
