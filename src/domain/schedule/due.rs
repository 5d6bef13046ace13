//! What becomes of the firings that have come: which start, which wait, which are skipped and why.
//!
//! Decided from the schedule as it is stored and the tasks of earlier firings that are alive. Replicas that decide at
//! the same time may differ about an overlap; the first one to announce what starts settles it. `missed` sorts what has
//! come, `overlap` finds out what may start, `asked` is what people ask for, and `round` is what is to be done.

use super::timing::InvalidTiming;
use super::{BACKFILL, CAUGHT_UP, FIRE_CAUSE, Progress, Queued, Schedule};
use crate::domain::id::TaskId;
use crate::domain::task::Task;
use crate::domain::time::Timestamp;
use missed::Come;
use overlap::Draft;
pub use round::{Cause, Round, Skip, SkipReason, Start, Summary};

pub mod asked;
mod missed;
mod overlap;
mod round;
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
pub struct Alive {
    /// Its id.
    pub id: TaskId,
    /// Whether it makes up for a firing that did not run in its time.
    pub makes_up: bool,
}

impl Alive {
    /// What `task` is to the firings of its schedule.
    #[must_use]
    pub fn of(task: &Task) -> Self {
        let cause = task.context.get(FIRE_CAUSE).and_then(|cause| cause.as_str());
        Self { id: task.id, makes_up: cause.is_some_and(|cause| [CAUGHT_UP, BACKFILL].contains(&cause)) }
    }
}

/// When something may come of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
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
pub fn look(schedule: &Schedule, now: Timestamp) -> Result<Look, InvalidTiming> {
    if schedule.progress.queue.iter().any(|waiting| is_served(schedule, waiting)) {
        return Ok(Look::Queue);
    }
    if schedule.paused {
        return Ok(Look::Never);
    }
    if is_ahead(&schedule.progress, now) {
        return Ok(Look::Now);
    }
    Ok(match schedule.timing()?.next(schedule.progress.cursor) {
        Some(next) if next <= now => Look::Now,
        Some(next) => Look::At(next),
        None => Look::Never,
    })
}

/// Whether a firing that waits may start: while its schedule is paused, only what somebody asked for does.
const fn is_served(schedule: &Schedule, waiting: &Queued) -> bool {
    !schedule.paused || waiting.is_asked()
}

/// Whether the cursor is so far ahead of the clock that one of the two must have been wrong.
fn is_ahead(progress: &Progress, now: Timestamp) -> bool {
    progress.cursor > now.plus_millis(MAX_AHEAD_MS)
}

/// Decides what becomes of the firings up to `now`. Those more than `missed_after_ms` late count as missed; `alive`
/// are the tasks of the schedule that have not ended.
///
/// # Errors
/// [`InvalidTiming`] when the schedule cannot be read.
pub fn decide(
    schedule: &Schedule,
    now: Timestamp,
    missed_after_ms: u64,
    alive: &[Alive],
) -> Result<Round, InvalidTiming> {
    let mut draft = Draft::new(schedule, alive);
    if !schedule.paused {
        if is_ahead(&schedule.progress, now) {
            // Some clock was wrong for a while. What has fired in that time has its task and does not fire again.
            draft.round.progress.cursor = now;
            draft.round.set_back = true;
        }
        let cursor = draft.round.progress.cursor;
        let come = Come::sorted(&schedule.definition, &schedule.timing()?, cursor, now, missed_after_ms);
        if let Some(Come { wanted, recorded, summary, last }) = come {
            draft.round.progress.cursor = last;
            draft.round.summary = summary;
            for at in recorded {
                draft.skip(at, SkipReason::Missed);
            }
            for (at, cause) in wanted {
                draft.admit(at, cause, at == last);
            }
        }
    }
    draft.serve_queue();
    draft.announce(now);
    Ok(draft.round)
}
