//! Schedules: firing times against an independent computation, and firing over the real engine.

#[path = "../common/mod.rs"]
mod common;

mod asking;
mod defining;
mod dst;
mod firing;
mod overlap;
mod support;
