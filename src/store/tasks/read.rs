//! Reading tasks: one, a page, and how many there are.

use std::collections::{HashMap, HashSet};

use qdrant_client::qdrant::{
    Condition, FacetCountsBuilder, Filter, PointId, Range, RetrievedPoint, ScrollPointsBuilder, ScrollResponse,
    facet_value,
};
use serde_json::Value;

use super::codec;
use super::fields::ADMITTED;
use crate::clock;
use crate::domain::id::TaskId;
use crate::domain::task::{Task, TaskStatus};
use crate::domain::time::Timestamp;
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::{Inner, Part, offset, show_id};
use crate::store::qdrant::values::{bound, exactly, from_payload, point_id, task_id};
use crate::store::{Page, Store, StoreError, TaskFilter};

/// Ids asked for at once.
const IDS: usize = 512;
/// Most spellings of a status that are counted; more than there are, since foreign points have their own.
const MAX_STATUSES: u64 = 64;
/// Marks what was read of a point that is nested deeper than the protocol can tell.
pub(super) const UNDECODABLE: &str = "\u{0}undecodable";
/// What is read of a point that is nested deeper than the protocol can tell.
pub(super) const SUMMARY: &[&str] = &["run_at", "rank", "finished_at", "status"];
/// Tasks whose status is read at once.
const STATUS_BATCH: usize = 1_024;
/// Tasks read at once to find a text in their goals.
const READ_AT_ONCE: u32 = 500;

impl Store {
    /// A task by id. A point that waits for admission is shown as admission will read it.
    ///
    /// # Errors
    /// A failure of the store, or [`StoreError::Corrupt`] for a point that cannot be read.
    pub async fn task(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        let mut points = self.inner.get("task", Collection::Tasks, vec![point_id(id)], Part::All).await?;
        points
            .pop()
            .map(|point| codec::decode(id, from_payload(point.payload), self.inner.zone, clock::now()))
            .transpose()
    }

