//! The wall clock. Every other file takes `now` as an argument, or asks here.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::domain::time::Timestamp;

/// What the clock of this host is wrong by, as far as is known, in milliseconds.
static CORRECTION_MS: AtomicI64 = AtomicI64::new(0);

/// The current time: that of this host, corrected where the other replicas agree that it is wrong.
#[must_use]
pub fn now() -> Timestamp {
    host_now().plus_millis(CORRECTION_MS.load(Ordering::Relaxed))
}

/// The current time as this host has it, right or wrong; for those who compare clocks.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn host_now() -> Timestamp {
    Timestamp::from_millis(chrono::Utc::now().timestamp_millis())
}

/// Corrects the clock of this process by so many milliseconds; gives back the correction before.
pub(crate) fn correct(by_ms: i64) -> i64 {
    CORRECTION_MS.swap(by_ms, Ordering::Relaxed)
}
