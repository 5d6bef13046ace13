//! What becomes of the firings that have come: which start, which wait, which are skipped and why.
//!
//! Decided from the schedule as it is stored and the tasks of earlier firings that are alive. Replicas that decide at
//! the same time may differ about an overlap; the first one to announce what starts settles it. `missed` sorts what has
//! come, `overlap` finds out what may start, `asked` is what people ask for, and `plan` is what is to be done.

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

/// Most firings looked at, and so caught up with, at once; of more, the latest.
pub const MAX_FIRINGS: usize = 1_000;
/// Most firings that wait at once.
pub const MAX_QUEUE: usize = 1_000;
/// Most skipped firings recorded one by one at once; of more, the latest, and the rest in one record together.
pub const MAX_RECORDED: usize = 100;
/// Further than this the firings of a summary are not counted.
pub const MAX_COUNTED: usize = 10_000;
/// A cursor further ahead than this is no matter of clocks that differ a little, in milliseconds.
const MAX_AHEAD_MS: i64 = 3_600_000;

/// A task of a schedule that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveTask {
    /// Its id.
    pub id: TaskId,
    /// Whether it makes up for a firing that did not run in its time.
    pub makes_up: bool,
}

impl LiveTask {
    /// What `task` is to the firings of its schedule.
    #[must_use]
    pub fn of(task: &Task) -> Self {
        let cause = task.context.get(FIRE_CAUSE).and_then(|cause| cause.as_str());
        Self { id: task.id, makes_up: cause.is_some_and(|cause| [CAUGHT_UP, BACKFILL].contains(&cause)) }
    }
}

/// When something may come of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextCheck {
    /// Now: a firing has come.
    Now,
    /// When tasks have ended: firings wait for that.
    Queue,
    /// At its next firing.
    At(Timestamp),
    /// Never, as it is.
    Never,
}

/// When something may come of `schedule`, at `now`.
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

/// Whether a firing that waits may start: while its schedule is paused, only what somebody asked for does.
const fn is_served(schedule: &Schedule, waiting: &QueuedFiring) -> bool {
    !schedule.paused || waiting.is_manual()
}

/// Whether the cursor is so far ahead of the clock that one of the two must have been wrong.
fn is_ahead(progress: &ScheduleProgress, now: Timestamp) -> bool {
    progress.cursor > now.plus_millis(MAX_AHEAD_MS)
}

/// Decides what becomes of the firings up to `now`. Those more than `missed_after_ms` late count as missed; `alive`
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
            // Some clock was wrong for a while. What has fired in that time has its task and does not fire again.
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
