//! Schedules: firing times against an independent computation, and firing over the real engine.

mod asking;
mod defining;
mod dst;
mod firing;
mod overlap;
mod planning;
mod refused;
mod support;
