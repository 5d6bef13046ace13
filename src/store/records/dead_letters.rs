//! Dead letters, one for each task, under the task's own id.

use qdrant_client::Payload;
use qdrant_client::qdrant::{Condition, Filter, NamedVectors, PointId, PointStruct, UpdateMode, Value as QdrantValue};

use crate::domain::dead_letter::DeadLetter;
use crate::domain::id::TaskId;
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::{Part, document, object};
use crate::store::qdrant::values::{point_id, task_id, to_payload};
use crate::store::{Store, StoreError};

/// Most letters removed in one request.
const BATCH: usize = 512;

/// A dead letter as somebody saw it. A later one of the same task is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenLetter {
    /// The task.
    pub task: TaskId,
    /// When it was buried, in milliseconds; `None` when that cannot be read.
    buried_at: Option<i64>,
}

impl From<&DeadLetter> for SeenLetter {
    fn from(letter: &DeadLetter) -> Self {
        Self { task: letter.task_id, buried_at: Some(letter.buried_at.as_millis()) }
    }
}

impl SeenLetter {
    fn condition(&self) -> Condition {
        let id = Condition::has_id([point_id(self.task)]);
        let time = self.buried_at.map(|at| Condition::matches("buried_at", at));
        Filter::must([id].into_iter().chain(time)).into()
    }
}

impl Store {
    /// Writes a dead letter; replaces an earlier one of the same task. Durable on return.
    ///
    /// # Errors
    /// A failure of the store; calling again is safe.
    pub async fn bury(&self, letter: &DeadLetter) -> Result<(), StoreError> {
        let payload = Payload::from(to_payload(object("bury", letter)?));
        let point = PointStruct::new(point_id(letter.task_id), NamedVectors::default(), payload);
        self.inner.upsert("bury", Collection::DeadLetters, vec![point], UpdateMode::Upsert).await
    }

    /// A dead letter by task.
    ///
    /// # Errors
    /// A failure of the store, or [`StoreError::Corrupt`].
    pub async fn dead_letter(&self, task: TaskId) -> Result<Option<DeadLetter>, StoreError> {
        let ids = vec![point_id(task)];
        let mut points = self.inner.get("dead_letter", Collection::DeadLetters, ids, Part::All).await?;
        points.pop().map(|point| document(Collection::DeadLetters, point.id.as_ref(), point.payload)).transpose()
    }

    /// The tasks of all dead letters.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn dead_letter_ids(&self) -> Result<Vec<TaskId>, StoreError> {
        let all = Filter::default();
        let points =
            self.inner.scroll_all("dead_letter_ids", Collection::DeadLetters, all, Part::Nothing, usize::MAX).await?;
        Ok(points.iter().filter_map(|point| task_id(point.id.as_ref())).collect())
    }

    /// How many dead letters there are.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn dead_letter_count(&self) -> Result<u64, StoreError> {
        self.inner.count("dead_letter_count", Collection::DeadLetters, None, true).await
    }

    /// The dead letters of those of `tasks` that have one, to be removed later unless they are replaced meanwhile.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn seen_letters(&self, tasks: &[TaskId]) -> Result<Vec<SeenLetter>, StoreError> {
        let mut seen = Vec::new();
        for chunk in tasks.chunks(BATCH) {
            let ids = chunk.iter().copied().map(point_id).collect();
            let part = Part::Only(&["buried_at"]);
            for point in self.inner.get("seen_letters", Collection::DeadLetters, ids, part).await? {
                let Some(task) = task_id(point.id.as_ref()) else { continue };
                let buried_at = point.payload.get("buried_at").and_then(QdrantValue::as_integer);
                seen.push(SeenLetter { task, buried_at });
            }
        }
        Ok(seen)
    }

    /// Removes these very dead letters; what was buried in the place of one since then stays.
    ///
    /// # Errors
    /// A failure of the store; calling again removes the rest.
    pub async fn purge_seen_letters(&self, letters: &[SeenLetter]) -> Result<(), StoreError> {
        for chunk in letters.chunks(BATCH) {
            let filter = Filter {
                must: vec![Condition::has_id(chunk.iter().map(|letter| point_id(letter.task)))],
                should: chunk.iter().map(SeenLetter::condition).collect(),
                ..Filter::default()
            };
            self.inner.delete_where("purge_seen_letters", Collection::DeadLetters, filter).await?;
        }
        Ok(())
    }

    /// Removes dead letters; gives back how many there were of these.
    ///
    /// # Errors
    /// A failure of the store; calling again removes the rest.
    pub async fn purge_dead_letters(&self, tasks: &[TaskId]) -> Result<u64, StoreError> {
        let mut removed = 0;
        for chunk in tasks.chunks(BATCH) {
            let ids = chunk.iter().copied().map(point_id).collect();
            let points = self.inner.get("purge_scan", Collection::DeadLetters, ids, Part::Nothing).await?;
            let ids: Vec<PointId> = points.into_iter().filter_map(|point| point.id).collect();
            if ids.is_empty() {
                continue;
            }
            removed += ids.len() as u64;
            self.inner.delete("purge_dead_letters", Collection::DeadLetters, ids).await?;
        }
        Ok(removed)
    }
}
