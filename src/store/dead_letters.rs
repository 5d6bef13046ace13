//! Dead letters, one for each task, under the task's own id.

use qdrant_client::Payload;
use qdrant_client::qdrant::{NamedVectors, PointId, PointStruct, ScrollPointsBuilder, UpdateMode};

use super::collections::Collection;
use super::requests::{Part, document, object, offset, page};
use super::values::{point_id, to_payload};
use super::{Page, Store, StoreError};
use crate::domain::dead_letter::DeadLetter;
use crate::domain::id::TaskId;

/// Most letters removed in one request.
const BATCH: usize = 512;

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

    /// Dead letters in the order of their ids, from `after` (the `next` of the page before).
    ///
    /// # Errors
    /// A failure of the store, or [`StoreError::Refused`] when `after` does not come from a page.
    pub async fn dead_letters(&self, limit: u32, after: Option<&str>) -> Result<Page<DeadLetter>, StoreError> {
        let mut request =
            ScrollPointsBuilder::new(self.inner.name(Collection::DeadLetters)).limit(limit).with_payload(true);
        if let Some(offset) = offset("dead_letters", after)? {
            request = request.offset(offset);
        }
        Ok(page(Collection::DeadLetters, self.inner.scroll("dead_letters", request).await?))
    }

    /// How many dead letters there are.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn dead_letter_count(&self) -> Result<u64, StoreError> {
        self.inner.count("dead_letter_count", Collection::DeadLetters, None, true).await
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
