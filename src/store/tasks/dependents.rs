//! The edges between tasks, from the other end: who waits for a task, found through the index of `depends_on`.

use std::collections::{HashMap, HashSet};

use qdrant_client::qdrant::{Condition, Filter, ScrollPointsBuilder};

use super::fields::ADMITTED;
use crate::domain::dependency::{DependencyCycle, check_cycles};
use crate::domain::id::TaskId;
use crate::domain::task::{Task, TaskStatus};
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::Part;
use crate::store::qdrant::values::{point_id, task_id};
use crate::store::{Store, StoreError};

/// Ids in one filter.
const IDS: usize = 512;
/// Most dependents given back for 512 ids.
pub(crate) const MAX_DEPENDENTS: usize = 20_000;
/// Most stored tasks that the search for a circle goes through.
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

    /// Ids of the tasks that wait, and depend on any of `ids`; no more than [`MAX_DEPENDENTS`] for each 512 of these.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn dependents(&self, ids: &[TaskId]) -> Result<Vec<TaskId>, StoreError> {
        let mut found = Vec::new();
        for page in ids.chunks(IDS) {
            let mut filter = Filter::must(waits());
            filter
                .must
                .push(Condition::matches("depends_on", page.iter().map(ToString::to_string).collect::<Vec<_>>()));
            let points = self.inner.scroll_all("dependents", Collection::Tasks, filter, Part::Nothing, MAX_DEPENDENTS);
            found.extend(points.await?.iter().filter_map(|point| task_id(point.id.as_ref())));
        }
        Ok(found)
    }

    /// Whether `tasks`, inserted, would wait for each other in a circle, among themselves or by way of stored tasks that
    /// wait for one of them already. The latter is only possible where ids were known before their tasks were there,
    /// which one look at an index tells.
    ///
    /// # Errors
    /// A failure of the store; the inner error is the circle.
    pub async fn check_cycles(&self, tasks: &[Task]) -> Result<Result<(), DependencyCycle>, StoreError> {
        let mut waits_for: HashMap<TaskId, Vec<TaskId>> = tasks
            .iter()
            .filter(|task| !task.spec.depends_on.is_empty())
            .map(|task| (task.id, task.spec.depends_on.clone()))
            .collect();
        if let Err(circle) = check_cycles(&waits_for) {
            return Ok(Err(circle));
        }
        let ids: Vec<TaskId> = waits_for.keys().copied().collect();
        if ids.is_empty() || self.dependents(&ids).await?.is_empty() {
            return Ok(Ok(()));
        }
        let mut seen: HashSet<TaskId> = ids.into_iter().collect();
        let mut ahead: Vec<TaskId> = waits_for.values().flatten().copied().filter(|id| seen.insert(*id)).collect();
        while !ahead.is_empty() && seen.len() < MAX_WALK {
            let mut next = Vec::new();
            for page in ahead.chunks(IDS) {
                let page = page.iter().copied().map(point_id).collect();
                let points = self.inner.get("circle", Collection::Tasks, page, Part::All).await?;
                // What no longer waits is no part of a circle.
                let waiting = self
                    .inner
                    .readable_tasks(points)
                    .into_iter()
                    .filter(|task| task.state.status == TaskStatus::Waiting);
                for task in waiting {
                    next.extend(task.spec.depends_on.iter().copied().filter(|id| seen.insert(*id)));
                    waits_for.insert(task.id, task.spec.depends_on);
                }
            }
            ahead = next;
        }
        Ok(check_cycles(&waits_for))
    }
}

fn waits() -> Vec<Condition> {
    vec![Condition::matches("status", TaskStatus::Waiting.as_str().to_owned()), Condition::matches(ADMITTED, true)]
}
