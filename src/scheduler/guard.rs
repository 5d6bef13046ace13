//! Keeps a loop alive: a panic in one round is an error of that round, not the silent end of the loop.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

/// Runs one round of `part`; `None` when it panicked.
pub(crate) async fn guarded<T>(part: &'static str, round: impl Future<Output = T>) -> Option<T> {
    match AssertUnwindSafe(round).catch_unwind().await {
        Ok(value) => Some(value),
        Err(panic) => {
            let message = panic
                .downcast_ref::<&str>()
                .map(ToString::to_string)
                .or_else(|| panic.downcast_ref::<String>().cloned());
            tracing::error!(part, message, "a part of the scheduler panicked and goes on");
            None
        }
    }
}
