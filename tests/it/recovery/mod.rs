//! Faults of whole processes: the real program, killed and stopped while it works.

mod support;

mod crash;
mod replicas;
mod sigterm;
