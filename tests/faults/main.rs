//! What may go wrong. Storms: the real program in several processes over one store, with faults of processes, network, disk and clock, and
//! a checker that compares what was acknowledged with what is there afterwards.
//!
//! The short forms run with the other tests. The long ones print their figures, on a machine that does nothing else:
//! `cargo test --test faults -- --ignored --nocapture --test-threads 1`
#![expect(clippy::print_stdout, reason = "the long forms print their figures")]

#[path = "../it/support/mod.rs"]
mod support;

mod abuse;
mod checker;
mod clocks;
mod effects;
mod fleet;
mod leases;
mod network;
mod schedules;
mod stage;
mod store;
mod workers;
