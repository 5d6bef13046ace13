//! Inserting tasks: durable, in batches, and at most once for each id and unique key.

use std::collections::HashSet;

use qdrant_client::Payload;
use qdrant_client::qdrant::{NamedVectors, PointStruct, UpdateMode};
use serde_json::Value;
use uuid::Uuid;

use super::codec;
use super::fields::INSERTED_BY;
use super::unique::inserted;
use crate::clock;
use crate::domain::id::TaskId;
use crate::domain::task::Task;
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::Part;
use crate::store::qdrant::values::{point_id, task_id, to_payload, weight};
use crate::store::{Inserted, Store, StoreError};

/// Most tasks in one request.
const BATCH: usize = 512;
/// Most bytes of tasks in one request, unless a single one is larger.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Where the ids of new tasks come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ids {
    /// Made for this one insert: nobody else can have used them.
    Fresh,
    /// From elsewhere: another insert may have used them, or this one before.
    Chosen,
}

impl Store {
    /// Inserts tasks, already admitted. One whose `unique_key` is held by another (see
    /// [`unique_for`](crate::domain::task::TaskSpec::unique_for)), or whose id is taken, is not; the answer names the one that is there. Where a key leads to another id, tasks of the same call
    /// that depend on it wait for that one. Durable on return; the answers are in the order of `tasks`.
    ///
    /// # Errors
    /// A failure of the store, after which some may have been inserted: calling again with the same ids or keys is
    /// safe, and answers "not created" for those. [`StoreError::Refused`] for data nested too deeply, before anything
    /// is written.
    pub async fn insert(&self, tasks: &[Task]) -> Result<Vec<Inserted>, StoreError> {
        self.insert_as(tasks, Ids::Chosen).await
    }

    /// Like [`Store::insert`], for tasks whose ids were made for this one call ([`TaskId::fresh`]): none can be taken, so
    /// that only what a unique key decides is read back. Never call it again with the same tasks.
    ///
    /// # Errors
    /// As [`Store::insert`].
    pub async fn insert_fresh(&self, tasks: &[Task]) -> Result<Vec<Inserted>, StoreError> {
        self.insert_as(tasks, Ids::Fresh).await
    }

    async fn insert_as(&self, tasks: &[Task], ids: Ids) -> Result<Vec<Inserted>, StoreError> {
        let nonce = Uuid::new_v4().simple().to_string();
        // Before a key is taken for a task that cannot be written.
        let mut payloads = Vec::with_capacity(tasks.len());
        for task in tasks {
            let contested = ids == Ids::Chosen || task.spec.unique_key.is_some();
            payloads.push(codec::encode_new(task, contested.then_some(nonce.as_str()))?);
        }
        let places = self.places(tasks, clock::now()).await?;
        let mut seen = HashSet::new();
        let mut new = Vec::new();
        for ((task, mut payload), (id, write)) in tasks.iter().zip(payloads).zip(&places.ids) {
            if !*write || !seen.insert(*id) {
                continue;
            }
            if !places.renamed.is_empty() && task.spec.depends_on.iter().any(|id| places.renamed.contains_key(id)) {
                let led = |id: &TaskId| places.renamed.get(id).unwrap_or(id).to_string();
                payload.insert("depends_on".to_owned(), task.spec.depends_on.iter().map(led).collect());
            }
            new.push((*id, Value::Object(payload)));
        }
        let mut created = HashSet::new();
        for batch in batches(new) {
            created.extend(self.insert_batch(batch, &nonce).await?);
        }
        Ok(inserted(&places, &created))
    }

    /// Writes a batch and gives back which of it are new: of those written with a nonce the ones that carry it now, and
    /// all others.
    async fn insert_batch(&self, batch: Vec<(TaskId, Value)>, nonce: &str) -> Result<Vec<TaskId>, StoreError> {
        let (mut contested, mut created) = (Vec::new(), Vec::new());
        for (id, payload) in &batch {
            if payload.get(INSERTED_BY).is_some() { contested.push(*id) } else { created.push(*id) }
        }
        let points = batch.into_iter().filter_map(|(id, payload)| {
            let Value::Object(payload) = payload else { return None };
            Some(PointStruct::new(point_id(id), NamedVectors::default(), Payload::from(to_payload(payload))))
        });
        self.inner.upsert("insert", Collection::Tasks, points.collect(), UpdateMode::InsertOnly).await?;
        if contested.is_empty() {
            return Ok(created);
        }
        let ids = contested.into_iter().map(point_id).collect();
        let points = self.inner.get("insert_outcome", Collection::Tasks, ids, Part::Only(&[INSERTED_BY])).await?;
        let mine = points.iter().filter(|point| {
            point.payload.get(INSERTED_BY).and_then(|value| value.as_str()).is_some_and(|mark| mark == nonce)
        });
        created.extend(mine.filter_map(|point| task_id(point.id.as_ref())));
        Ok(created)
    }
}

fn batches(points: Vec<(TaskId, Value)>) -> Vec<Vec<(TaskId, Value)>> {
    let mut batches: Vec<Vec<(TaskId, Value)>> = Vec::new();
    let mut bytes = 0;
    for (id, payload) in points {
        let size = weight(&payload);
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH && bytes + size <= BATCH_BYTES => {
                batch.push((id, payload));
                bytes += size;
            }
            _ => {
                batches.push(vec![(id, payload)]);
                bytes = size;
            }
        }
    }
    batches
}
