//! The real binary, as people and scripts use it.

mod demo;
mod program;
mod round_trip;
mod start;
mod steering;
mod usage;
