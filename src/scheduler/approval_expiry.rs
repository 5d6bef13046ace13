//! Denies what no person decided in time.

use std::time::Duration;

use crate::background::{Background, BackgroundJob};
use crate::clock;
use crate::domain::task::{Task, TaskEvent};
use crate::domain::time::Timestamp;
use crate::queue::{Actor, Queue};
use crate::store::{StoreError, TransitionError};

/// Time between two looks at approvals.
const PERIOD: Duration = Duration::from_secs(2);
/// Tasks read at once.
const BATCH: u32 = 256;

/// Expires approvals.
pub(crate) struct ApprovalExpiry {
    pub(crate) queue: Queue,
}

impl ApprovalExpiry {
    /// Works until the drain begins. A run that has begun ends, so that what it denies is also counted.
    pub(crate) async fn run(self, background: Background) {
        let job = BackgroundJob::every(PERIOD, "approvals", "expired approvals could not be refused; trying again");
        background.repeat(job.carried_through(), || async { self.run_once(clock::now()).await.map(|_| ()) }).await;
    }

    /// Denies every approval whose time is over, and returns how many tasks it was.
    pub(crate) async fn run_once(&self, now: Timestamp) -> Result<usize, StoreError> {
        let (mut expired, mut after) = (0, None::<String>);
        loop {
            let page = self.queue.store().overdue_approvals(now, BATCH, after.as_deref()).await?;
            let is_overdue = |task: &Task| {
                task.state.approvals.iter().any(|approval| approval.is_open() && approval.has_expired(now))
            };
            for task in page.items.into_iter().filter(is_overdue) {
                match self.queue.change_once(&task, &TaskEvent::ApprovalExpired, Actor::Scheduler, now).await {
                    Ok(_) => expired += 1,
                    Err(TransitionError::Store(error)) if error.is_transient() => return Err(error),
                    Err(TransitionError::Store(error)) => {
                        tracing::error!(task = %task.id, %error, "an approval whose time is over could not be refused");
                    }
                    // A person decided at the same moment, or another replica was faster.
                    Err(_) => {}
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(expired);
            }
        }
    }
}
