//! Carries out claimed tasks: capacity, time limits, cancellation, outcome, heartbeat, drain.
//!
//! - [`slots`]: how much each agent of this replica may take on;
//! - [`execute`]: one claimed task, from its checkpoint to the end of its run; [`report`]: what is written then;
//! - [`recorder`]: the traces of a run; [`events`]: the history, written in batches;
//! - [`lease`]: whether this replica still counts as alive; [`heartbeat`]: what keeps it so;
//! - [`postpone`]: tasks whose model is away; [`model_watch`]: whether it is back;
//! - [`signals`]: what workers tell the scheduler, which this module does not know.

use std::time::Duration;

use serde::Deserialize;

use crate::domain::retry::RetryPolicy;
use crate::store::StoreError;

pub(crate) mod events;
pub(crate) mod execute;
pub(crate) mod heartbeat;
pub(crate) mod lease;
pub(crate) mod model_watch;
mod postpone;
pub(crate) mod recorder;
mod report;
pub(crate) mod signals;
pub(crate) mod slots;

pub(crate) use report::dead_letter;

/// Section `[worker]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// A replica whose heartbeat stands still this long is dead, in milliseconds.
    pub lease_ms: u64,
    /// Time between heartbeats, in milliseconds.
    pub heartbeat_ms: u64,
    /// How long running tasks may go on after SIGTERM, in seconds.
    pub grace_s: u64,
    /// How often running tasks are checked for requests to cancel them, in milliseconds.
    pub cancel_poll_ms: u64,
}

/// Waits between tries while the store does not answer.
pub(crate) const STORE_RETRY: RetryPolicy =
    RetryPolicy { base_ms: 100, growth: 2, max_ms: 2_000, max_retry_after_ms: 2_000 };

/// Repeats `operation` while the store does not answer. It must be idempotent. Never gives up by itself: the
/// caller drops the future when it no longer cares.
pub(crate) async fn persist<T, E, F>(what: &str, mut operation: impl FnMut() -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
    E: std::fmt::Display + MaybeTransient,
{
    let mut tries = 0;
    loop {
        match operation().await {
            Err(error) if error.may_pass() => {
                tries += 1;
                let wait = Duration::from_millis(STORE_RETRY.delay(tries));
                tracing::warn!(%error, tries, "could not {what}; trying again in {wait:?}");
                tokio::time::sleep(wait).await;
            }
            answer => return answer,
        }
    }
}

/// Whether the same operation may succeed later.
pub(crate) trait MaybeTransient {
    /// Whether it may.
    fn may_pass(&self) -> bool;
}

impl MaybeTransient for StoreError {
    fn may_pass(&self) -> bool {
        self.is_transient()
    }
}

impl MaybeTransient for crate::store::TransitionError {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_transient())
    }
}
