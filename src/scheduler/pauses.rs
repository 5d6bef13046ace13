//! Obeys what people have put on hold: pauses are read from the store again and again, so that every replica knows of
//! them within a second, also of those made before it started.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::background::run_guarded;
use crate::queue::Queue;
use crate::store::StoreError;
use crate::worker::slots::Slots;

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Holds back the agents of this replica that are paused.
pub(crate) struct Control {
    pub(crate) queue: Queue,
    pub(crate) slots: Arc<Slots>,
    /// Makes the look happen now.
    pub(crate) poke: Arc<Notify>,
}

impl Control {
    /// Looks again and again until the drain begins.
    pub(crate) async fn run(self, drain: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = drain.cancelled() => return,
                () = self.poke.notified() => {}
                () = tokio::time::sleep(PERIOD) => {}
            }
            self.look(&drain).await;
        }
    }

    /// Looks once. While the store does not answer, what was known last holds.
    pub(crate) async fn look(&self, drain: &CancellationToken) {
        run_guarded("control", drain, self.run_once()).await;
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
