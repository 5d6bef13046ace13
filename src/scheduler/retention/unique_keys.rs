//! Removes the unique keys whose task has been pruned.

use std::time::Duration;

use crate::background::{Background, BackgroundJob};
use crate::clock;
use crate::queue::Queue;
use crate::store::StoreError;

/// Time between two runs. Several replicas may do the same; nothing depends on when.
const PERIOD: Duration = Duration::from_hours(1);

/// Prunes keys every hour, until the drain begins.
pub(in crate::scheduler) async fn prune(queue: Queue, background: Background) {
    let job = BackgroundJob::every(PERIOD, "keys", "the unique keys could not be pruned; trying again in an hour");
    let work = || async {
        let pruned = queue.store().prune_keys(clock::now()).await?;
        tracing::debug!(pruned, "unique keys without a task went");
        Ok::<_, StoreError>(())
    };
    background.repeat(job, work).await;
}
