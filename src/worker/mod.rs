//! Carries out claimed tasks: capacity, time limits, cancellation, outcome, heartbeat, drain.

use serde::Deserialize;

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
