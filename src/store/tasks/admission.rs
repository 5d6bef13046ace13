//! Points that other clients wrote: finding them cheaply, and taking them in or turning them away.

use std::sync::PoisonError;
use std::time::Duration;

use qdrant_client::qdrant::{Condition, Filter, RetrievedPoint, ScrollPointsBuilder};
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::codec;
use super::fields::{ADMITTED, FIELDS, INSERTED_BY, SETTLED_BY};
use super::writer::{Change, Fence, Proof};
use crate::domain::failure::Failure;
use crate::domain::schedule::zone::Zone;
use crate::domain::task::{Task, TaskStatus};
use crate::domain::time::Timestamp;
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::{Part, offset, show_id};
use crate::store::qdrant::values::{from_payload, task_id};
use crate::store::{Page, RawTask, Store, StoreError};

/// The counts that tell whether there is anything to admit are approximate. So that nothing is overlooked for longer
/// than this, points are looked for regardless of them.
const SCAN_EVERY: Duration = Duration::from_mins(5);

impl Store {
    /// Points not admitted yet, in the order of their ids, from `after` (the `next` of the page before). The first page
    /// costs two counts when there are none.
    ///
    /// # Errors
    /// A failure of the store, or [`StoreError::Refused`] when `after` does not come from a page.
    pub async fn unadmitted(&self, limit: u32, after: Option<&str>) -> Result<Page<RawTask>, StoreError> {
        if after.is_none() && !self.scan_is_due() && !self.counts_differ().await? {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let after = offset("unadmitted", after)?;
        let request = |part: Part| {
            let request = ScrollPointsBuilder::new(self.inner.name(Collection::Tasks))
                .filter(Filter::must_not([Condition::matches(ADMITTED, true)]))
                .limit(limit)
                .with_payload(part.selector());
            match &after {
                Some(after) => request.offset(after.clone()),
                None => request,
            }
        };
        let (items, next): (Vec<RawTask>, _) = match self.inner.scroll("unadmitted", request(Part::All)).await {
            Ok(page) => (page.result.into_iter().filter_map(raw_task).collect(), page.next_page_offset),
            // A payload nested deeper than the protocol can tell would hide all others of its page.
            Err(error) if error.is_undecodable() => {
                let page = self.inner.scroll("unadmitted", request(Part::Nothing)).await?;
                (self.one_by_one(page.result).await?, page.next_page_offset)
            }
            Err(error) => return Err(error),
        };
        if items.is_empty() && after.is_none() {
            let mut last = self.local.admission_scan.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some(Instant::now());
        }
        Ok(Page { items, next: next.as_ref().map(show_id) })
    }

    fn scan_is_due(&self) -> bool {
        let last = self.local.admission_scan.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_none_or(|last| last.elapsed() >= SCAN_EVERY)
    }

    async fn counts_differ(&self) -> Result<bool, StoreError> {
        let admitted = Filter::must([Condition::matches(ADMITTED, true)]);
        let (all, admitted) = tokio::try_join!(
            self.inner.count("unadmitted_count", Collection::Tasks, None, false),
            self.inner.count("unadmitted_count", Collection::Tasks, Some(admitted), false),
        )?;
        Ok(all != admitted)
    }

    async fn one_by_one(&self, points: Vec<RetrievedPoint>) -> Result<Vec<RawTask>, StoreError> {
        let mut found = Vec::new();
        for id in points.into_iter().filter_map(|point| point.id) {
            match self.inner.get("unadmitted", Collection::Tasks, vec![id.clone()], Part::All).await {
                Ok(points) => found.extend(points.into_iter().filter_map(raw_task)),
                Err(error) if error.is_undecodable() => {
                    let payload = Map::from_iter([("goal".to_owned(), json!({"unreadable": "nested too deeply"}))]);
                    found.extend(task_id(Some(&id)).map(|id| RawTask { id, payload }));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Writes the fields of `task` into its point unless it has been admitted meanwhile; keeps unknown fields and
    /// vectors. `Ok(false)` when another replica was first. Of a task that is terminal only what finds it is written.
    ///
    /// # Errors
    /// A failure of the store; calling again is safe.
    pub async fn admit(&self, task: &Task) -> Result<bool, StoreError> {
        const KEPT_AS_IS: [&str; 7] = ["goal", "status", "run_at", "created_at", "updated_at", "finished_at", ADMITTED];
        let mut patch = codec::encode(task);
        if !task.state.status.is_terminal() {
            return self.admission(task.id, whole(patch)).await;
        }
        patch.retain(|key, _| KEPT_AS_IS.contains(&key.as_str()));
        self.admission(task.id, patch).await
    }

    /// Admits a task that has been skipped instead of being run, with the reason as its error. `Ok(false)` as in
    /// [`Store::admit`].
    ///
    /// # Errors
    /// A failure of the store; calling again is safe.
    pub async fn skip(&self, task: &Task) -> Result<bool, StoreError> {
        self.admission(task.id, whole(codec::encode(task))).await
    }

    /// Marks an unreadable point as failed with `failure`, so that it is not read again. `Ok(false)` as in
    /// [`Store::admit`]. Its `run_at` becomes `now` unless it has one that can be read: a point that is listed needs one, and a time
    /// under another name may be corrected before the point is requeued.
    ///
    /// # Errors
    /// A failure of the store; calling again is safe.
    pub async fn reject(
        &self,
        raw: &RawTask,
        failure: &Failure,
        zone: Zone,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let has_own = raw.payload.get("run_at").is_some_and(|at| !at.is_null());
        let run_at = if has_own { raw.run_at(zone, now) } else { now };
        let patch = json!({
            "status": TaskStatus::Failed, "error": failure, "run_at": run_at, "finished_at": now,
            "updated_at": now, ADMITTED: true, "rank": null, "claim": null, "owner": null,
        });
        let Value::Object(patch) = patch else { return Ok(false) };
        self.admission(raw.id, patch).await
    }

    async fn admission(
        &self,
        id: crate::domain::id::TaskId,
        mut patch: Map<String, Value>,
    ) -> Result<bool, StoreError> {
        let mark = Uuid::new_v4().simple().to_string();
        patch.insert(SETTLED_BY.to_owned(), json!(mark));
        self.commit(Change { id, fence: Fence::Unadmitted, patch, proof: Proof::Mark(mark) }).await
    }
}

/// A field that came to nothing, such as an empty text, goes away instead of being read differently later.
fn whole(mut patch: Map<String, Value>) -> Map<String, Value> {
    for field in FIELDS.iter().filter(|field| **field != INSERTED_BY) {
        patch.entry(*field).or_insert(Value::Null);
    }
    patch
}

fn raw_task(point: RetrievedPoint) -> Option<RawTask> {
    Some(RawTask { id: task_id(point.id.as_ref())?, payload: from_payload(point.payload) })
}