    /// Those of `ids` that are there and can be read, in no particular order.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn tasks_by_id(&self, ids: &[TaskId]) -> Result<Vec<Task>, StoreError> {
        let mut found = Vec::new();
        for page in ids.chunks(IDS) {
            let ids: Vec<PointId> = page.iter().copied().map(point_id).collect();
            let points = match self.inner.get("tasks_by_id", Collection::Tasks, ids.clone(), Part::All).await {
                Err(error) if error.is_undecodable() => {
                    self.get_decodable("tasks_by_id", Collection::Tasks, ids).await?
                }
                answer => answer?,
            };
            found.extend(self.inner.readable_tasks(points));
        }
        Ok(found)
    }

    /// Where those of `ids` stand that are there; `None` for a point that does not read as a task, yet.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn statuses(&self, ids: &[TaskId]) -> Result<HashMap<TaskId, Option<TaskStatus>>, StoreError> {
        let mut found = HashMap::with_capacity(ids.len());
        for page in ids.chunks(IDS) {
            let ids = page.iter().copied().map(point_id).collect();
            let part = Part::Only(&["status", ADMITTED]);
            for point in self.inner.get("statuses", Collection::Tasks, ids, part).await? {
                let Some(id) = task_id(point.id.as_ref()) else { continue };
                let payload = from_payload(point.payload);
                // What admission has yet to read may come to something else than it says.
                let status = payload.get("status").and_then(Value::as_str).filter(|_| codec::is_admitted(&payload));
                found.insert(id, status.and_then(|text| text.parse().ok()));
            }
        }
        Ok(found)
    }

    /// Tasks, in the order of their ids, from `after` (the `next` of the page before). Points that cannot be read are
    /// left out, and so are tasks without the text of the filter, so that a page may hold fewer than `limit`.
    ///
    /// # Errors
    /// A failure of the store, or [`StoreError::Refused`] when `after` does not come from a page.
    pub async fn tasks(&self, filter: &TaskFilter, limit: u32, after: Option<&str>) -> Result<Page<Task>, StoreError> {
        let page = self.page(filter, limit, after).await?;
        let mut items = self.inner.readable_tasks(page.result);
        items.retain(|task| filter.has_text(task));
        Ok(Page { next: page.next_page_offset.as_ref().map(show_id), items })
    }

    /// The points that pass all conditions but that on the text.
    async fn page(&self, filter: &TaskFilter, limit: u32, after: Option<&str>) -> Result<ScrollResponse, StoreError> {
        let after = offset("tasks", after)?;
        let request = |part: Part| {
            let request = ScrollPointsBuilder::new(self.inner.name(Collection::Tasks))
                .filter(conditions(filter))
                .limit(limit)
                .with_payload(part.selector());
            match &after {
                Some(after) => request.offset(after.clone()),
                None => request,
            }
        };
        self.scroll_decodable(Collection::Tasks, Part::Nothing, request).await
    }

    /// What `request` asks for. Of a point that is nested deeper than the protocol can tell only a `part` is read: the
    /// rest of it would hide all others.
    pub(super) async fn scroll_decodable(
        &self,
        collection: Collection,
        part: Part,
        request: impl Fn(Part) -> ScrollPointsBuilder,
    ) -> Result<ScrollResponse, StoreError> {
        let operation = collection.as_str();
        match self.inner.scroll(operation, request(Part::All)).await {
            Err(error) if error.is_undecodable() => {
                let mut page = self.inner.scroll(operation, request(part)).await?;
                let ids = page.result.iter().filter_map(|point| point.id.clone());
                let readable = self.get_decodable(operation, collection, ids).await?;
                for point in &mut page.result {
                    match readable.iter().find(|read| read.id == point.id) {
                        Some(read) => *point = read.clone(),
                        None => drop(point.payload.insert(UNDECODABLE.to_owned(), true.into())),
                    }
                }
                Ok(page)
            }
            answer => answer,
        }
    }

    /// Reads points one by one, and leaves out what is nested deeper than the protocol can tell: it would hide all others.
    pub(super) async fn get_decodable(
        &self,
        operation: &'static str,
        collection: Collection,
        ids: impl IntoIterator<Item = PointId> + Send,
    ) -> Result<Vec<RetrievedPoint>, StoreError> {
        let ids: Vec<PointId> = ids.into_iter().collect();
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            match self.inner.get(operation, collection, vec![id.clone()], Part::All).await {
                Err(error) if error.is_undecodable() => {
                    tracing::debug!(task = show_id(&id), %error, "left out of what was read");
                }
                answer => found.extend(answer?),
            }
        }
        Ok(found)
    }

    /// How many tasks pass `filter`, exactly.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn count_tasks(&self, filter: &TaskFilter) -> Result<u64, StoreError> {
        if filter.text.is_some() {
            return Ok(self.counts_of(filter).await?.into_values().sum());
        }
        self.inner.count("count_tasks", Collection::Tasks, Some(conditions(filter)), true).await
    }

    /// The statuses of those of the tasks `ids` that there are and whose status can be read.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn task_statuses(&self, ids: &[TaskId]) -> Result<HashMap<TaskId, TaskStatus>, StoreError> {
        let mut statuses = HashMap::with_capacity(ids.len());
        for chunk in ids.chunks(STATUS_BATCH) {
            let chunk = chunk.iter().copied().map(point_id).collect();
            let points = self.inner.get("task_statuses", Collection::Tasks, chunk, Part::Only(&["status"])).await?;
            statuses.extend(points.into_iter().filter_map(|point| {
                let status = point.payload.get("status")?.as_str()?.parse().ok()?;
                Some((task_id(point.id.as_ref())?, status))
            }));
        }
        Ok(statuses)
    }

    /// Tasks that wait for a decision and have a question whose time is over at `now`, decided or not, in the order of
    /// their ids from `after`.
    ///
    /// # Errors
    /// As for [`Store::tasks`].
    pub async fn overdue_approvals(
        &self,
        now: Timestamp,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Page<Task>, StoreError> {
        let over = Range { lte: Some(bound(now)), ..Range::default() };
        let filter = Filter::must([
            Condition::matches("status", TaskStatus::AwaitingApproval.as_str().to_owned()),
            Condition::range("approvals[].expires_at", over),
        ]);
        let mut request =
            ScrollPointsBuilder::new(self.inner.name(Collection::Tasks)).filter(filter).limit(limit).with_payload(true);
        if let Some(offset) = offset("overdue_approvals", after)? {
            request = request.offset(offset);
        }
        let page = self.inner.scroll("overdue_approvals", request).await?;
        Ok(Page { next: page.next_page_offset.as_ref().map(show_id), items: self.inner.readable_tasks(page.result) })
    }

    /// Waiting tasks, for the check of their dependencies, from `after`. Points among them that cannot be read go back to
    /// admission, which tells people why: nothing else would look at them again.
    ///
    /// # Errors
    /// As for [`Store::tasks`].
    pub async fn waiting(&self, limit: u32, after: Option<&str>) -> Result<Page<Task>, StoreError> {
        self.readable_page(TaskStatus::Waiting, limit, after).await
    }

    /// Tasks of one status, in the order of their ids; points among them that cannot be read go back to admission.
    pub(super) async fn readable_page(
        &self,
        status: TaskStatus,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Page<Task>, StoreError> {
        let filter = TaskFilter { statuses: vec![status], ..TaskFilter::default() };
        let page = self.page(&filter, limit, after).await?;
        let next = page.next_page_offset.as_ref().map(show_id);
        let ids: Vec<PointId> = page.result.iter().filter_map(|point| point.id.clone()).collect();
        let items = self.inner.readable_tasks(page.result);
        if items.len() < ids.len() {
            let read: HashSet<TaskId> = items.iter().map(|task| task.id).collect();
            let unread = ids.into_iter().filter(|id| task_id(Some(id)).is_none_or(|id| !read.contains(&id)));
            self.send_back(unread.collect()).await?;
        }
        Ok(Page { items, next })
    }

    /// How many tasks there are of each status, foreign spellings included; approximate while many change.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn task_counts(&self) -> Result<HashMap<TaskStatus, u64>, StoreError> {
        let request = FacetCountsBuilder::new(self.inner.name(Collection::Tasks), "status").limit(MAX_STATUSES);
        self.counts_by_status(request).await
    }

    /// How many of the tasks that `parent` made there are of each status, exactly.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn counts_of_children(&self, parent: TaskId) -> Result<HashMap<TaskStatus, u64>, StoreError> {
        self.counts_of(&TaskFilter { parent: Some(parent), ..TaskFilter::default() }).await
    }

    /// How many of the tasks that pass `filter` there are of each status, exactly. No index knows the text of goals: with one,
    /// all tasks that pass the other conditions are read.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn counts_of(&self, filter: &TaskFilter) -> Result<HashMap<TaskStatus, u64>, StoreError> {
        if filter.text.is_some() {
            return self.counts_by_reading(filter).await;
        }
        let request = FacetCountsBuilder::new(self.inner.name(Collection::Tasks), "status")
            .filter(conditions(filter))
            .exact(true)
            .limit(MAX_STATUSES);
        self.counts_by_status(request).await
    }

    async fn counts_by_reading(&self, filter: &TaskFilter) -> Result<HashMap<TaskStatus, u64>, StoreError> {
        let mut counts = HashMap::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.tasks(filter, READ_AT_ONCE, after.as_deref()).await?;
            for task in page.items {
                *counts.entry(task.state.status).or_default() += 1;
            }
            after = page.next;
            if after.is_none() {
                return Ok(counts);
            }
        }
    }

    async fn counts_by_status(&self, request: FacetCountsBuilder) -> Result<HashMap<TaskStatus, u64>, StoreError> {
        let answer = self.inner.call("task_counts", self.inner.client.facet(request)).await?;
        let mut counts = HashMap::new();
        for hit in answer.hits {
            if let Some(facet_value::Variant::StringValue(text)) = hit.value.and_then(|value| value.variant)
                && let Ok(status) = text.parse()
            {
                *counts.entry(status).or_default() += hit.count;
            }
        }
        Ok(counts)
    }
}

