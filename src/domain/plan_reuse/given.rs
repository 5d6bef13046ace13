//! What a run is given, in the form in which runs are compared.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::MAX_GIVEN_BYTES;
use crate::domain::agent::AgentProfile;
use crate::domain::approval::{canonical, hash};
use crate::domain::schedule::firing_context::FIRE_TIME;
use crate::domain::tool::ToolSpec;

/// Most names in the context of a run whose plan is kept for reuse.
const MAX_VARIABLES: usize = 64;

/// The context of a task as texts by name; `None` when it is too large to compare.
#[must_use]
pub fn variables(context: &Map<String, Value>) -> Option<BTreeMap<String, String>> {
    if context.len() > MAX_VARIABLES {
        return None;
    }
    let as_text = |value: &Value| value.as_str().map_or_else(|| canonical(value), str::to_owned);
    let variables: BTreeMap<String, String> =
        context.iter().map(|(name, value)| (name.clone(), as_text(value))).collect();
    let bytes: usize = variables.iter().map(|(name, value)| name.len() + value.len()).sum();
    (bytes <= MAX_GIVEN_BYTES).then_some(variables)
}

/// Hash of names, descriptions and schemas of `tools`, hexadecimal.
#[must_use]
pub fn tool_hash(tools: &[Arc<ToolSpec>]) -> String {
    let mut described: Vec<String> = tools
        .iter()
        .map(|tool| format!("{}\n{}\n{}", tool.name, tool.description, canonical(&tool.parameters)))
        .collect();
    described.sort_unstable();
    hash(&described.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Hash of what plans with a run beside its goal: the agent, its model and its tools.
#[must_use]
pub fn basis(agent: &AgentProfile, model: &str, tools: &[Arc<ToolSpec>]) -> String {
    hash(&["basis", &agent.name, &agent.role, &agent.instructions, model, &tool_hash(tools)])
}

/// Hash of all that an answer may depend on beside the outputs of tools and the clock: goal, context and basis.
#[must_use]
pub fn given_hash(goal: &str, context: &Map<String, Value>, basis: &str) -> String {
    let mut context = context.clone();
    context.remove(FIRE_TIME);
    hash(&["given", goal, &canonical(&Value::Object(context)), basis])
}

/// Hash of a result.
#[must_use]
pub fn result_hash(result: &Value) -> String {
    hash(&["result", &canonical(result)])
}
