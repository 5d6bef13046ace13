//! A run of retention: walks through the collections once, a page at a time with rests in between.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::{Pruned, Pruner, days_before};
use crate::domain::id::TaskId;
use crate::domain::task::TaskStatus;
use crate::domain::time::Timestamp;
use crate::store::{Ended, OwnedKind, OwnedRecord, StoreError};

/// Points looked at in one go.
const PAGE: u32 = 512;
/// Folders whose tasks are looked for in one go.
const FOLDERS: usize = 512;
/// A page that removed something is followed by a rest this many times as long, one that did not by a shorter one.
const REST: u32 = 3;
/// What belongs to no task that exists is left for this long, in milliseconds: its task may be on its way.
const ORPHAN_GRACE_MS: i64 = 3_600_000;

/// A run under way.
pub(super) struct PruneRun<'a> {
    pruner: &'a Pruner,
    now: Timestamp,
    dry_run: bool,
    /// What was removed so far, or would have been.
    pub(super) pruned: Pruned,
    /// Tasks that would be gone, where nothing is removed.
    gone: HashSet<TaskId>,
}

impl<'a> PruneRun<'a> {
    pub(super) fn new(pruner: &'a Pruner, now: Timestamp, dry_run: bool) -> Self {
        Self { pruner, now, dry_run, pruned: Pruned::default(), gone: HashSet::new() }
    }

    /// Walks through all that retention looks at.
    pub(super) async fn walk(&mut self) -> Result<(), StoreError> {
        self.walk_tasks().await?;
        self.walk_folders().await?;
        let keep = &self.pruner.keep;
        let (attempts, artifacts) = (keep.attempts_days, keep.artifacts_days);
        self.walk_belongings(OwnedKind::Attempt, days_before(attempts, self.now)).await?;
        self.walk_belongings(OwnedKind::Artifact, days_before(artifacts, self.now)).await?;
        self.remove_old_events().await?;
        self.walk_memories().await
    }

    async fn walk_tasks(&mut self) -> Result<(), StoreError> {
        let mut after: Option<String> = None;
        loop {
            let began = Instant::now();
            let page = self.pruner.queue.store().ended_tasks(PAGE, after.as_deref()).await?;
            let removed = self.prune_tasks(page.items).await?;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
            self.rest(began, removed).await;
        }
    }

    /// Removes the folders on this replica whose tasks are gone, whichever replica removed them. A folder is made while
    /// its task exists, so that one seen before its task is looked for belongs to a task that was removed.
    pub(super) async fn walk_folders(&mut self) -> Result<(), StoreError> {
        if self.dry_run {
            return Ok(());
        }
        let (agent, store) = (&self.pruner.agent, self.pruner.queue.store());
        let folders = match agent.folders().await {
            Ok(folders) => folders,
            Err(failure) => {
                tracing::warn!(%failure, "the folders of removed tasks could not be removed; the next run tries again");
                return Ok(());
            }
        };
        for tasks in folders.chunks(FOLDERS) {
            let began = Instant::now();
            let known = store.statuses(tasks).await?;
            let gone: Vec<TaskId> = tasks.iter().copied().filter(|task| !known.contains_key(task)).collect();
            if gone.is_empty() {
                continue;
            }
            let count = gone.len();
            match agent.remove_folders(gone).await {
                Ok(()) => tracing::info!(count, "removed the folders of removed tasks"),
                Err(failure) => {
                    tracing::warn!(%failure, "a folder of a removed task could not be removed; the next run tries again");
                }
            }
            self.rest(began, true).await;
        }
        Ok(())
    }

    async fn prune_tasks(&mut self, ended: Vec<Ended>) -> Result<bool, StoreError> {
        let store = self.pruner.queue.store();
        let is_old =
            |task: &Ended| self.pruner.keep.limit(task.status, self.now).is_some_and(|limit| task.finished_at <= limit);
        let mut old: Vec<Ended> = ended.into_iter().filter(is_old).collect();
        if old.is_empty() {
            return Ok(false);
        }
        let ids: Vec<TaskId> = old.iter().map(|task| task.id).collect();
        let needed = store.depended_on(&ids).await?;
        let last = self.last_firings(&old).await?;
        let roots: HashSet<TaskId> = old.iter().map(|task| task.root).collect();
        // What they have spent counts for the budget of their tree.
        let living = store.living_trees(&roots.into_iter().collect::<Vec<_>>()).await?;
        old.retain(|task| !needed.contains(&task.id) && !last.contains(&task.id) && !living.contains(&task.root));
        let mut by_status: HashMap<TaskStatus, Vec<TaskId>> = HashMap::new();
        for task in old {
            by_status.entry(task.status).or_default().push(task.id);
        }
        let mut removed = false;
        for (status, ids) in by_status {
            let Some(limit) = self.pruner.keep.limit(status, self.now) else { continue };
            let gone = if self.dry_run { ids } else { store.remove_ended(&ids, status, limit).await? };
            self.pruned.tasks += gone.len() as u64;
            removed |= !gone.is_empty();
            self.clear_up_after(&gone).await?;
        }
        Ok(removed)
    }

    /// The last firings of the schedules that `tasks` are of, as far as there are such schedules still.
    async fn last_firings(&self, tasks: &[Ended]) -> Result<HashSet<TaskId>, StoreError> {
        let store = self.pruner.queue.store();
        let schedules: HashSet<String> = tasks.iter().filter_map(|task| task.schedule_id.clone()).collect();
        let schedules: Vec<String> = schedules.into_iter().collect();
        let mut last = HashSet::new();
        for schedule in store.schedules_by_id(&schedules).await? {
            last.extend(store.last_firing(&schedule.id).await?);
            last.extend(schedule.progress.last_task);
        }
        Ok(last)
    }

