//! Tools in answers of the API.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::agent::AgentProfile;
use crate::domain::tool::{Effect, ToolSpec};

/// A tool that plans and models can call.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Tool)]
pub struct ToolView {
    /// Its name.
    pub name: String,
    /// Description of what it does and answers.
    pub description: String,
    /// JSON schema of its arguments: an object.
    pub parameters: Value,
    /// JSON schema of its output.
    #[serde(default)]
    pub output: Value,
    /// The strongest effect that a call can have.
    pub effect: Effect,
    /// Whether qron repeats a call that a crash interrupted.
    pub idempotent: bool,
    /// Agents of this replica that may use it.
    pub agents: Vec<String>,
}

impl ToolView {
    /// The tool of `spec`, with the agents of `agents` that may use it.
    pub(in crate::api) fn new(spec: &ToolSpec, agents: &[AgentProfile]) -> Self {
        let allowed = agents.iter().filter(|agent| agent.allows(&spec.name));
        Self {
            name: spec.name.clone(),
            description: spec.description.clone(),
            parameters: spec.parameters.clone(),
            output: spec.output.clone(),
            effect: spec.effect,
            idempotent: spec.idempotent,
            agents: allowed.map(|agent| agent.name.clone()).collect(),
        }
    }
}
