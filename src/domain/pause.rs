//! A pause of the whole fleet, or of one agent in all replicas.

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// Result of a request to pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseOutcome {
    /// It is paused from now on.
    Paused,
    /// It was paused already; nothing changed.
    AlreadyPaused,
    /// It was paused already; its note is new.
    NoteChanged,
}

/// A pause. While it lasts, the agent, or every agent of the fleet, claims no task; runs that are under way continue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// The agent; the whole fleet when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Name that the person gave who paused it or wrote its note last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Since when.
    pub since: Timestamp,
}

impl Pause {
    /// Whether it holds back `agent`.
    #[must_use]
    pub fn covers(&self, agent: &str) -> bool {
        self.agent.as_deref().is_none_or(|paused| paused == agent)
    }

    /// The paused agent or fleet, for people.
    #[must_use]
    pub fn subject(&self) -> String {
        self.agent.as_ref().map_or_else(|| "the whole fleet".to_owned(), |agent| format!("agent {agent}"))
    }
}
