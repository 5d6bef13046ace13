//! Schedules: what makes tasks recur.
//!
//! - [`service`]: creates, edits, pauses, resumes and removes schedules; beside it [`trigger`] and [`backfill`];
//! - `plan`: the plan that the runs of a schedule begin with;
//! - `runner`: fires what is due, in every replica; `advance`: what becomes of one schedule then; `firing`: firings as tasks;
//! - `live_tasks`: tasks of a schedule that have not ended; `outcome`: how its firings ended; `history`: events and metrics.

mod advance;
pub mod backfill;
mod firing;
mod history;
mod live_tasks;
mod outcome;
mod plan;
pub(crate) mod runner;
pub mod service;
pub mod trigger;
