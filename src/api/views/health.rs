//! What the API tells probes.

use serde::{Deserialize, Serialize};

/// Whether this replica takes work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether it does.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// Agents that take nothing because a person has put them on hold; the replica is ready all the same.
    #[serde(default)]
    pub paused: Vec<String>,
    /// Agents that take no task that needs a model, and why; the replica is ready all the same.
    #[serde(default)]
    pub without_model: Vec<WithoutModel>,
    /// Due tasks that need a model and name an agent whose model cannot be asked; all that need one while no agent of the
    /// replica has a model that can be asked.
    #[serde(default)]
    pub waiting_for_model: u64,
}

/// An agent that takes no task that needs a model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WithoutModel {
    /// Name of the agent.
    pub agent: String,
    /// The model; empty when none is configured.
    pub model: String,
    /// Since when; absent when none is configured.
    pub since: Option<String>,
    /// What went wrong first.
    pub cause: String,
}
