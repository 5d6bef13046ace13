//! Steering a whole qron through its API, over real sockets and the real engine: pauses, approvals, changes of many
//! tasks, retention.

#[path = "../api/app.rs"]
#[allow(dead_code, clippy::allow_attributes, reason = "shared with the tests of the API")]
mod app;
#[path = "../common/mod.rs"]
mod common;

mod approving;
mod bulk;
mod killed;
mod pausing;
mod retention;
mod support;
