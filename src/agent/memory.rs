//! Memory: recalls earlier runs before a plan is made, and stores each run that ended.
//!
//! Memory is optional: its failures are recorded and counted, and the run continues.

use std::time::Duration;

use super::Recorder;
use crate::clock;
use crate::domain::event::{Event, EventKind, Level};
use crate::domain::memory::{
    Candidate, MAX_EXPERIENCE_BYTES, MIN_MEANING, MIN_WORDS, Memory, chosen, experience, goal_hash, shared_words,
};
use crate::domain::task::Task;
use crate::llm::Models;
use crate::store::{MemoryOf, Store, StoreError};
use crate::telemetry::metrics;

/// Longest time that a run waits for its memories, and for each half of writing one: the embedding and the store.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest goal that is kept and searched by, in bytes.
pub(super) const GOAL_BYTES: usize = 4_000;
/// Memories of the same schedule that are read: enough to see when its plan was last made anew.
const OF_SCHEDULE: u32 = 64;
/// Memories of the same goal that are read.
const OF_GOAL: u32 = 20;
/// Memories that are alike which are read, before those that are not alike enough are left out.
const ALIKE: u32 = 12;

/// Access of one run to the memory.
pub(super) struct MemoryAccess<'a> {
    pub(super) store: &'a Store,
    pub(super) models: Option<&'a Models>,
    pub(super) recorder: &'a dyn Recorder,
}

impl MemoryAccess<'_> {
    /// The memories of the schedule of `task`, newest first; none for a task without one, or when they cannot be read.
    pub(super) async fn of_schedule(&self, task: &Task) -> Vec<Memory> {
        let Some(schedule) = &task.spec.schedule_id else { return Vec::new() };
        let of = MemoryOf::Schedule(schedule);
        let search = self.store.memories_of(of, task.spec.user.as_deref(), OF_SCHEDULE);
        let found = match tokio::time::timeout(TIMEOUT, search).await {
            Ok(found) => found.map_err(|error| error.to_string()),
            Err(_) => Err("the store took too long".to_owned()),
        };
        let mut found = found.unwrap_or_else(|reason| {
            self.recall_failed(&reason);
            Vec::new()
        });
        // The task's own earlier attempts are left out: its checkpoint knows more.
        found.retain(|memory| memory.task_id != task.id);
        found
    }

    /// What at most `limit` earlier runs like `task` tell, in the words of the program; `of_schedule` are those of its schedule.
    pub(super) async fn experience(&self, task: &Task, of_schedule: Vec<Memory>, limit: u32) -> String {
        if limit == 0 {
            return String::new();
        }
        let found = match tokio::time::timeout(TIMEOUT * 2, self.candidates(task, of_schedule)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                self.recall_failed(&error.to_string());
                return String::new();
            }
            Err(_) => {
                self.recall_failed("the store took too long");
                return String::new();
            }
        };
        let mut shown = chosen(&found);
        shown.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let text = experience(&shown, room_after(&found));
        metrics::MEMORY_RECALLS.inc([if text.is_empty() { "none" } else { "found" }]);
        text
    }

    /// Earlier runs like `task`: by identity, and by likeness when identity finds no success.
    async fn candidates(&self, task: &Task, of_schedule: Vec<Memory>) -> Result<Vec<Candidate>, StoreError> {
        let user = task.spec.user.as_deref();
        let mut found: Vec<Candidate> =
            of_schedule.into_iter().map(|memory| Candidate { memory, tier: 0, score: 1.0 }).collect();
        let hash = goal_hash(&task.spec.goal);
        let same = self.store.memories_of(MemoryOf::Goal(&hash), user, OF_GOAL).await?;
        join(&mut found, task, same.into_iter().map(|memory| Candidate { memory, tier: 1, score: 1.0 }));
        if found.iter().any(|found| found.memory.succeeded) {
            return Ok(found);
        }
        let goal = clipped(&task.spec.goal, GOAL_BYTES);
        let embedding = self.embedding(goal).await;
        let alike = self.store.memories_like(goal, embedding, MIN_MEANING, user, ALIKE).await?;
        let alike = alike.into_iter().filter_map(|(memory, meaning)| {
            let words = shared_words(goal, &memory.goal);
            let score = meaning.map_or(words, |meaning| f64::from(meaning).max(words));
            (meaning.is_some() || words >= MIN_WORDS).then_some(Candidate { memory, tier: 2, score })
        });
        join(&mut found, task, alike);
        Ok(found)
    }

    fn recall_failed(&self, reason: &str) {
        metrics::MEMORY_RECALLS.inc(["error"]);
        self.warn(EventKind::RecallFailed, format!("the plan is made without memories: {reason}"));
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

/// Appends those of `more` that are not found yet, and no earlier run of `task` itself.
fn join(found: &mut Vec<Candidate>, task: &Task, more: impl Iterator<Item = Candidate>) {
    for candidate in more.filter(|candidate| candidate.memory.task_id != task.id) {
        if found.iter().all(|known| known.memory.id != candidate.memory.id) {
            found.push(candidate);
        }
    }
}

/// Bytes that the block may have: what the newest run of the same schedule or goal that had one was shown, so that no run of a
/// goal has a longer prompt than the one before it.
fn room_after(found: &[Candidate]) -> usize {
    let shown = found.iter().filter(|found| found.tier < 2).filter_map(|found| {
        let bytes = found.memory.facts.as_ref()?.experience_bytes;
        (bytes > 0).then_some((found.memory.at, bytes))
    });
    let last = shown.max_by_key(|(at, _)| *at).and_then(|(_, bytes)| usize::try_from(bytes).ok());
    last.unwrap_or(MAX_EXPERIENCE_BYTES)
}

pub(super) fn clipped(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
