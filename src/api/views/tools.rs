//! What the API shows of tools.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::agent::AgentProfile;
use crate::domain::tool::{Effect, ToolSpec};

/// A tool that plans and models can call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ToolView {
    /// Its name.
    pub name: String,
    /// What it does, and what it answers.
    pub description: String,
    /// JSON schema of its arguments: an object.
    pub parameters: Value,
    /// The strongest effect that a call can have.
    pub effect: Effect,
    /// Whether a call that may or may not have happened is made again.
    pub idempotent: bool,
    /// Agents of this replica that may use it.
    pub agents: Vec<String>,
}

impl ToolView {
    /// The tool that `spec` describes, with those of `agents` that may use it.
    pub(in crate::api) fn of(spec: &ToolSpec, agents: &[AgentProfile]) -> Self {
        let allowed = agents.iter().filter(|agent| agent.allows(&spec.name));
        Self {
            name: spec.name.clone(),
            description: spec.description.clone(),
            parameters: spec.parameters.clone(),
            effect: spec.effect,
            idempotent: spec.idempotent,
            agents: allowed.map(|agent| agent.name.clone()).collect(),
        }
    }
}
