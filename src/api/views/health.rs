//! Readiness in answers of the API, for probes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// That the process lives.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Always `ok`.
    pub status: String,
    /// Version of qron.
    pub version: String,
}

/// Whether this replica takes tasks.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Whether it takes tasks.
    pub ready: bool,
    /// Why it takes none.
    pub reasons: Vec<String>,
    /// Agents that a person has paused; the replica is ready all the same.
    #[serde(default)]
    pub paused: Vec<String>,
    /// Agents that take no task that needs a model, and why; the replica is ready all the same.
    #[serde(default)]
    pub without_model: Vec<WithoutModel>,
    /// Tasks that wait for a model: those that need one and are due while the models of their agents cannot be asked, and those
    /// that were put off while a model failed.
    #[serde(default)]
    pub waiting_for_model: u64,
}

/// An agent that takes no task that needs a model.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WithoutModel {
    /// Name of the agent.
    pub agent: String,
    /// The model; empty when none is configured.
    pub model: String,
    /// Since when it does not answer; absent when none is configured.
    pub since: Option<String>,
    /// The first failure.
    pub cause: String,
}
