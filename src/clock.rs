//! The wall clock. Every other file takes `now` as an argument, or asks here.

use crate::domain::time::Timestamp;

pub mod zones;

/// The current time of this host.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn now() -> Timestamp {
    Timestamp::from_millis(chrono::Utc::now().timestamp_millis())
}
