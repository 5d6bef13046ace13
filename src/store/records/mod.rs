//! What the store keeps beside the tasks: one file for each kind of record.
//!
//! - `attempts`, `dead_letters`, `events`, `artifacts`, `memory` with its `bm25`: what runs of tasks leave;
//! - `schedules`, `replicas`, `pauses`, `state` (keys that tasks share), `limits` (accounts of the fleet), `identity` of the store;
//! - `retention`: finding and removing what is old.

pub(super) mod artifacts;
pub(super) mod attempts;
pub(super) mod bm25;
pub(super) mod dead_letters;
mod events;
mod identity;
mod limits;
pub(super) mod memory;
mod pauses;
mod replicas;
pub(super) mod retention;
pub(super) mod schedules;
mod state;
