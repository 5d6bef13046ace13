//! What a person has put on hold: the whole fleet, or an agent wherever it is.

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// What became of the wish to pause something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseOutcome {
    /// It is paused from now on.
    Paused,
    /// It was paused already, and is as it was.
    AlreadyPaused,
    /// It was paused already, and has a new note.
    NoteChanged,
}

/// A pause. While it lasts, what it names claims no task; what runs goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// The agent; the whole fleet when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Who paused it or gave it its note last, by their own account.
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

    /// What is paused, in words.
    #[must_use]
    pub fn subject(&self) -> String {
        self.agent.as_ref().map_or_else(|| "the whole fleet".to_owned(), |agent| format!("agent {agent}"))
    }
}
