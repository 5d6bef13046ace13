//! Keeps a loop alive: a panic in one round is an error of that round, not the silent end of the loop.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

/// Runs one round of `part` that can be left at any point, which it is when the drain begins. A round that fails is told
/// in the log, and it is the next one that tries again. `None` unless it came to its end.
pub(crate) async fn run_guarded<T, E: Display>(
    part: &'static str,
    drain: &CancellationToken,
    work: impl Future<Output = Result<T, E>>,
) -> Option<T> {
    tokio::select! {
        () = drain.cancelled() => None,
        done = guarded(part, work) => match done? {
            Ok(value) => Some(value),
            Err(error) => {
                tracing::warn!(part, %error, "a background job failed; its next run tries again");
                None
            }
        },
    }
}

/// Runs one round of `part`; `None` when it panicked.
pub(crate) async fn guarded<T>(part: &'static str, round: impl Future<Output = T>) -> Option<T> {
    match AssertUnwindSafe(round).catch_unwind().await {
        Ok(value) => Some(value),
        Err(panic) => {
            let message = panic
                .downcast_ref::<&str>()
                .map(ToString::to_string)
                .or_else(|| panic.downcast_ref::<String>().cloned());
            tracing::error!(part, message, "a background job of the scheduler panicked; its next run goes on");
            None
        }
    }
}
