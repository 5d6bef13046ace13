//! Obeys what people have put on hold: pauses are read from the store again and again, so that every replica knows of
//! them within a second, also of those made before it started.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::background::{Background, BackgroundJob, guarded};
use crate::queue::Queue;
use crate::store::StoreError;
use crate::worker::slots::Slots;

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// What the log says of a look that fails.
const FAILURE: &str = "the pauses could not be read: those that were known last hold";

/// Holds back the agents of this replica that are paused.
pub(crate) struct Control {
    pub(crate) queue: Queue,
    pub(crate) slots: Arc<Slots>,
    /// Makes the look happen now.
    pub(crate) poke: Arc<Notify>,
}

impl Control {
    /// Looks again and again until the drain begins.
    pub(crate) async fn run(self, background: Background) {
        let job = BackgroundJob::every(PERIOD, "control", FAILURE).or_on(&self.poke);
        background.repeat(job, || self.run_once()).await;
    }

    /// Looks once. While the store does not answer, what was known last holds.
    pub(crate) async fn look(&self) {
        if let Some(Err(error)) = guarded("control", self.run_once()).await {
            tracing::warn!(%error, "{FAILURE}");
        }
    }

    async fn run_once(&self) -> Result<(), StoreError> {
        let pauses = self.queue.store().pauses().await?;
        let freed = self.slots.hold_back(|agent| pauses.iter().any(|pause| pause.covers(agent)));
        if freed {
            self.queue.signals().work.notify_one();
        }
        Ok(())
    }
}
