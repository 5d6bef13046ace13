//! The API of a whole qron, over real sockets and the real engine.

mod bounds;
mod door;
#[cfg(feature = "embedded")]
mod embedded;
mod files;
mod heads;
mod lifecycle;
mod model_away;
mod quotas;
mod readiness;
mod reference;
mod refusals;
mod times;
