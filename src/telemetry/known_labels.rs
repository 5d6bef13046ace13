//! Lets every counter with labels exist at zero for the values that its labels can have, so that the first increase shows.
//!
//! Values that are words of the code are known when the recorder starts; names of agents, models and tools when each of
//! them is set up. The status codes of a route are not known before it has answered: `qron_api_requests_total` begins with
//! the first answer.

use super::metrics;
use crate::domain::failure::FailureClass;

/// Values of a label that tells success from failure.
const OUTCOMES: &[&str] = &["ok", "error"];
/// Uses of a chat model.
const PURPOSES: &[&str] = &["plan", "act", "replan", "answer", "embed"];

/// The classes of failure.
fn classes() -> Vec<&'static str> {
    FailureClass::ALL.iter().map(|class| class.as_str()).collect()
}

/// `ok`, and the classes of failure.
fn ok_or_class() -> Vec<&'static str> {
    [&["ok"], classes().as_slice()].concat()
}

/// Begins the counters whose labels take words of the code.
pub(super) fn begin() {
    let (classes, ok_or_class) = (classes(), ok_or_class());
    metrics::TASKS_INSERTED.begin([&["api", "tool", "schedule"]]);
    metrics::TASKS_NOT_CREATED.begin([&["api", "tool", "point"]]);
    metrics::LIMITED.begin([&["key", "agent"]]);
    metrics::DEPENDENTS_MOVED.begin([&["pending", "blocked"]]);
    metrics::TASKS_RETRIED.begin([&classes]);
    metrics::DEAD_LETTERED.begin([&classes]);
    metrics::APPROVALS_DECIDED.begin([&["approved", "denied", "expired"]]);
    metrics::FIRINGS.begin([&["on_time", "caught_up", "queued", "triggered", "backfill"]]);
    metrics::FIRINGS.begin([&["missed", "overlapped", "replaced", "queue_full", "removed", "invalid"]]);
    metrics::DUE_SEARCHES.begin([OUTCOMES]);
    metrics::DEPRECATED_SWEEPS.begin([OUTCOMES]);
    metrics::HEARTBEATS.begin([OUTCOMES]);
    metrics::PRUNED.begin([&["tasks", "attempts", "events", "artifacts", "memories", "dead_letters"]]);
    metrics::AGENT_STEPS.begin([&["tool", "act"], &ok_or_class]);
    metrics::RUN_PLANS.begin([&["task", "model", "reused", "replaced"]]);
    metrics::BUDGET_STOPS.begin([&["steps", "model_calls", "tokens", "cost", "turns", "time", "tree"]]);
    metrics::MEMORY_RECALLS.begin([&["found", "none", "error"]]);
    metrics::MEMORY_WRITES.begin([OUTCOMES]);
    // The agent of a task that a dead replica was running is not always known.
    metrics::TASKS_FAILED.begin([&["unknown"], &classes]);
    // A model may call a tool that does not exist.
    begin_tool("unknown");
}

/// Begins the counters of an agent of this replica.
pub fn begin_agent(agent: &str) {
    metrics::TASKS_COMPLETED.begin([&[agent]]);
    metrics::RESULTS_SUSPECT.begin([&[agent]]);
    metrics::TASKS_FAILED.begin([&[agent], &classes()]);
    for outcome in ["completed", "failed"] {
        metrics::RUN_SECONDS.begin([agent, outcome]);
    }
}

/// Begins the counters of a model.
pub fn begin_model(model: &str) {
    metrics::MODEL_CALLS.begin([&[model], PURPOSES, &ok_or_class()]);
    metrics::MODEL_TOKENS.begin([&[model], &["prompt", "completion"]]);
    metrics::MODEL_RETRIES.begin([&[model], &classes()]);
}

/// Begins the counters of a tool.
pub fn begin_tool(tool: &str) {
    metrics::TOOL_CALLS.begin([&[tool], &ok_or_class()]);
}
