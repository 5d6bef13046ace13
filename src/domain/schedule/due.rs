//! Decides about firings whose time has come: which start, which wait, which are skipped and why.
//!
//! The decision depends on the stored schedule and on the alive tasks of earlier firings. Replicas that decide at the
//! same time may disagree about an overlap; the first to announce a start wins. `due_firings` sorts the firings,
//! `firing_planner` applies the overlap policy, `manual_trigger` handles requests of people, and `firing_plan` is the
//! result.

use super::timing::InvalidTiming;
use super::{BACKFILL, CAUGHT_UP, FIRE_CAUSE, QueuedFiring, Schedule, ScheduleProgress};
use crate::domain::id::TaskId;
use crate::domain::task::Task;
use crate::domain::time::Timestamp;
use due_firings::DueFirings;
pub use firing_plan::{FiringCause, FiringPlan, FiringSkip, FiringStart, SkipReason, SkipSummary};
use firing_planner::FiringPlanner;

mod due_firings;
mod firing_plan;
mod firing_planner;
pub mod manual_trigger;
#[cfg(test)]
mod tests;

/// Most firings handled, and so caught up with, at once; of more, the latest.
pub const MAX_FIRINGS: usize = 1_000;
/// Most firings that wait at once.
pub const MAX_QUEUE: usize = 1_000;
/// Most skipped firings recorded one by one at once; of more, the latest, and the rest in one record together.
pub const MAX_RECORDED: usize = 100;
/// Largest count of firings in a summary.
pub const MAX_COUNTED: usize = 10_000;
/// Largest plausible distance of a cursor ahead of the clock, in milliseconds. A larger one means that a clock was
/// wrong.
const MAX_AHEAD_MS: i64 = 3_600_000;

/// A task of a schedule that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveTask {
    /// Its id.
    pub id: TaskId,
    /// Whether it makes up for a missed firing: caught up with, or backfilled.
    pub makes_up: bool,
}

impl LiveTask {
    /// Reads what the planner needs from `task`.
    #[must_use]
    pub fn of(task: &Task) -> Self {
        let cause = task.spec.context.get(FIRE_CAUSE).and_then(|cause| cause.as_str());
        Self { id: task.id, makes_up: cause.is_some_and(|cause| [CAUGHT_UP, BACKFILL].contains(&cause)) }
    }
}

/// When a schedule must be checked next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextCheck {
    /// Now: a firing is due.
    Now,
    /// When one of its tasks ends: firings wait for that.
    Queue,
    /// At its next firing.
    At(Timestamp),
    /// Never, unless the schedule is changed.
    Never,
}

/// When `schedule` must be checked next, seen at `now`.
///
/// # Errors
/// [`InvalidTiming`] when the schedule cannot be read.
pub fn next_check(schedule: &Schedule, now: Timestamp) -> Result<NextCheck, InvalidTiming> {
    if schedule.progress.queue.iter().any(|waiting| is_served(schedule, waiting)) {
        return Ok(NextCheck::Queue);
    }
    if schedule.paused {
        return Ok(NextCheck::Never);
    }
    if is_ahead(&schedule.progress, now) {
        return Ok(NextCheck::Now);
    }
    Ok(match schedule.timing()?.next(schedule.progress.cursor) {
        Some(next) if next <= now => NextCheck::Now,
        Some(next) => NextCheck::At(next),
        None => NextCheck::Never,
    })
}

/// Whether a waiting firing may start: while its schedule is paused, only a manual one may.
const fn is_served(schedule: &Schedule, waiting: &QueuedFiring) -> bool {
    !schedule.paused || waiting.is_manual()
}

/// Whether the cursor is so far ahead of the clock that one of the two must have been wrong.
fn is_ahead(progress: &ScheduleProgress, now: Timestamp) -> bool {
    progress.cursor > now.plus_millis(MAX_AHEAD_MS)
}

/// Decides about all firings up to `now`. A firing that is more than `missed_after_ms` late counts as missed; `alive`
/// are the tasks of the schedule that have not ended.
///
/// # Errors
/// [`InvalidTiming`] when the schedule cannot be read.
pub fn plan_firings(
    schedule: &Schedule,
    now: Timestamp,
    missed_after_ms: u64,
    alive: &[LiveTask],
) -> Result<FiringPlan, InvalidTiming> {
    let mut planner = FiringPlanner::new(schedule, alive);
    if !schedule.paused {
        if is_ahead(&schedule.progress, now) {
            // A clock was wrong for a while. A firing that already has its task does not fire again.
            planner.plan.progress.cursor = now;
            planner.plan.cursor_was_ahead = true;
        }
        let cursor = planner.plan.progress.cursor;
        let due = DueFirings::sorted(&schedule.definition, &schedule.timing()?, cursor, now, missed_after_ms);
        if let Some(DueFirings { wanted, recorded, summary, last }) = due {
            planner.plan.progress.cursor = last;
            planner.plan.summary = summary;
            for at in recorded {
                planner.skip(at, SkipReason::Missed);
            }
            for (at, cause) in wanted {
                planner.admit(at, cause, at == last);
            }
        }
    }
    planner.serve_queue();
    planner.announce(now);
    Ok(planner.plan)
}
