//! Waiting for a store that does not answer.

use std::time::Duration;

use super::{StoreError, TransitionError};
use crate::domain::retry::RetryPolicy;

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

impl MaybeTransient for TransitionError {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_transient())
    }
}
