//! What retention looks at and removes: ended tasks, what belonged to them, old events and memories. When something is
//! old enough is decided elsewhere.

use std::collections::{HashMap, HashSet};

use qdrant_client::qdrant::{
    Condition, Direction, Filter, OrderByBuilder, PointId, Range, RetrievedPoint, ScrollPointsBuilder,
};
use serde_json::{Map, Value};

use crate::domain::id::TaskId;
use crate::domain::task::TaskStatus;
use crate::domain::time::Timestamp;
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::{Part, offset, show_id};
use crate::store::qdrant::values::{bound, from_payload, point_id, task_id};
use crate::store::tasks::fields::{ADMITTED, TREE_ROOT};
use crate::store::{Page, Store, StoreError};

/// Most dependents read of one page of tasks.
const MAX_DEPENDENTS: usize = 100_000;
/// Points removed at once.
const BATCH: u32 = 512;

/// A task that has ended, with just what retention needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The task.
    pub id: TaskId,
    /// How it ended.
    pub status: TaskStatus,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Schedule whose firing it was.
    pub schedule_id: Option<String>,
    /// The first task of its tree.
    pub root: TaskId,
}

/// What is kept beside tasks and goes with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnedKind {
    /// Records of attempts.
    Attempt,
    /// Artifacts, files included.
    Artifact,
    /// Events.
    Event,
    /// Memories: they outlive their task.
    Memory,
}

impl OwnedKind {
    const fn collection(self) -> Collection {
        match self {
            Self::Attempt => Collection::Attempts,
            Self::Artifact => Collection::Artifacts,
            Self::Event => Collection::Events,
            Self::Memory => Collection::Memory,
        }
    }
}

/// A point of such a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Id of the point.
    pub point: TaskId,
    /// The task it belongs to; an event may be about none.
    pub task: Option<TaskId>,
    /// When it was written last.
    pub at: Timestamp,
    /// The first task of the tree that an attempt counts for, where it names one.
    pub tree_root: Option<TaskId>,
    /// File of a large artifact.
    file: Option<String>,
}

