//! Trees of tasks: what their runs have spent, a place for each task, and whose the tasks are.
//!
//! What a tree has spent is the sum of its records of attempts, which each run writes before it asks a model again: nothing
//! else is written for it. That a tree has no more tasks than it may is settled by conditional writes: each child holds a
//! numbered key of its tree, as if it were a unique key of its own, for as long as it is there.

use std::collections::{HashMap, HashSet};

use qdrant_client::qdrant::{Condition, Filter};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::codec::{encode_new, is_admitted};
use super::fields::{ADMITTED, TREE_ROOT};
use super::unique::KeyOf;
use crate::domain::budget::Spent;
use crate::domain::id::TaskId;
use crate::domain::task::{SpecLimits, Task, TaskStatus};
use crate::domain::time::Timestamp;
use crate::domain::tree::{MAX_TREE_TASKS, TreeSpent};
use crate::domain::unique::UniqueFor;
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::{Part, readable, show_id};
use crate::store::qdrant::values::{from_payload, point_id, task_id};
use crate::store::records::retention::statuses;
use crate::store::{Store, StoreError, TaskFilter};

/// Ids in one request.
const IDS: usize = 512;
/// Most attempts of a tree that are added up.
const MAX_ATTEMPTS: usize = 100_000;
/// Most living tasks that are read to learn which trees live.
const MAX_LIVING: usize = 100_000;

/// What is read of an attempt.
#[derive(Deserialize)]
struct Account {
    id: Uuid,
    task_id: TaskId,
    #[serde(default)]
    spent: Spent,
    #[serde(default)]
    carried: Option<Spent>,
}

/// Where a task stands, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its status; `None` for a point that does not read as a task, yet.
    pub status: Option<TaskStatus>,
    /// On whose behalf it runs.
    pub user: Option<String>,
}

impl Store {
    /// What the runs of the tree of `root` have spent, without the attempt `except`.
    ///
    /// # Errors
    /// A failure of the store, and [`StoreError::Refused`] for a tree of more attempts than are added up.
    pub async fn tree_spent(&self, root: TaskId, except: Uuid) -> Result<TreeSpent, StoreError> {
        let name = root.to_string();
        let of_tree =
            Filter::should([Condition::matches(TREE_ROOT, name.clone()), Condition::matches("task_id", name)]);
        let part = Part::Only(&["id", "task_id", "spent", "carried"]);
        let points = self.inner.scroll_all("tree_spent", Collection::Attempts, of_tree, part, MAX_ATTEMPTS + 1).await?;
        if points.len() > MAX_ATTEMPTS {
            let reason = format!("the tasks of the tree of {root} have more than {MAX_ATTEMPTS} attempts");
            return Err(StoreError::Refused { operation: "tree_spent", reason });
        }
        let accounts: Vec<Account> = readable(Collection::Attempts, points);
        let others = accounts.iter().filter(|account| account.id != except);
        Ok(TreeSpent::of_runs(others.map(|account| (account.task_id, &account.spent, account.carried.as_ref()))))
    }

