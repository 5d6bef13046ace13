//! Retention: removes what has ended and is old, and never what is still referenced.
//!
//! A round walks through the collections once, a page at a time with rests in between, so that it takes a small share
//! of the store however much there is. A task goes first, by a write that leaves it alone when somebody wants it done
//! again; what belonged to it follows. What a crash leaves behind in between belongs to a task that is gone, and is found
//! by the next round. Rounds of several replicas do each other no harm.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::clock;
use crate::domain::event::Event;
use crate::domain::id::TaskId;
use crate::domain::task::TaskStatus;
use crate::domain::time::Timestamp;
use crate::store::{Belonging, Ended, Left, StoreError};
use crate::telemetry::metrics;
use crate::worker::execute::Worker;

/// Points looked at in one go.
const PAGE: u32 = 512;
/// A page that removed something is followed by a rest this many times as long, one that did not by a shorter one.
const REST: u32 = 3;
/// What belongs to no task that exists is left for this long, in milliseconds: its task may be on its way.
const ORPHAN_GRACE_MS: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;

/// Section `[retention]` of the configuration. Ages in days; 0 keeps for ever, or as long as the task.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSettings {
    /// Tasks that completed.
    pub completed_days: u32,
    /// Tasks that failed, with their dead letters.
    pub failed_days: u32,
    /// Tasks that were cancelled.
    pub cancelled_days: u32,
    /// Tasks that were blocked.
    pub blocked_days: u32,
    /// Firings that were skipped.
    pub skipped_days: u32,
    /// Attempts of tasks that are kept.
    pub attempts_days: u32,
    /// Documents of tasks that are kept.
    pub artifacts_days: u32,
    /// Events.
    pub events_days: u32,
    /// Memories.
    pub memory_days: u32,
    /// Time between two rounds, in seconds; 0 for never.
    pub every_s: u64,
}

impl RetentionSettings {
    /// Tasks of this status that ended then or earlier go; `None` when they are kept for ever.
    fn limit(&self, status: TaskStatus, now: Timestamp) -> Option<Timestamp> {
        let days = match status {
            TaskStatus::Completed => self.completed_days,
            TaskStatus::Failed => self.failed_days,
            TaskStatus::Cancelled => self.cancelled_days,
            TaskStatus::Blocked => self.blocked_days,
            TaskStatus::Skipped => self.skipped_days,
            TaskStatus::Waiting | TaskStatus::Pending | TaskStatus::Running | TaskStatus::AwaitingApproval => 0,
        };
        days_before(days, now)
    }
}

fn days_before(days: u32, now: Timestamp) -> Option<Timestamp> {
    (days > 0).then(|| now.plus_millis(-(i64::from(days) * DAY_MS)))
}

/// What a round removed, or would have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Tasks.
    pub tasks: u64,
    /// Records of attempts.
    pub attempts: u64,
    /// Events.
    pub events: u64,
    /// Documents.
    pub artifacts: u64,
    /// Memories.
    pub memories: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

impl Pruned {
    fn parts(&self) -> [(&'static str, u64); 6] {
        [
            ("tasks", self.tasks),
            ("attempts", self.attempts),
            ("events", self.events),
            ("artifacts", self.artifacts),
            ("memories", self.memories),
            ("dead_letters", self.dead_letters),
        ]
    }

    fn count(&mut self, kind: Belonging) -> &mut u64 {
        match kind {
            Belonging::Attempt => &mut self.attempts,
            Belonging::Artifact => &mut self.artifacts,
            Belonging::Event => &mut self.events,
            Belonging::Memory => &mut self.memories,
        }
    }
}

/// Removes what retention does not keep.
pub(crate) struct Pruner {
    worker: Arc<Worker>,
    keep: RetentionSettings,
}

/// A round under way.
struct Round<'a> {
    pruner: &'a Pruner,
    now: Timestamp,
    dry_run: bool,
    pruned: Pruned,
    /// Tasks that would be gone, where nothing is removed.
    gone: HashSet<TaskId>,
}

impl Pruner {
    pub(crate) const fn new(worker: Arc<Worker>, keep: RetentionSettings) -> Self {
        Self { worker, keep }
    }

    /// One round at `now`; with `dry_run` it only counts.
    pub(crate) async fn run_once(&self, now: Timestamp, dry_run: bool) -> Result<Pruned, StoreError> {
        let mut round = Round { pruner: self, now, dry_run, pruned: Pruned::default(), gone: HashSet::new() };
        let walked = round.walk().await;
        if !dry_run {
            self.tell(&round.pruned, now);
        }
        walked.map(|()| round.pruned)
    }

    fn tell(&self, pruned: &Pruned, now: Timestamp) {
        for (what, count) in pruned.parts() {
            metrics::PRUNED.add(count, [what]);
        }
        metrics::LAST_PRUNE.set_time(clock::now(), []);
        let parts: Vec<String> = pruned
            .parts()
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(what, count)| format!("{count} {}", what.replace('_', " ")))
            .collect();
        if parts.is_empty() {
            return;
        }
        let message = format!("removed what retention does not keep: {}", parts.join(", "));
        tracing::info!("{message}");
        let event = Event::new("pruned", message, now);
        self.worker.events.note(pruned.parts().into_iter().fold(event, |event, (what, count)| event.with(what, count)));
    }
}