impl Store {
    /// Tasks that have ended, in the order of their ids, from `after`.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn ended_tasks(&self, limit: u32, after: Option<&str>) -> Result<Page<Ended>, StoreError> {
        let ended = Filter::must([statuses(TaskStatus::is_terminal), Condition::matches(ADMITTED, true)]);
        let part = Part::Only(&["status", "finished_at", "schedule_id", TREE_ROOT]);
        let page = self.retention_page("ended_tasks", Collection::Tasks, ended, part, limit, after).await?;
        let items = page.items.into_iter().filter_map(|(id, payload)| {
            let status = payload.get("status").and_then(Value::as_str)?.parse().ok()?;
            let finished_at = payload.get("finished_at").and_then(Timestamp::of_stored)?;
            let schedule_id = payload.get("schedule_id").and_then(Value::as_str).map(str::to_owned);
            let root = payload.get(TREE_ROOT).and_then(Value::as_str).and_then(|root| root.parse().ok()).unwrap_or(id);
            Some(Ended { id, status, finished_at, schedule_id, root })
        });
        Ok(Page { items: items.collect(), next: page.next })
    }

    /// Those of `ids` that a task which has not ended depends on.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn depended_on(&self, ids: &[TaskId]) -> Result<HashSet<TaskId>, StoreError> {
        let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let filter = Filter::must([Condition::matches("depends_on", names), statuses(|status| !status.is_terminal())]);
        let part = Part::Only(&["depends_on"]);
        let dependents = self.inner.scroll_all("depended_on", Collection::Tasks, filter, part, MAX_DEPENDENTS).await?;
        let mut needed = HashSet::new();
        for payload in dependents.into_iter().map(|point| from_payload(point.payload)) {
            let names = payload.get("depends_on").and_then(Value::as_array).into_iter().flatten();
            needed.extend(names.filter_map(|name| name.as_str()?.parse::<TaskId>().ok()));
        }
        Ok(needed)
    }

    /// The newest task of a schedule.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn last_firing(&self, schedule: &str) -> Result<Option<TaskId>, StoreError> {
        let request = ScrollPointsBuilder::new(self.inner.name(Collection::Tasks))
            .filter(Filter::must([Condition::matches("schedule_id", schedule.to_owned())]))
            .order_by(OrderByBuilder::new("run_at").direction(Direction::Desc.into()))
            .limit(1)
            .with_payload(false);
        let page = self.inner.scroll("last_firing", request).await?;
        Ok(page.result.first().and_then(|point| task_id(point.id.as_ref())))
    }

    /// Removes those of `ids` that still have this status since `until` or longer, and gives back which of all are gone.
    /// A task that somebody wants done again meanwhile stays.
    ///
    /// # Errors
    /// A failure of the store; calling again is safe.
    pub async fn remove_ended(
        &self,
        ids: &[TaskId],
        status: TaskStatus,
        until: Timestamp,
    ) -> Result<Vec<TaskId>, StoreError> {
        let points: Vec<PointId> = ids.iter().copied().map(point_id).collect();
        let filter = Filter::must([
            Condition::has_id(points.iter().cloned()),
            Condition::matches("status", status.as_str().to_owned()),
            Condition::range("finished_at", Range { lte: Some(bound(until)), ..Range::default() }),
        ]);
        self.inner.delete_where("remove_ended", Collection::Tasks, filter).await?;
        let kept = self.inner.get("remove_ended", Collection::Tasks, points, Part::Nothing).await?;
        let kept: HashSet<TaskId> = kept.iter().filter_map(|point| task_id(point.id.as_ref())).collect();
        Ok(ids.iter().copied().filter(|id| !kept.contains(id)).collect())
    }

    /// When those of `ids` ended that exist; `None` for one that has not ended.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn ends_of(&self, ids: &[TaskId]) -> Result<HashMap<TaskId, Option<Timestamp>>, StoreError> {
        let points = ids.iter().copied().map(point_id).collect();
        let found =
            self.inner.get("ends_of", Collection::Tasks, points, Part::Only(&["status", "finished_at"])).await?;
        let end = |point: RetrievedPoint| {
            let id = task_id(point.id.as_ref())?;
            let payload = from_payload(point.payload);
            let status: Option<TaskStatus> = payload.get("status").and_then(Value::as_str)?.parse().ok();
            let at = payload.get("finished_at").and_then(Timestamp::of_stored);
            Some((id, at.filter(|_| status.is_some_and(TaskStatus::is_terminal))))
        };
        Ok(found.into_iter().filter_map(end).collect())
    }

    /// All points of `kind`, in the order of their ids, from `after`.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn left(
        &self,
        kind: OwnedKind,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Page<OwnedRecord>, StoreError> {
        self.left_where(kind, Filter::default(), limit, after).await
    }

    /// The first points of `kind` that belong to one of `tasks`.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn owned_records(&self, kind: OwnedKind, tasks: &[TaskId]) -> Result<Vec<OwnedRecord>, StoreError> {
        Ok(self.left_where(kind, of_tasks(tasks), BATCH, None).await?.items)
    }

    /// How many points of `kind` belong to one of `tasks` and were written at `since` or later.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn count_left_of(
        &self,
        kind: OwnedKind,
        tasks: &[TaskId],
        since: Option<Timestamp>,
    ) -> Result<u64, StoreError> {
        let mut filter = of_tasks(tasks);
        filter
            .must
            .extend(since.map(|since| Condition::range("at", Range { gte: Some(bound(since)), ..Range::default() })));
        self.inner.count("count_left_of", kind.collection(), Some(filter), true).await
    }

    /// The first events from before `until`; those of one `moment` in no order.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn events_before(&self, until: Timestamp) -> Result<Vec<OwnedRecord>, StoreError> {
        Ok(self.left_where(OwnedKind::Event, before(until), BATCH, None).await?.items)
    }

    /// How many events are from before `until`.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn count_events_before(&self, until: Timestamp) -> Result<u64, StoreError> {
        self.inner.count("count_events_before", Collection::Events, Some(before(until)), true).await
    }

    /// How many of `tasks` have a dead letter.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn count_dead_letters_of(&self, tasks: &[TaskId]) -> Result<u64, StoreError> {
        let ids = tasks.iter().copied().map(point_id).collect();
        let found = self.inner.get("count_dead_letters_of", Collection::DeadLetters, ids, Part::Nothing).await?;
        Ok(found.len() as u64)
    }

    /// Removes points of `kind` with their files. The files go first: a point without its file is found again, a file
    /// without its point is not.
    ///
    /// # Errors
    /// A failure of the store; calling again is safe.
    pub async fn remove_left(&self, kind: OwnedKind, left: &[OwnedRecord]) -> Result<(), StoreError> {
        for file in left.iter().filter_map(|left| left.file.as_deref()) {
            self.local.files.remove("a document whose time is over", file).await;
        }
        let ids: Vec<PointId> = left.iter().map(|left| point_id(left.point)).collect();
        if ids.is_empty() {
            return Ok(());
        }
        self.inner.delete("remove_left", kind.collection(), ids).await
    }

    async fn left_where(
        &self,
        kind: OwnedKind,
        filter: Filter,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Page<OwnedRecord>, StoreError> {
        let part = Part::Only(&["task_id", "at", "updated_at", "created_at", "file", TREE_ROOT]);
        let page = self.retention_page("left", kind.collection(), filter, part, limit, after).await?;
        let items = page.items.into_iter().filter_map(|(point, payload)| {
            let at =
                ["at", "updated_at", "created_at"].iter().find_map(|key| Timestamp::of_stored(payload.get(*key)?))?;
            let text = |key: &str| payload.get(key).and_then(Value::as_str);
            let task = text("task_id").and_then(|id| id.parse().ok());
            let tree_root = text(TREE_ROOT).and_then(|id| id.parse().ok());
            Some(OwnedRecord { point, task, at, tree_root, file: text("file").map(str::to_owned) })
        });
        Ok(Page { items: items.collect(), next: page.next })
    }

    async fn retention_page(
        &self,
        operation: &'static str,
        collection: Collection,
        filter: Filter,
        part: Part,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Page<(TaskId, Map<String, Value>)>, StoreError> {
        let mut request = ScrollPointsBuilder::new(self.inner.name(collection))
            .filter(filter)
            .limit(limit)
            .with_payload(part.selector());
        if let Some(offset) = offset(operation, after)? {
            request = request.offset(offset);
        }
        let page = self.inner.scroll(operation, request).await?;
        let next = page.next_page_offset.as_ref().map(show_id);
        let items = page.result.into_iter();
        let items = items.filter_map(|point| Some((task_id(point.id.as_ref())?, from_payload(point.payload))));
        Ok(Page { items: items.collect(), next })
    }
}

pub(in crate::store) fn statuses(wanted: impl Fn(TaskStatus) -> bool) -> Condition {
    let names: Vec<String> =
        TaskStatus::ALL.into_iter().filter(|status| wanted(*status)).map(|status| status.to_string()).collect();
    Condition::matches("status", names)
}

fn of_tasks(tasks: &[TaskId]) -> Filter {
    let names: Vec<String> = tasks.iter().map(ToString::to_string).collect();
    Filter::must([Condition::matches("task_id", names)])
}

fn before(until: Timestamp) -> Filter {
    Filter::must([Condition::range("at", Range { lt: Some(bound(until)), ..Range::default() })])
}