impl Inner {
    /// The tasks of a page. One that cannot be read is left out and logged: it must not hide the others.
    pub(super) fn readable_tasks(&self, points: Vec<RetrievedPoint>) -> Vec<Task> {
        let now = clock::now();
        let mut tasks = Vec::with_capacity(points.len());
        for point in points {
            let Some(id) = task_id(point.id.as_ref()).filter(|_| !point.payload.contains_key(UNDECODABLE)) else {
                continue;
            };
            match codec::decode(id, from_payload(point.payload), self.zone, now) {
                Ok(task) => tasks.push(task),
                Err(error) => tracing::debug!(%error, "left out of a listing"),
            }
        }
        tasks
    }
}

/// The conditions that the server can answer: all but the text of the goal, see [`TaskFilter::has_text`].
pub(in crate::store) fn conditions(filter: &TaskFilter) -> Filter {
    let TaskFilter {
        statuses,
        agent,
        tag,
        user,
        schedule_id,
        parent,
        concurrency_key,
        text: _,
        created_before,
        tree_root,
    } = filter;
    let mut must = Vec::new();
    if !statuses.is_empty() {
        let statuses: Vec<String> = statuses.iter().map(ToString::to_string).collect();
        must.push(Condition::matches("status", statuses));
    }
    let parent = parent.map(|id| id.to_string());
    let tree_root = tree_root.map(|id| id.to_string());
    let fields = [
        ("agent", agent),
        ("tags", tag),
        ("user", user),
        ("schedule_id", schedule_id),
        ("parent", &parent),
        ("tree_root", &tree_root),
        ("concurrency_key", concurrency_key),
    ];
    for (field, value) in fields {
        must.extend(value.clone().map(|value| exactly(field, value)));
    }
    must.extend(
        created_before.map(|at| Condition::range("created_at", Range { lte: Some(bound(at)), ..Range::default() })),
    );
    Filter::must(must)
}
