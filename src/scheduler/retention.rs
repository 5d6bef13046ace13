//! Retention: removes what has ended and is old, and never what is still referenced.
//!
//! A run walks through the collections once, a page at a time with rests in between, so that it takes a small share
//! of the store however much there is. A task goes first, by a write that leaves it alone when somebody wants it done
//! again; what belonged to it follows. What a crash leaves behind in between belongs to a task that is gone, and is found
//! by the next run. Runs of several replicas do each other no harm.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::agent::Agent;
use crate::background::{Background, BackgroundJob};
use crate::clock;
use crate::domain::event::{Event, EventKind};
use crate::domain::task::TaskStatus;
use crate::domain::time::Timestamp;
use crate::queue::Queue;
use crate::store::{OwnedKind, StoreError};
use crate::telemetry::metrics;
use prune_run::PruneRun;

mod prune_run;
pub(super) mod unique_keys;

const DAY_MS: i64 = 86_400_000;
/// The first run of retention comes this long after the start at the latest, so that a process which never runs for
/// long gets to it too.
const FIRST_RUN: Duration = Duration::from_mins(2);

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
    /// Artifacts of tasks that are kept.
    pub artifacts_days: u32,
    /// Events.
    pub events_days: u32,
    /// Memories.
    pub memory_days: u32,
    /// Time between two runs, in seconds; 0 for never.
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

/// What a run removed, or would have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Pruned {
    /// Tasks.
    pub tasks: u64,
    /// Records of attempts.
    pub attempts: u64,
    /// Events.
    pub events: u64,
    /// Artifacts.
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

    fn count(&mut self, kind: OwnedKind) -> &mut u64 {
        match kind {
            OwnedKind::Attempt => &mut self.attempts,
            OwnedKind::Artifact => &mut self.artifacts,
            OwnedKind::Event => &mut self.events,
            OwnedKind::Memory => &mut self.memories,
        }
    }
}

/// Removes what retention does not keep.
#[derive(Clone)]
pub(crate) struct Pruner {
    pub(crate) queue: Queue,
    /// Removes the folders of tasks.
    pub(crate) agent: Agent,
    pub(crate) keep: RetentionSettings,
}

impl Pruner {
    /// Prunes whenever a run is due, until the drain begins.
    pub(crate) async fn run(self, background: Background) {
        let every = Duration::from_secs(self.keep.every_s);
        if every.is_zero() {
            return;
        }
        let job = BackgroundJob::every(every, "retention", "retention failed; its next run tries again");
        background.repeat(job.first_after(every.min(FIRST_RUN)), || self.take_turn()).await;
    }

    /// One run, if this replica is the one to make it: the first by name of those that stay. The others remove the folders
    /// that only they have.
    async fn take_turn(&self) -> Result<(), StoreError> {
        let replicas = self.queue.store().replicas().await?;
        let first = replicas.iter().filter(|replica| !replica.draining).map(|replica| replica.id.as_str()).min();
        if first.is_some_and(|first| first != self.queue.replica_id()) {
            return self.remove_folders(clock::now()).await;
        }
        self.run_once(clock::now(), false).await.map(|_| ())
    }

    /// One run at `now`; with `dry_run` it only counts.
    pub(crate) async fn run_once(&self, now: Timestamp, dry_run: bool) -> Result<Pruned, StoreError> {
        let mut run = PruneRun::new(self, now, dry_run);
        let walked = run.walk().await;
        if !dry_run {
            self.report(&run.pruned, now);
        }
        walked.map(|()| run.pruned)
    }

    /// Removes the folders on this replica whose tasks are gone.
    pub(crate) async fn remove_folders(&self, now: Timestamp) -> Result<(), StoreError> {
        PruneRun::new(self, now, false).walk_folders().await
    }

    fn report(&self, pruned: &Pruned, now: Timestamp) {
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
        let event = Event::new(EventKind::Pruned, message, now);
        self.queue
            .history()
            .note(pruned.parts().into_iter().fold(event, |event, (what, count)| event.with(what, count)));
    }
}
