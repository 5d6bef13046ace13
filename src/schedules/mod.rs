//! Schedules: what makes tasks recur.
//!
//! - [`service`]: creates, edits, pauses, resumes and removes schedules; beside it [`trigger`] and [`backfill`];
//! - `runner`: fires what is due, in every replica; `advance`: what becomes of one schedule then; `firing`: firings as tasks;
//! - `live_tasks`: tasks of a schedule that have not ended; `outcome`: how its firings ended; `history`: events and metrics.

mod advance;
pub mod backfill;
mod firing;
mod history;
mod live_tasks;
mod outcome;
pub(crate) mod runner;
pub mod service;
pub mod trigger;
