//! Steering a whole qron through its API, over real sockets and the real engine: pauses, approvals, changes of many
//! tasks, retention.

mod approving;
mod bulk;
#[cfg(feature = "embedded")]
mod killed;
mod pausing;
mod retention;
mod support;
