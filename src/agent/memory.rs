//! Memory: recalls similar runs before a plan is made, and stores each run that ended.
//!
//! Memory is optional: its failures are recorded and counted, and the run continues.

use std::time::Duration;

use serde_json::Value;

use super::Recorder;
use super::machine::Machine;
use crate::clock;
use crate::domain::event::{Event, EventKind, Level};
use crate::domain::failure::Failure;
use crate::domain::id::derived;
use crate::domain::memory::{Memory, RecalledMemory};
use crate::domain::task::Task;
use crate::llm::Models;
use crate::store::Store;
use crate::telemetry::metrics;

/// Longest time that a run waits for its memories, and for each half of writing one: the embedding and the store.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest goal that is kept and searched by, in bytes.
const GOAL_BYTES: usize = 4_000;
/// Longest summary, in bytes.
const SUMMARY_BYTES: usize = 1_000;
/// Longest outline, in bytes.
const OUTLINE_BYTES: usize = 4_000;

/// Access of one run to the memory.
pub(super) struct MemoryAccess<'a> {
    pub(super) store: &'a Store,
    pub(super) models: Option<&'a Models>,
    pub(super) recorder: &'a dyn Recorder,
}

impl MemoryAccess<'_> {
    /// At most `limit` runs similar to `task`, best first; none when the search fails.
    pub(super) async fn recall(&self, task: &Task, limit: u32) -> Vec<RecalledMemory> {
        if limit == 0 {
            return Vec::new();
        }
        let goal = clipped(&task.spec.goal, GOAL_BYTES);
        let embedding = self.embedding(goal).await;
        let search = self.store.recall(goal, embedding, task.spec.user.as_deref(), limit);
        let found = match tokio::time::timeout(TIMEOUT, search).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return self.recall_failed(&error.to_string()),
            Err(_) => return self.recall_failed("the store took too long"),
        };
        // The task's own earlier attempts are left out: its checkpoint knows more.
        let found: Vec<RecalledMemory> =
            found.into_iter().filter(|recalled| recalled.memory.task_id != task.id).collect();
        metrics::MEMORY_RECALLS.inc([if found.is_empty() { "none" } else { "found" }]);
        found
    }

    fn recall_failed(&self, reason: &str) -> Vec<RecalledMemory> {
        metrics::MEMORY_RECALLS.inc(["error"]);
        self.warn(EventKind::RecallFailed, format!("the plan is made without memories: {reason}"));
        Vec::new()
    }

    /// Writes a memory; replaces what an earlier run of the task wrote.
    pub(super) async fn remember(&self, memory: &Memory) {
        let embedding = self.embedding(&memory.goal).await;
        let reason = match tokio::time::timeout(TIMEOUT, self.store.remember(memory, embedding)).await {
            Ok(Ok(())) => {
                metrics::MEMORY_WRITES.inc(["ok"]);
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the store took too long".to_owned(),
        };
        metrics::MEMORY_WRITES.inc(["error"]);
        self.warn(EventKind::RememberFailed, format!("this run will not be remembered: {reason}"));
    }

    /// The embedding of `text`; `None` without an embeddings model that answers.
    async fn embedding(&self, text: &str) -> Option<Vec<f32>> {
        let models = self.models.filter(|models| models.has_embeddings())?;
        let reason = match tokio::time::timeout(TIMEOUT, models.embed(&[text.to_owned()])).await {
            Ok(Ok(vectors)) => return vectors.into_iter().next(),
            Ok(Err(failure)) => failure.to_string(),
            Err(_) => "the model took too long".to_owned(),
        };
        self.warn(
            EventKind::EmbeddingFailed,
            format!("memory is searched by words alone, without an embedding: {reason}"),
        );
        None
    }

    fn warn(&self, kind: EventKind, message: String) {
        tracing::warn!(kind = kind.as_str(), "{message}");
        self.recorder.note(Event::new(kind, message, clock::now()).level(Level::Warn));
    }
}

/// The memory of a run that ended in `result`.
pub(super) fn memory_of(task: &Task, agent: &str, result: &Result<Value, Failure>, machine: &Machine) -> Memory {
    let summary = match result {
        Ok(result) => match result.get("output").unwrap_or(result) {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        },
        Err(failure) => failure.to_string(),
    };
    Memory {
        id: derived(&["memory", &task.id.to_string()]),
        task_id: task.id,
        agent: agent.to_owned(),
        user: task.spec.user.clone(),
        goal: clipped(&task.spec.goal, GOAL_BYTES).to_owned(),
        succeeded: result.is_ok(),
        summary: clipped(&summary, SUMMARY_BYTES).to_owned(),
        outline: clipped(&machine.outline(), OUTLINE_BYTES).to_owned(),
        at: clock::now(),
    }
}

fn clipped(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
