//! The edges between tasks, from the other end: who waits for a task, found through the indexes of `depends_on` and `awaits`.

use std::collections::HashSet;

use qdrant_client::qdrant::{Condition, Filter, ScrollPointsBuilder};

use super::fields::{ADMITTED, AWAITS};
use crate::domain::dependency::{DependencyCycle, WaitGraph, check_cycles};
use crate::domain::id::TaskId;
use crate::domain::task::{Task, TaskStatus};
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::Part;
use crate::store::qdrant::values::{point_id, task_id};
use crate::store::{Store, StoreError};
use crate::telemetry::large::beside_other_work;

/// Ids in one filter.
const IDS: usize = 512;
/// Most dependents given back for 512 ids.
pub(crate) const MAX_DEPENDENTS: usize = 20_000;
/// Most stored tasks that the search for a cycle goes through.
const MAX_WALK: usize = 100_000;

impl Store {
    /// Whether any task waits for others. Costs the same however many there are.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn any_waiting(&self) -> Result<bool, StoreError> {
        let request = ScrollPointsBuilder::new(self.inner.name(Collection::Tasks))
            .filter(Filter::must(waits()))
            .limit(1)
            .with_payload(false);
        Ok(!self.inner.scroll("any_waiting", request).await?.result.is_empty())
    }

    /// Ids of the tasks that wait, and depend on any of `ids` or have one carry out a step; no more than [`MAX_DEPENDENTS`] for each 512 of these.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn dependents(&self, ids: &[TaskId]) -> Result<Vec<TaskId>, StoreError> {
        let mut found = Vec::new();
        for page in ids.chunks(IDS) {
            let mut filter = Filter::must(waits());
            let ids: Vec<String> = page.iter().map(ToString::to_string).collect();
            filter.should =
                [("depends_on", ids.clone()), (AWAITS, ids)].map(|(key, ids)| Condition::matches(key, ids)).to_vec();
            let points = self.inner.scroll_all("dependents", Collection::Tasks, filter, Part::Nothing, MAX_DEPENDENTS);
            found.extend(points.await?.iter().filter_map(|point| task_id(point.id.as_ref())));
        }
        Ok(found)
    }

    /// Whether `tasks`, inserted, would wait for each other in a cycle, among themselves or by way of stored tasks that
    /// wait for one of them already. The latter is only possible where ids were known before their tasks were there,
    /// which one look at an index tells. Only dependencies between tasks of the same user count.
    ///
    /// # Errors
    /// A failure of the store; the inner error is the cycle.
    pub async fn check_cycles(&self, tasks: &[Task]) -> Result<Result<(), DependencyCycle>, StoreError> {
        let mut graph = WaitGraph::default();
        for task in tasks.iter().filter(|task| !task.spec.depends_on.is_empty()) {
            graph.add(task.id, task.spec.user.as_deref(), task.spec.depends_on.clone());
        }
        let edges = graph.edges();
        if let Err(cycle) = check_cycles(&edges) {
            return Ok(Err(cycle));
        }
        let ids: Vec<TaskId> = edges.into_keys().collect();
        if ids.is_empty() || self.dependents(&ids).await?.is_empty() {
            return Ok(Ok(()));
        }
        let mut seen: HashSet<TaskId> = ids.into_iter().collect();
        let mut ahead: Vec<TaskId> =
            tasks.iter().flat_map(|task| &task.spec.depends_on).copied().filter(|id| seen.insert(*id)).collect();
        while !ahead.is_empty() && seen.len() < MAX_WALK {
            let mut next = Vec::new();
            for page in ahead.chunks(IDS) {
                let page = page.iter().copied().map(point_id).collect();
                let points = self.inner.get("cycle", Collection::Tasks, page, Part::All).await?;
                for task in self.inner.readable_tasks(points) {
                    // A task that no longer waits, or that belongs to another user, is no part of a cycle.
                    if task.state.status == TaskStatus::Waiting && graph.has_user(task.spec.user.as_deref()) {
                        next.extend(task.spec.depends_on.iter().copied().filter(|id| seen.insert(*id)));
                        graph.add(task.id, task.spec.user.as_deref(), task.spec.depends_on);
                    }
                }
            }
            ahead = next;
        }
        Ok(beside_other_work(graph.dependencies() * size_of::<TaskId>(), || check_cycles(&graph.edges())))
    }
}

fn waits() -> Vec<Condition> {
    vec![Condition::matches("status", TaskStatus::Waiting.as_str().to_owned()), Condition::matches(ADMITTED, true)]
}