    /// Removes what belonged to tasks that are gone.
    async fn clear_up_after(&mut self, gone: &[TaskId]) -> Result<(), StoreError> {
        if gone.is_empty() {
            return Ok(());
        }
        let store = self.pruner.queue.store();
        let events_since = days_before(self.pruner.keep.events_days, self.now);
        for kind in [OwnedKind::Attempt, OwnedKind::Artifact, OwnedKind::Event] {
            if self.dry_run {
                // Older events are counted with those of their age.
                let since = events_since.filter(|_| kind == OwnedKind::Event);
                *self.pruned.count(kind) += store.count_left_of(kind, gone, since).await?;
                continue;
            }
            loop {
                let left = store.owned_records(kind, gone).await?;
                if left.is_empty() {
                    break;
                }
                store.remove_left(kind, &left).await?;
                *self.pruned.count(kind) += left.len() as u64;
            }
        }
        self.pruned.dead_letters += if self.dry_run {
            self.gone.extend(gone);
            store.count_dead_letters_of(gone).await?
        } else {
            self.pruner.queue.purge_dead_letters(gone).await?
        };
        Ok(())
    }

    /// Removes what belongs to no task that exists, and what belongs to tasks that ended before `limit`.
    async fn walk_belongings(&mut self, kind: OwnedKind, limit: Option<Timestamp>) -> Result<(), StoreError> {
        let store = self.pruner.queue.store();
        let orphaned = self.now.plus_millis(-ORPHAN_GRACE_MS);
        let mut after: Option<String> = None;
        loop {
            let began = Instant::now();
            let page = store.left(kind, PAGE, after.as_deref()).await?;
            let tasks: HashSet<TaskId> = page.items.iter().filter_map(|left| left.task).collect();
            let tasks: Vec<TaskId> = tasks.into_iter().collect();
            let ends = store.ends_of(&tasks).await?;
            let is_over = |left: &OwnedRecord| match left.task.map(|task| (task, ends.get(&task))) {
                Some((task, _)) if self.gone.contains(&task) => false,
                Some((_, Some(end))) => end.zip(limit).is_some_and(|(end, limit)| end <= limit),
                _ => left.at <= orphaned,
            };
            let mut over: Vec<OwnedRecord> = page.items.into_iter().filter(is_over).collect();
            if kind == OwnedKind::Attempt {
                let counted = self.counted_by_trees(&over).await?;
                over.retain(|left| left.task.is_none_or(|task| !counted.contains(&task)));
            }
            if !self.dry_run {
                store.remove_left(kind, &over).await?;
            }
            *self.pruned.count(kind) += over.len() as u64;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
            self.rest(began, !over.is_empty()).await;
        }
    }

    /// The tasks of these attempts whose tree has a task that has not ended: the attempts count for its budget.
    async fn counted_by_trees(&self, attempts: &[OwnedRecord]) -> Result<HashSet<TaskId>, StoreError> {
        let tasks: HashSet<TaskId> = attempts.iter().filter_map(|left| left.task).collect();
        if tasks.is_empty() {
            return Ok(HashSet::new());
        }
        let store = self.pruner.queue.store();
        let mut roots = store.roots_of(&tasks.into_iter().collect::<Vec<_>>()).await?;
        // Of a task that is gone its attempts still tell.
        for (task, root) in attempts.iter().filter_map(|left| Some((left.task?, left.tree_root))) {
            roots.entry(task).or_insert(root.unwrap_or(task));
        }
        let living = store.living_trees(&roots.values().copied().collect::<Vec<_>>()).await?;
        Ok(roots.into_iter().filter(|(_, root)| living.contains(root)).map(|(task, _)| task).collect())
    }

    async fn remove_old_events(&mut self) -> Result<(), StoreError> {
        let store = self.pruner.queue.store();
        let Some(limit) = days_before(self.pruner.keep.events_days, self.now) else { return Ok(()) };
        if self.dry_run {
            self.pruned.events += store.count_events_before(limit).await?;
            return Ok(());
        }
        loop {
            let began = Instant::now();
            let old = store.events_before(limit).await?;
            if old.is_empty() {
                return Ok(());
            }
            store.remove_left(OwnedKind::Event, &old).await?;
            self.pruned.events += old.len() as u64;
            self.rest(began, true).await;
        }
    }

    async fn walk_memories(&mut self) -> Result<(), StoreError> {
        let store = self.pruner.queue.store();
        let Some(limit) = days_before(self.pruner.keep.memory_days, self.now) else { return Ok(()) };
        let mut after: Option<String> = None;
        loop {
            let began = Instant::now();
            let page = store.left(OwnedKind::Memory, PAGE, after.as_deref()).await?;
            let old: Vec<OwnedRecord> = page.items.into_iter().filter(|left| left.at <= limit).collect();
            if !self.dry_run {
                store.remove_left(OwnedKind::Memory, &old).await?;
            }
            self.pruned.memories += old.len() as u64;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
            self.rest(began, !old.is_empty()).await;
        }
    }

    /// Leaves the store to others for a while.
    async fn rest(&self, began: Instant, removed: bool) {
        let took = began.elapsed().min(Duration::from_secs(1));
        tokio::time::sleep(if removed && !self.dry_run { took * REST } else { took }).await;
    }
}
