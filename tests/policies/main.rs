//! The rules of a shared queue: unique keys, dependencies, limits and fairness, through the store, the runner and the
//! API.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    clippy::print_stdout,
    reason = "helpers of other areas, used in part"
)]

#[path = "../api/app.rs"]
mod app;
#[path = "../common/mod.rs"]
mod common;
#[path = "../runner/support.rs"]
mod support;

mod dependencies;
mod edges;
mod owasp;
mod sharing;
mod trees;
mod unique;
