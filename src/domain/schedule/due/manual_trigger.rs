//! Manual requests about a schedule: a firing now, and its removal.

use super::firing_planner::drain_regular;
use super::{FiringCause, FiringSkip, FiringStart, MAX_QUEUE, SkipReason};
use crate::domain::id::TaskId;
use crate::domain::schedule::{AnnouncedFiring, Overlap, QueuedFiring, Schedule, ScheduleProgress};
use crate::domain::time::Timestamp;

/// Result of a manual trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TriggerOutcome {
    /// The firing starts; the schedule has this progress then.
    Start(FiringStart, ScheduleProgress),
    /// The firing waits; the schedule has this progress then, and the firings that it replaces are skipped.
    Wait(ScheduleProgress, Vec<FiringSkip>),
    /// It is refused: the task of an earlier firing is alive.
    Overlaps(TaskId),
    /// It is refused: it would wait, and the queue of the schedule is full.
    Full,
}

/// Decides about a manual firing at `now` that would become the task `id`; `alive` are the tasks of the schedule that
/// have not ended.
#[must_use]
pub fn trigger(schedule: &Schedule, id: TaskId, now: Timestamp, overlap: Overlap, alive: &[TaskId]) -> TriggerOutcome {
    let mut progress = schedule.progress.clone();
    match (overlap, alive.first()) {
        (Overlap::Allow, _) | (_, None) => {
            progress.count_fired(Some(now), id);
            progress.announced = Some(AnnouncedFiring { at: now, task: id });
            TriggerOutcome::Start(FiringStart { at: now, id, cause: FiringCause::Triggered }, progress)
        }
        (Overlap::Skip, Some(first)) => TriggerOutcome::Overlaps(*first),
        (Overlap::Queue | Overlap::CancelPrevious, Some(_)) => {
            let replaced = match overlap {
                Overlap::CancelPrevious => drain_regular(&schedule.id, &mut progress),
                _ => Vec::new(),
            };
            if progress.queue.len() >= MAX_QUEUE {
                return TriggerOutcome::Full;
            }
            let overlap = (overlap != schedule.definition.overlap).then_some(overlap);
            progress.queue.push(QueuedFiring { at: now, backfill: false, overlap, task: Some(id) });
            progress.skipped = progress.skipped.saturating_add(replaced.len() as u64);
            TriggerOutcome::Wait(progress, replaced)
        }
    }
}

/// The waiting firings of a schedule that is removed, as skipped.
#[must_use]
pub fn removed(schedule: &Schedule) -> Vec<FiringSkip> {
    let skip = |waiting: &QueuedFiring| FiringSkip {
        at: waiting.at,
        id: waiting.id(&schedule.id),
        reason: SkipReason::Removed,
    };
    schedule.progress.queue.iter().map(skip).collect()
}
