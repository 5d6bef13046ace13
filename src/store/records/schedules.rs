//! Schedules, each under an id derived from its own. Every change is fenced by the version that it was made from, so
//! that of several replicas that move a schedule on at the same time one does.

use qdrant_client::Payload;
use qdrant_client::qdrant::{Condition, Filter, NamedVectors, PointId, PointStruct, ScrollPointsBuilder, UpdateMode};
use uuid::Uuid;

use crate::domain::id::derived;
use crate::domain::schedule::Schedule;
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::{Part, document, object, offset, readable, show_id};
use crate::store::qdrant::unreadable::warn_once;
use crate::store::qdrant::values::{exactly, to_payload};
use crate::store::tasks::writer::set_payload;
use crate::store::{Page, Store, StoreError};

/// How many versions before it a version names.
const ANCESTORS: usize = 8;
/// What stands between them.
const BETWEEN: &str = ",";

/// A stored schedule that this version cannot read: a newer version wrote it, or its zone is none that is known here. It does
/// not fire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableSchedule {
    /// Its id, or that of its point when it has none.
    pub id: String,
    /// Why it cannot be read.
    pub reason: String,
}

impl Store {
    /// Writes a new schedule and gives it back as it is stored; `None` when its id is taken. Durable on return.
    ///
    /// # Errors
    /// A failure of the store, after which it may have been written.
    pub async fn insert_schedule(&self, schedule: &Schedule) -> Result<Option<Schedule>, StoreError> {
        let stored = versioned(schedule, "");
        let payload = Payload::from(to_payload(object("insert_schedule", &stored)?));
        let point = PointStruct::new(point_of(&stored.id), NamedVectors::default(), payload);
        self.inner.upsert("insert_schedule", Collection::Schedules, vec![point], UpdateMode::InsertOnly).await?;
        self.if_mine(stored).await
    }

    /// Writes `after` in the place of `before` and gives it back as it is stored; `None` when the schedule has changed
    /// since `before` was read, or is gone. Durable on return. Fields that qron does not know stay.
    ///
    /// # Errors
    /// A failure of the store, after which it may have been written.
    pub async fn replace_schedule(&self, before: &Schedule, after: &Schedule) -> Result<Option<Schedule>, StoreError> {
        let stored = versioned(after, &before.version);
        let mut patch = object("replace_schedule", &stored)?;
        // What has not changed is not written, since a newer version may know more of it than was read.
        let known = object("replace_schedule", before)?;
        patch.retain(|field, value| known.get(field) != Some(value));
        let unchanged =
            Filter::must([Condition::has_id([point_of(&before.id)]), exactly("version", before.version.clone())]);
        let operation = set_payload(patch, unchanged);
        self.inner.update_batch("replace_schedule", Collection::Schedules, vec![operation]).await?;
        self.if_mine(stored).await
    }

    /// `stored`, if it was written, although others may have built on it since.
    async fn if_mine(&self, stored: Schedule) -> Result<Option<Schedule>, StoreError> {
        let ids = vec![point_of(&stored.id)];
        let points = self.inner.get("schedule_outcome", Collection::Schedules, ids, Part::Only(&["version"])).await?;
        let version = points.first().and_then(|point| point.payload.get("version")?.as_str());
        let mine = stored.version.split(BETWEEN).next();
        let written = version.is_some_and(|version| version.split(BETWEEN).any(|one| Some(one) == mine));
        Ok(written.then_some(stored))
    }

    /// A schedule by id.
    ///
    /// # Errors
    /// A failure of the store, or [`StoreError::Corrupt`].
    pub async fn schedule(&self, id: &str) -> Result<Option<Schedule>, StoreError> {
        let mut points = self.inner.get("schedule", Collection::Schedules, vec![point_of(id)], Part::All).await?;
        points.pop().map(|point| document(Collection::Schedules, point.id.as_ref(), point.payload)).transpose()
    }

    /// Those of the schedules `ids` that there are and can be read.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn schedules_by_id(&self, ids: &[String]) -> Result<Vec<Schedule>, StoreError> {
        let ids = ids.iter().map(|id| point_of(id)).collect();
        let points = self.inner.get("schedules_by_id", Collection::Schedules, ids, Part::All).await?;
        Ok(readable(Collection::Schedules, points))
    }

    /// Schedules in the order of their points, those that can be read, from `after` (the `next` of the page before).
    ///
    /// # Errors
    /// A failure of the store, or [`StoreError::Refused`] when `after` does not come from a page.
    pub async fn schedules(&self, limit: u32, after: Option<&str>) -> Result<Page<Schedule>, StoreError> {
        self.schedules_with_unreadable(limit, after).await.map(|(page, _)| page)
    }

    /// The same page, and what it leaves out because it cannot be read.
    ///
    /// # Errors
    /// Those of [`Store::schedules`].
    pub async fn schedules_with_unreadable(
        &self,
        limit: u32,
        after: Option<&str>,
    ) -> Result<(Page<Schedule>, Vec<UnreadableSchedule>), StoreError> {
        let mut request =
            ScrollPointsBuilder::new(self.inner.name(Collection::Schedules)).limit(limit).with_payload(true);
        if let Some(offset) = offset("schedules", after)? {
            request = request.offset(offset);
        }
        let answer = self.inner.scroll("schedules", request).await?;
        let next = answer.next_page_offset.as_ref().map(show_id);
        let (mut items, mut unreadable) = (Vec::new(), Vec::new());
        for point in answer.result {
            let id = point.payload.get("id").and_then(|id| id.as_str()).cloned();
            match document(Collection::Schedules, point.id.as_ref(), point.payload) {
                Ok(schedule) => items.push(schedule),
                Err(error) => {
                    warn_once(&error);
                    let id = id.or_else(|| point.id.as_ref().map(show_id)).unwrap_or_default();
                    let reason =
                        if let StoreError::Corrupt { reason, .. } = error { reason } else { error.to_string() };
                    unreadable.push(UnreadableSchedule { id, reason });
                }
            }
        }
        Ok((Page { items, next }, unreadable))
    }

    /// Removes a schedule; the tasks of its firings stay.
    ///
    /// # Errors
    /// A failure of the store; calling again is safe.
    pub async fn remove_schedule(&self, id: &str) -> Result<(), StoreError> {
        self.inner.delete("remove_schedule", Collection::Schedules, vec![point_of(id)]).await
    }
}

/// The same schedule under a version of its own, which names those before it, so that whoever wrote one of them and
/// reads it only now knows that it was written.
fn versioned(schedule: &Schedule, before: &str) -> Schedule {
    let own = Uuid::new_v4().simple().to_string();
    let ancestors = before.split(BETWEEN).filter(|version| !version.is_empty()).take(ANCESTORS);
    let versions: Vec<&str> = std::iter::once(own.as_str()).chain(ancestors).collect();
    Schedule { version: versions.join(BETWEEN), ..schedule.clone() }
}

fn point_of(id: &str) -> PointId {
    derived(&["schedule", id]).into()
}
