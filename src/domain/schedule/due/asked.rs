//! What people ask of a schedule: a firing now, and its end.

use super::overlap::drain_regular;
use super::{Cause, MAX_QUEUE, Skip, SkipReason, Start};
use crate::domain::id::TaskId;
use crate::domain::schedule::{Announced, Overlap, Progress, Queued, Schedule};
use crate::domain::time::Timestamp;

/// What a firing that somebody wants now comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// It starts; the schedule is then this far.
    Start(Start, Progress),
    /// It waits; the schedule is then this far, and firings that it replaces are skipped.
    Wait(Progress, Vec<Skip>),
    /// The task of an earlier one is alive.
    Overlaps(TaskId),
    /// It would wait, but too many do already.
    Full,
}

/// What a firing at `now` that somebody wants comes to, if it is to become the task `id`; `alive` are the tasks of the
/// schedule that have not ended.
#[must_use]
pub fn trigger(schedule: &Schedule, id: TaskId, now: Timestamp, overlap: Overlap, alive: &[TaskId]) -> Trigger {
    let mut progress = schedule.progress.clone();
    match (overlap, alive.first()) {
        (Overlap::Allow, _) | (_, None) => {
            progress.count_fired(Some(now), id);
            progress.announced = Some(Announced { at: now, task: id });
            Trigger::Start(Start { at: now, id, cause: Cause::Triggered }, progress)
        }
        (Overlap::Skip, Some(first)) => Trigger::Overlaps(*first),
        (Overlap::Queue | Overlap::CancelPrevious, Some(_)) => {
            let replaced = match overlap {
                Overlap::CancelPrevious => drain_regular(&schedule.id, &mut progress),
                _ => Vec::new(),
            };
            if progress.queue.len() >= MAX_QUEUE {
                return Trigger::Full;
            }
            let overlap = (overlap != schedule.definition.overlap).then_some(overlap);
            progress.queue.push(Queued { at: now, backfill: false, overlap, task: Some(id) });
            progress.skipped = progress.skipped.saturating_add(replaced.len() as u64);
            Trigger::Wait(progress, replaced)
        }
    }
}

/// What is recorded of the firings that wait when their schedule is removed.
#[must_use]
pub fn removed(schedule: &Schedule) -> Vec<Skip> {
    let skip = |waiting: &Queued| Skip { at: waiting.at, id: waiting.id(&schedule.id), reason: SkipReason::Removed };
    schedule.progress.queue.iter().map(skip).collect()
}