impl Round<'_> {
    async fn walk(&mut self) -> Result<(), StoreError> {
        self.walk_tasks().await?;
        let keep = &self.pruner.keep;
        let (attempts, artifacts) = (keep.attempts_days, keep.artifacts_days);
        self.walk_belongings(Belonging::Attempt, days_before(attempts, self.now)).await?;
        self.walk_belongings(Belonging::Artifact, days_before(artifacts, self.now)).await?;
        self.remove_old_events().await?;
        self.walk_memories().await
    }

    async fn walk_tasks(&mut self) -> Result<(), StoreError> {
        let mut after: Option<String> = None;
        loop {
            let began = Instant::now();
            let page = self.pruner.worker.store.ended_tasks(PAGE, after.as_deref()).await?;
            let removed = self.prune_tasks(page.items).await?;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
            self.rest(began, removed).await;
        }
    }

    async fn prune_tasks(&mut self, ended: Vec<Ended>) -> Result<bool, StoreError> {
        let store = &self.pruner.worker.store;
        let is_old =
            |task: &Ended| self.pruner.keep.limit(task.status, self.now).is_some_and(|limit| task.finished_at <= limit);
        let mut old: Vec<Ended> = ended.into_iter().filter(is_old).collect();
        if old.is_empty() {
            return Ok(false);
        }
        let ids: Vec<TaskId> = old.iter().map(|task| task.id).collect();
        let needed = store.depended_on(&ids).await?;
        let mut last = HashMap::new();
        let schedules: HashSet<String> = old.iter().filter_map(|task| task.schedule_id.clone()).collect();
        let schedules: Vec<String> = schedules.into_iter().collect();
        // Those that were removed have no use for their last firing.
        for schedule in store.schedules_by_id(&schedules).await? {
            let firing = store.last_firing(&schedule.id).await?;
            last.insert(schedule.id, [firing, schedule.progress.last_task]);
        }
        let is_last = |task: &Ended| {
            let firings = task.schedule_id.as_ref().and_then(|schedule| last.get(schedule));
            firings.is_some_and(|firings| firings.contains(&Some(task.id)))
        };
        old.retain(|task| !needed.contains(&task.id) && !is_last(task));
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

    /// Removes what belonged to tasks that are gone.
    async fn clear_up_after(&mut self, gone: &[TaskId]) -> Result<(), StoreError> {
        let store = &self.pruner.worker.store;
        let events_since = days_before(self.pruner.keep.events_days, self.now);
        for kind in [Belonging::Attempt, Belonging::Artifact, Belonging::Event] {
            if self.dry_run {
                // Older events are counted with those of their age.
                let since = events_since.filter(|_| kind == Belonging::Event);
                *self.pruned.count(kind) += store.count_left_of(kind, gone, since).await?;
                continue;
            }
            loop {
                let left = store.left_of(kind, gone).await?;
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
            store.purge_dead_letters(gone).await?
        };
        Ok(())
    }

    /// Removes what belongs to no task that exists, and what belongs to tasks that ended before `limit`.
    async fn walk_belongings(&mut self, kind: Belonging, limit: Option<Timestamp>) -> Result<(), StoreError> {
        let store = &self.pruner.worker.store;
        let orphaned = self.now.plus_millis(-ORPHAN_GRACE_MS);
        let mut after: Option<String> = None;
        loop {
            let began = Instant::now();
            let page = store.left(kind, PAGE, after.as_deref()).await?;
            let tasks: HashSet<TaskId> = page.items.iter().filter_map(|left| left.task).collect();
            let tasks: Vec<TaskId> = tasks.into_iter().collect();
            let ends = store.ends_of(&tasks).await?;
            let is_over = |left: &Left| match left.task.map(|task| (task, ends.get(&task))) {
                Some((task, _)) if self.gone.contains(&task) => false,
                Some((_, Some(end))) => end.zip(limit).is_some_and(|(end, limit)| end <= limit),
                _ => left.at <= orphaned,
            };
            let over: Vec<Left> = page.items.into_iter().filter(is_over).collect();
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

    async fn remove_old_events(&mut self) -> Result<(), StoreError> {
        let store = &self.pruner.worker.store;
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
            store.remove_left(Belonging::Event, &old).await?;
            self.pruned.events += old.len() as u64;
            self.rest(began, true).await;
        }
    }

    async fn walk_memories(&mut self) -> Result<(), StoreError> {
        let store = &self.pruner.worker.store;
        let Some(limit) = days_before(self.pruner.keep.memory_days, self.now) else { return Ok(()) };
        let mut after: Option<String> = None;
        loop {
            let began = Instant::now();
            let page = store.left(Belonging::Memory, PAGE, after.as_deref()).await?;
            let old: Vec<Left> = page.items.into_iter().filter(|left| left.at <= limit).collect();
            if !self.dry_run {
                store.remove_left(Belonging::Memory, &old).await?;
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
