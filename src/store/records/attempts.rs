//! The records of attempts. Only the holder of a claim writes its attempt, so whole points are written; once the
//! claim has passed on, its next holder marks what the last one left open.

use std::collections::HashMap;

use qdrant_client::Payload;
use qdrant_client::qdrant::{
    Condition, Direction, Filter, NamedVectors, OrderByBuilder, PointStruct, ScrollPointsBuilder, UpdateMode,
};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::domain::attempt::{Attempt, AttemptStatus};
use crate::domain::id::TaskId;
use crate::domain::time::Timestamp;
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::{Part, document, readable, show_id};
use crate::store::qdrant::values::{to_payload, to_text};
use crate::store::tasks::writer::set_payload;
use crate::store::{Store, StoreError};

/// The machine's state is kept as text, so that it comes back exactly: no number is rounded and no order changed.
const CHECKPOINT: &str = "checkpoint";
/// Whether there is one; what filters match.
pub(in crate::store) const HAS_CHECKPOINT: &str = "has_checkpoint";
/// Whether the task has begun anew since, so that the attempt is only a record.
pub(in crate::store) const RETIRED: &str = "retired";
/// Most attempts of one task that are listed.
const MAX_ATTEMPTS: usize = 1000;
/// Most attempts that are read for the tasks of one listing.
const MAX_LISTED: usize = 10_000;

impl Store {
    /// Writes the record of an attempt, whole. Durable on return.
    ///
    /// # Errors
    /// A failure of the store; calling again is safe.
    pub async fn save_attempt(&self, attempt: &Attempt) -> Result<(), StoreError> {
        let mut payload = crate::store::qdrant::requests::object("save_attempt", attempt)?;
        let checkpoint = payload.remove(CHECKPOINT);
        payload.insert(HAS_CHECKPOINT.to_owned(), json!(checkpoint.is_some()));
        if let Some(checkpoint) = checkpoint {
            payload.insert(CHECKPOINT.to_owned(), Value::String(to_text(&checkpoint)));
        }
        let point = PointStruct::new(attempt.id, NamedVectors::default(), Payload::from(to_payload(payload)));
        self.inner.upsert("save_attempt", Collection::Attempts, vec![point], UpdateMode::Upsert).await
    }

    /// Removes the record of an attempt; does nothing when there is none. Durable on return.
    ///
    /// # Errors
    /// A failure of the store; calling again is safe.
    pub async fn remove_attempt(&self, id: Uuid) -> Result<(), StoreError> {
        self.inner.delete("remove_attempt", Collection::Attempts, vec![id.into()]).await
    }

    /// The attempts of a task, oldest first, without their checkpoints.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn attempts(&self, task: TaskId) -> Result<Vec<Attempt>, StoreError> {
        let points = self
            .inner
            .scroll_all("attempts", Collection::Attempts, of_task(task), Part::Without(&[CHECKPOINT]), MAX_ATTEMPTS)
            .await?;
        let mut attempts: Vec<Attempt> = readable(Collection::Attempts, points);
        attempts.sort_by_key(|attempt| (attempt.number, attempt.started_at));
        Ok(attempts)
    }

    /// The agents of the latest attempts of `tasks`, as far as these have any. Empty when they have more attempts together than
    /// are read for one listing: the latest could be among the others.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn latest_agents(&self, tasks: &[TaskId]) -> Result<HashMap<TaskId, String>, StoreError> {
        if tasks.is_empty() {
            return Ok(HashMap::new());
        }
        let names: Vec<String> = tasks.iter().map(ToString::to_string).collect();
        let filter = Filter::must([Condition::matches("task_id", names)]);
        let fields = Part::Only(&["task_id", "agent", "started_at"]);
        let most = MAX_LISTED + 1;
        let points = self.inner.scroll_all("latest_agents", Collection::Attempts, filter, fields, most).await?;
        Ok(if points.len() > MAX_LISTED { HashMap::new() } else { latest(readable(Collection::Attempts, points)) })
    }

    /// The checkpoints of the newest attempts of a task, at most `limit`, by attempt. One that cannot be read is left out.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn checkpoints(&self, task: TaskId, limit: u32) -> Result<HashMap<Uuid, Value>, StoreError> {
        let request = ScrollPointsBuilder::new(self.inner.name(Collection::Attempts))
            .filter(of_task(task))
            .order_by(OrderByBuilder::new("number").direction(Direction::Desc.into()))
            .limit(limit)
            .with_payload(Part::Only(&[CHECKPOINT]).selector());
        let page = self.inner.scroll("checkpoints", request).await?;
        let read = page.result.into_iter().filter_map(|point| {
            let id = show_id(point.id.as_ref()?).parse().ok()?;
            let state = serde_json::from_str(point.payload.get(CHECKPOINT)?.as_str()?).ok()?;
            Some((id, state))
        });
        Ok(read.collect())
    }

    /// Marks the attempts of a task before `current` as lost that never ended, or whose outcome did not reach the task:
    /// the process that made them died. Only for the holder of the claim of `current`, while the task runs.
    ///
    /// # Errors
    /// A failure of the store; calling again is safe.
    pub async fn lose_attempts_before(&self, current: &Attempt) -> Result<(), StoreError> {
        let mut filter = of_task(current.task_id);
        filter.must.push(Condition::matches("status", vec!["running".to_owned(), "completed".to_owned()]));
        filter.must_not.extend([Condition::has_id([current.id.to_string()]), Condition::matches(RETIRED, true)]);
        let patch = [("status".to_owned(), json!(AttemptStatus::Lost))].into_iter().collect();
        self.inner.update_batch("lose_attempts", Collection::Attempts, vec![set_payload(patch, filter)]).await
    }

    /// The newest attempt of a task that has a checkpoint.
    ///
    /// # Errors
    /// A failure of the store, or [`StoreError::Corrupt`] when the attempt cannot be read.
    pub async fn last_checkpoint(&self, task: TaskId) -> Result<Option<Attempt>, StoreError> {
        let mut filter = of_task(task);
        filter.must.push(Condition::matches(HAS_CHECKPOINT, true));
        let request = ScrollPointsBuilder::new(self.inner.name(Collection::Attempts))
            .filter(filter)
            .order_by(OrderByBuilder::new("number").direction(Direction::Desc.into()))
            .limit(1)
            .with_payload(true);
        let page = self.inner.scroll("last_checkpoint", request).await?;
        let Some(mut point) = page.result.into_iter().next() else { return Ok(None) };
        let text = point.payload.remove(CHECKPOINT).and_then(|value| value.as_str().cloned());
        let checkpoint = text.map(|text| serde_json::from_str::<Value>(&text)).transpose();
        let attempt: Attempt = document(Collection::Attempts, point.id.as_ref(), point.payload)?;
        let checkpoint = checkpoint.map_err(|error| StoreError::Corrupt {
            collection: Collection::Attempts.as_str().to_owned(),
            id: attempt.id.to_string(),
            reason: format!("checkpoint: {error}"),
        })?;
        Ok(Some(Attempt { checkpoint, ..attempt }))
    }
}

/// Who made an attempt.
#[derive(Deserialize)]
struct Ran {
    task_id: TaskId,
    agent: String,
    started_at: Timestamp,
}

fn latest(mut attempts: Vec<Ran>) -> HashMap<TaskId, String> {
    attempts.sort_by_key(|attempt| attempt.started_at);
    attempts.into_iter().map(|attempt| (attempt.task_id, attempt.agent)).collect()
}

fn of_task(task: TaskId) -> Filter {
    Filter::must([Condition::matches("task_id", task.to_string())])
}
