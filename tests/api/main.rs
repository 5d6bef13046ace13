//! The API of a whole qron, over real sockets and the real engine.

#[path = "../common/mod.rs"]
mod common;

mod app;
mod bounds;
mod door;
mod embedded;
mod heads;
mod lifecycle;
mod model_away;
mod quotas;
mod readiness;
mod refusals;
mod times;