    /// Descendants of `root` that there are.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn descendants(&self, root: TaskId) -> Result<u64, StoreError> {
        self.count_tasks(&TaskFilter { tree_root: Some(root), ..TaskFilter::default() }).await
    }

    /// Whether `task` can be inserted as it is.
    ///
    /// # Errors
    /// [`StoreError::Refused`] with what [`Store::insert`] would refuse it for.
    pub fn check_new(&self, task: &Task) -> Result<(), StoreError> {
        encode_new(task, None).map(drop)
    }

    /// Takes one of `places` places for descendants of `root` for `task`, which is about to be inserted: the one that it has
    /// already, where an earlier try took one. The place is free again when the task is gone, or an hour after a task that
    /// was never inserted took it.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn take_place(
        &self,
        task: &Task,
        root: TaskId,
        places: u64,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        let keys: Vec<String> = (0..places).map(|number| key_of(root, number)).collect();
        let holders = self.holders_of(&keys).await?;
        let is_its_own = holders.contains(&Some(task.id));
        if !is_its_own && self.descendants(root).await? >= places {
            return Ok(Taken::Full);
        }
        let there = self.tasks_there(holders.iter().flatten().copied()).await?;
        // Its own first, then one that no task has, then those of tasks that are not there.
        let rank = |holder: Option<TaskId>| match holder {
            Some(holder) if holder == task.id => Some(0),
            None => Some(1),
            Some(holder) => (!there.contains(&holder)).then_some(2),
        };
        let mut candidates: Vec<(u8, &String)> =
            keys.iter().zip(holders).filter_map(|(key, holder)| Some((rank(holder)?, key))).collect();
        candidates.sort_by_key(|(rank, _)| *rank);
        let mut is_settled = true;
        for (_, key) in candidates {
            let claimant = Task::new(task.id, "", now).with(|task| {
                task.spec.unique_key = Some(key.clone());
                task.spec.unique_for = UniqueFor::Forever;
            });
            match self.take_key(&claimant, now).await? {
                KeyOf::Itself => return Ok(Taken::Place(TreePlace { key: key.clone(), task: task.id })),
                KeyOf::Other(_) => {}
                KeyOf::Unsettled => is_settled = false,
            }
        }
        Ok(if is_settled { Taken::Full } else { Taken::Unsettled })
    }

    /// Whether `task` has a place for descendants of `root`, however many places there are now.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn has_place(&self, task: TaskId, root: TaskId) -> Result<bool, StoreError> {
        let keys: Vec<String> = (0..MAX_TREE_TASKS).map(|number| key_of(root, number)).collect();
        Ok(self.holders_of(&keys).await?.contains(&Some(task)))
    }

    /// Gives back the place of a task that was not inserted after all.
    ///
    /// # Errors
    /// A failure of the store; the place is free an hour later then.
    pub async fn give_back(&self, place: &TreePlace) -> Result<(), StoreError> {
        self.release_key(&place.key, place.task).await
    }

    /// Keeps `place` for the task `to`, under whose id the task that took the place was inserted.
    ///
    /// # Errors
    /// A failure of the store; calling again is safe.
    pub async fn pass_place(&self, place: &TreePlace, to: TaskId, now: Timestamp) -> Result<(), StoreError> {
        self.pass_key(&place.key, place.task, to, now).await
    }

    /// Those of `ids` that are there.
    async fn tasks_there(&self, ids: impl Iterator<Item = TaskId>) -> Result<HashSet<TaskId>, StoreError> {
        let ids: Vec<_> = ids.map(point_id).collect();
        if ids.is_empty() {
            return Ok(HashSet::new());
        }
        let points = self.inner.get("tree_members", Collection::Tasks, ids, Part::Nothing).await?;
        Ok(points.iter().filter_map(|point| task_id(point.id.as_ref())).collect())
    }

    /// Where those of `ids` stand that are there, and whose they are.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn standings(&self, ids: &[TaskId]) -> Result<HashMap<TaskId, Standing>, StoreError> {
        let mut found = HashMap::with_capacity(ids.len());
        let mut unread = Vec::new();
        for page in ids.chunks(IDS) {
            let ids = page.iter().copied().map(point_id).collect();
            let part = Part::Only(&["status", "user", ADMITTED]);
            for point in self.inner.get("standings", Collection::Tasks, ids, part).await? {
                let Some(id) = task_id(point.id.as_ref()) else { continue };
                let payload = from_payload(point.payload);
                let text = |key: &str| payload.get(key).and_then(Value::as_str);
                // What admission has yet to read may come to something else than it says.
                let status = text("status").filter(|_| is_admitted(&payload)).and_then(|text| text.parse().ok());
                if status.is_none() {
                    unread.push(id);
                }
                found.insert(id, Standing { status, user: text("user").map(str::to_owned) });
            }
        }
        for task in self.tasks_by_id(&unread).await? {
            found.insert(task.id, Standing { status: None, user: task.spec.user });
        }
        Ok(found)
    }

    /// The first tasks of the trees that those of `ids` belong to which are there.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn roots_of(&self, ids: &[TaskId]) -> Result<HashMap<TaskId, TaskId>, StoreError> {
        let mut roots = HashMap::with_capacity(ids.len());
        for page in ids.chunks(IDS) {
            let ids = page.iter().copied().map(point_id).collect();
            for point in self.inner.get("roots", Collection::Tasks, ids, Part::Only(&[TREE_ROOT])).await? {
                let Some(id) = task_id(point.id.as_ref()) else { continue };
                let root = point.payload.get(TREE_ROOT).and_then(|value| value.as_str());
                roots.insert(id, root.and_then(|root| root.parse().ok()).unwrap_or(id));
            }
        }
        Ok(roots)
    }

    /// Those of `roots` whose tree has a task that has not ended.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn living_trees(&self, roots: &[TaskId]) -> Result<HashSet<TaskId>, StoreError> {
        let mut living = HashSet::new();
        for page in roots.chunks(IDS) {
            let names: Vec<String> = page.iter().map(ToString::to_string).collect();
            let mut filter = Filter::must([statuses(|status| !status.is_terminal())]);
            filter
                .should
                .extend([Condition::matches(TREE_ROOT, names), Condition::has_id(page.iter().copied().map(point_id))]);
            let part = Part::Only(&[TREE_ROOT]);
            let points = self.inner.scroll_all("living_trees", Collection::Tasks, filter, part, MAX_LIVING).await?;
            living.extend(points.into_iter().filter_map(|point| {
                let root = point.payload.get(TREE_ROOT).and_then(|value| value.as_str()).cloned();
                root.or_else(|| point.id.as_ref().map(show_id))?.parse::<TaskId>().ok()
            }));
        }
        Ok(living)
    }
}

/// The key of a place: longer than the unique key of a task may be, so that no client takes places or forges one by a key of
/// its own.
fn key_of(root: TaskId, number: u64) -> String {
    format!("place {number:0>width$} in the tree of {root}", width = *SpecLimits::STORED.unique_key_chars.end())
}

/// What looking for a place comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A place was free.
    Place(TreePlace),
    /// There are as many tasks as places.
    Full,
    /// All places are taken, some for tasks that are yet to be inserted: later one of them may be free.
    Unsettled,
}

/// A place among the tasks of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreePlace {
    key: String,
    task: TaskId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_task_has_the_key_of_a_place_as_its_unique_key() {
        let now = Timestamp::from_millis(0);
        for (root, number) in [(TaskId::Number(7), 0), (TaskId::fresh(), 9_999)] {
            let task = Task::new(root, "a goal", now).with(|task| task.spec.unique_key = Some(key_of(root, number)));
            let invalid = task.validate(&SpecLimits::STORED).expect_err("too long");
            assert!(invalid.0.iter().any(|fault| fault.field == "unique_key"), "{invalid}");
        }
        assert_ne!(key_of(TaskId::Number(7), 1), key_of(TaskId::Number(7), 11));
    }
}
