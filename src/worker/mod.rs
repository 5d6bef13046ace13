//! Carries out claimed tasks: capacity, time limits, cancellation, outcome, heartbeat, drain.
//!
//! - [`context`]: what the parts of this replica share; [`slots`]: how much each of its agents may take on;
//!   [`running`]: which tasks run here;
//! - [`execute`]: one claimed task, from its checkpoint to the end of its run; [`report`]: what is written then;
//! - [`recorder`]: the traces of a run;
//! - [`lease`]: whether this replica still counts as alive; [`heartbeat`]: what keeps it so;
//! - [`postpone`]: tasks whose model is away; [`model_watch`]: whether it is back.

use serde::Deserialize;

pub(crate) use crate::store::{STORE_RETRY, persist};

pub(crate) mod context;
pub(crate) mod execute;
pub(crate) mod heartbeat;
pub(crate) mod lease;
pub(crate) mod model_watch;
mod postpone;
pub(crate) mod recorder;
mod report;
pub(crate) mod running;
pub(crate) mod slots;

/// Time between two looks for requests to cancel what runs here, in milliseconds: one query a second, and only while
/// something runs. Requests that this replica receives itself take effect at once.
const CANCEL_POLL_MS: u64 = 1_000;

const fn cancel_poll_ms() -> u64 {
    CANCEL_POLL_MS
}

/// Section `[worker]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// A replica whose heartbeat stands still this long is dead, in milliseconds.
    pub lease_ms: u64,
    /// Time between heartbeats, in milliseconds.
    pub heartbeat_ms: u64,
    /// How long after SIGTERM the process ends, in seconds. Running tasks are handed back 4 seconds before that. With less than 8,
    /// they are handed back after half of it, and the process ends at most 4 seconds after that.
    pub grace_s: u64,
    /// Time between two looks for requests to cancel what runs here, in milliseconds: [`CANCEL_POLL_MS`]. Not part of the
    /// configuration; tests change it.
    #[serde(skip, default = "cancel_poll_ms")]
    pub cancel_poll_ms: u64,
}
