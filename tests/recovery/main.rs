//! Faults of whole processes: the real program, killed and stopped while it works.

#[path = "../common/mod.rs"]
mod common;
mod support;

mod crash;
mod replicas;
mod sigterm;
