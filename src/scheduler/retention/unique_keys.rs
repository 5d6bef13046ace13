//! Housekeeping of unique keys: those whose task has been pruned go, now and then.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::background::run_guarded;
use crate::clock;
use crate::queue::Queue;

/// Time between two rounds. Several replicas may do the same; nothing depends on when.
const PERIOD: Duration = Duration::from_hours(1);

/// Prunes keys every hour, until the drain begins.
pub(in crate::scheduler) async fn prune(queue: Queue, drain: CancellationToken) {
    loop {
        tokio::select! {
            () = drain.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        if let Some(pruned) = run_guarded("keys", &drain, queue.store().prune_keys(clock::now())).await {
            tracing::debug!(pruned, "unique keys without a task went");
        }
    }
}
