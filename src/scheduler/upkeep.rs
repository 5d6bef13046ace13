//! What has to be done now and then: approvals that nobody gave in time, and retention.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::guard::{guarded, round};
use super::prune::{Pruner, RetentionSettings};
use crate::clock;
use crate::domain::approval::Verdict;
use crate::domain::event::{Event, Level};
use crate::domain::task::{Task, TaskEvent, TaskStatus};
use crate::domain::time::Timestamp;
use crate::store::{StoreError, TransitionError};
use crate::telemetry::metrics;
use crate::worker::execute::Worker;

/// Time between two looks at approvals.
const PERIOD: Duration = Duration::from_secs(2);
/// The first round of retention comes this long after the start at the latest, so that a process which never runs for
/// long gets to it too.
const FIRST_PRUNE: Duration = Duration::from_mins(2);
/// Approvals handled at once.
const BATCH: u32 = 256;

/// Looks after what no event announces.
pub(crate) struct Upkeep {
    pub(crate) worker: Arc<Worker>,
    pub(crate) retention: RetentionSettings,
}

impl Upkeep {
    /// Works until the drain begins.
    pub(crate) async fn run(self, drain: CancellationToken) {
        let every = Duration::from_secs(self.retention.every_s);
        let mut next_prune = Instant::now() + every.min(FIRST_PRUNE);
        loop {
            tokio::select! {
                biased;
                () = drain.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
            if let Some(Err(error)) = guarded("approvals", self.expire_approvals(clock::now())).await {
                tracing::warn!(%error, "approvals whose time is over could not be refused");
            }
            if every.is_zero() || Instant::now() < next_prune {
                continue;
            }
            next_prune = Instant::now() + every;
            round("retention", &drain, self.prune()).await;
        }
    }

    /// Refuses what nobody decided in time; gives back how many tasks it was.
    pub(crate) async fn expire_approvals(&self, now: Timestamp) -> Result<usize, StoreError> {
        let (mut expired, mut after) = (0, None::<String>);
        loop {
            let page = self.worker.store.overdue_approvals(now, BATCH, after.as_deref()).await?;
            let is_overdue = |task: &Task| task.approvals.iter().any(|asked| asked.is_open() && asked.is_over(now));
            for task in page.items.into_iter().filter(is_overdue) {
                match self.worker.store.transition(&task, &TaskEvent::ApprovalExpired, now).await {
                    Ok(next) => {
                        expired += 1;
                        self.after_expiry(&next, now);
                    }
                    Err(TransitionError::Store(error)) if error.is_transient() => return Err(error),
                    Err(TransitionError::Store(error)) => {
                        tracing::error!(task = %task.id, %error, "what nobody decided in time could not be refused");
                    }
                    // Somebody was faster.
                    Err(_) => {}
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(expired);
            }
        }
    }

    fn after_expiry(&self, task: &Task, now: Timestamp) {
        metrics::APPROVALS_DECIDED.inc([Verdict::Expired.as_str()]);
        let event = Event::new("approval_expired", "nobody decided in time, so it is refused", now);
        self.worker.events.note(event.level(Level::Warn).task(task.id));
        match task.status {
            TaskStatus::Cancelled => {
                metrics::TASKS_CANCELLED.inc([]);
                self.worker.signals.ended(task.id, false);
            }
            _ => self.worker.signals.inserted(),
        }
    }

    /// One round, if this replica is the one to make it: the first by name of those that stay. The others remove the folders
    /// that only they have.
    async fn prune(&self) -> Result<(), StoreError> {
        let replicas = self.worker.store.replicas().await?;
        let pruner = Pruner::new(Arc::clone(&self.worker), self.retention.clone());
        let first = replicas.iter().filter(|replica| !replica.draining).map(|replica| &replica.id).min();
        if first.is_some_and(|first| *first != self.worker.replica_id) {
            return pruner.remove_folders(clock::now()).await;
        }
        pruner.run_once(clock::now(), false).await.map(|_| ())
    }
}
