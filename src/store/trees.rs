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

use super::codec::{ADMITTED, TREE_ROOT, is_admitted};
use super::collections::Collection;
use super::requests::{Part, readable, show_id};
use super::retention::statuses;
use super::unique::KeyOf;
use super::values::{from_payload, point_id, task_id};
use super::{Store, StoreError, TaskFilter};
use crate::domain::budget::Spent;
use crate::domain::id::TaskId;
use crate::domain::task::{Task, TaskStatus};
use crate::domain::time::Timestamp;
use crate::domain::tree::TreeSpent;
use crate::domain::unique::UniqueFor;

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
    #[serde(default)]
    spent: Spent,
    #[serde(default)]
    carried: Spent,
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
    /// A failure of the store.
    pub async fn tree_spent(&self, root: TaskId, except: Uuid) -> Result<TreeSpent, StoreError> {
        let name = root.to_string();
        let of_tree =
            Filter::should([Condition::matches(TREE_ROOT, name.clone()), Condition::matches("task_id", name)]);
        let part = Part::Only(&["id", "spent", "carried"]);
        let points = self.inner.scroll_all("tree_spent", Collection::Attempts, of_tree, part, MAX_ATTEMPTS).await?;
        let accounts: Vec<Account> = readable(Collection::Attempts, points);
        let others = accounts.iter().filter(|account| account.id != except);
        let spent = others.map(|account| TreeSpent::of_run(&account.spent, &account.carried));
        Ok(spent.fold(TreeSpent::default(), TreeSpent::and))
    }

    /// Descendants of `root` that there are.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn descendants(&self, root: TaskId) -> Result<u64, StoreError> {
        self.count_tasks(&TaskFilter { tree_root: Some(root), ..TaskFilter::default() }).await
    }

    /// Takes one of `places` places for descendants of `root` for `task`, which is about to be inserted; `None` when all are
    /// taken. The place is free again when the task is gone, or an hour after a task that was never inserted took it.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn take_place(
        &self,
        task: &Task,
        root: TaskId,
        places: u64,
        now: Timestamp,
    ) -> Result<Option<TreePlace>, StoreError> {
        let taken = self.descendants(root).await?;
        if taken >= places {
            return Ok(None);
        }
        // Mostly the first one that is tried is free. Only where tasks are gone, or others are at it, it is another.
        for number in (taken..places).chain(0..taken) {
            let key = key_of(root, number);
            let claimant =
                Task { unique_key: Some(key.clone()), unique_for: UniqueFor::Forever, ..Task::new(task.id, "", now) };
            if self.take_key(&claimant, now).await? == KeyOf::Itself {
                return Ok(Some(TreePlace { key, task: task.id }));
            }
        }
        Ok(None)
    }

    /// Whether `task` has one of `places` places for descendants of `root`.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn has_place(&self, task: TaskId, root: TaskId, places: u64) -> Result<bool, StoreError> {
        let keys: Vec<String> = (0..places).map(|number| key_of(root, number)).collect();
        for page in keys.chunks(IDS) {
            if self.holders_of(page).await?.contains(&task) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Gives back the place of a task that was not inserted after all.
    ///
    /// # Errors
    /// A failure of the store; the place is free an hour later then.
    pub async fn give_back(&self, place: &TreePlace) -> Result<(), StoreError> {
        self.release_key(&place.key, place.task).await
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
            found.insert(task.id, Standing { status: None, user: task.user });
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

fn key_of(root: TaskId, number: u64) -> String {
    format!("tree:{root}:{number}")
}

/// A place among the tasks of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreePlace {
    key: String,
    task: TaskId,
}
