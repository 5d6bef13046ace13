//! Applies the overlap policy: which due firings start, which wait for others to end, and which are skipped.

use super::{FiringCause, FiringPlan, FiringSkip, FiringStart, LiveTask, MAX_QUEUE, SkipReason, is_served};
use crate::domain::id::TaskId;
use crate::domain::schedule::{AnnouncedFiring, Overlap, QueuedFiring, Schedule, ScheduleProgress, firing_id};
use crate::domain::time::Timestamp;

/// Builds a [`FiringPlan`] firing by firing.
pub(super) struct FiringPlanner<'a> {
    schedule: &'a Schedule,
    alive: &'a [LiveTask],
    /// Whether a task of the schedule is alive, or will be.
    is_busy: bool,
    /// Whether every one of those tasks makes up for a missed firing.
    only_makes_up: bool,
    pub(super) plan: FiringPlan,
}

impl<'a> FiringPlanner<'a> {
    pub(super) fn new(schedule: &'a Schedule, alive: &'a [LiveTask]) -> Self {
        let only_makes_up = alive.iter().all(|task| task.makes_up);
        Self {
            schedule,
            alive,
            is_busy: !alive.is_empty(),
            only_makes_up,
            plan: FiringPlan::new(schedule.progress.clone()),
        }
    }

    /// Decides about a regular firing of the schedule; `is_last` means that it is the latest due firing.
    pub(super) fn admit(&mut self, at: Timestamp, cause: FiringCause, is_last: bool) {
        // Another replica inserted this firing and died before it saved the schedule's cursor.
        if self.has_begun(firing_id(&self.schedule.id, at)) {
            return self.start(at, cause);
        }
        match self.schedule.definition.overlap {
            Overlap::Skip if self.is_busy || self.has_regular_waiting() => self.skip_or_wait(at, cause),
            Overlap::Queue if self.is_busy || !self.plan.progress.queue.is_empty() => self.wait(at),
            Overlap::CancelPrevious if is_last => self.replace_waiting(at, cause),
            Overlap::CancelPrevious => self.skip(at, SkipReason::Replaced),
            Overlap::Allow | Overlap::Skip | Overlap::Queue => self.start(at, cause),
        }
    }

    /// Skips the firing. A firing that is on time waits, instead, when only make-up tasks are in its way: one such
    /// firing at most.
    fn skip_or_wait(&mut self, at: Timestamp, cause: FiringCause) {
        if self.only_makes_up && cause == FiringCause::OnTime && !self.has_regular_waiting() {
            self.wait(at);
        } else {
            self.skip(at, SkipReason::Overlap);
        }
    }

    /// Replaces the waiting firings.
    fn replace_waiting(&mut self, at: Timestamp, cause: FiringCause) {
        let replaced = drain_regular(&self.schedule.id, &mut self.plan.progress);
        self.plan.skips.extend(replaced);
        if self.is_busy { self.wait(at) } else { self.start(at, cause) }
    }

    /// Whether the task of the firing already exists or is announced.
    fn has_begun(&self, id: TaskId) -> bool {
        self.alive.iter().any(|task| task.id == id)
    }

    /// Whether a regular firing waits.
    fn has_regular_waiting(&self) -> bool {
        self.plan.progress.queue.iter().any(|waiting| !waiting.is_manual())
    }

    fn start(&mut self, at: Timestamp, cause: FiringCause) {
        self.is_busy = true;
        self.only_makes_up &= cause.makes_up();
        self.plan.starts.push(FiringStart { at, id: firing_id(&self.schedule.id, at), cause });
    }

    pub(super) fn skip(&mut self, at: Timestamp, reason: SkipReason) {
        self.plan.skips.push(FiringSkip { at, id: firing_id(&self.schedule.id, at), reason });
    }

    fn wait(&mut self, at: Timestamp) {
        if self.plan.progress.queue.len() >= MAX_QUEUE {
            self.skip(at, SkipReason::QueueFull);
        } else {
            self.plan.progress.queue.push(QueuedFiring { at, backfill: false, overlap: None, task: None });
        }
    }

    /// Starts waiting firings as far as the overlap policy allows.
    pub(super) fn serve_queue(&mut self) {
        while let Some((place, next)) = self.next_in_queue() {
            let id = next.id(&self.schedule.id);
            // Another replica may have inserted the task and died before it removed the firing from the queue.
            if self.is_busy && self.overlap_of(&next) != Overlap::Allow && !self.has_begun(id) {
                break;
            }
            self.plan.progress.queue.remove(place);
            self.is_busy = true;
            self.plan.starts.push(FiringStart { at: next.at, id, cause: cause_of(&next) });
        }
        let cancels = |waiting: &&QueuedFiring| {
            is_served(self.schedule, waiting)
                && !waiting.backfill
                && self.overlap_of(waiting) == Overlap::CancelPrevious
        };
        self.plan.cancel_before = self.plan.progress.queue.iter().find(cancels).map(|waiting| waiting.at);
    }

    fn overlap_of(&self, waiting: &QueuedFiring) -> Overlap {
        waiting.overlap.unwrap_or(self.schedule.definition.overlap)
    }

    /// The next waiting firing to start: the oldest that is no backfill, so that a long backfill delays neither a
    /// regular firing nor one that cancels others; then the oldest backfill.
    fn next_in_queue(&self) -> Option<(usize, QueuedFiring)> {
        let served = || {
            let queue = self.plan.progress.queue.iter().copied().enumerate();
            queue.filter(|(_, waiting)| is_served(self.schedule, waiting))
        };
        served().find(|(_, waiting)| !waiting.backfill).or_else(|| served().next())
    }

    /// Announces the first task that starts, when firings must not overlap; there is at most one.
    pub(super) fn announce(&mut self, now: Timestamp) {
        let first = self.plan.starts.iter().find(|start| !self.has_begun(start.id));
        if let Some(first) = first.filter(|_| self.schedule.definition.overlap != Overlap::Allow) {
            self.plan.progress.announced = Some(AnnouncedFiring { at: now, task: first.id });
        }
    }
}

fn cause_of(waiting: &QueuedFiring) -> FiringCause {
    match waiting {
        QueuedFiring { backfill: true, .. } => FiringCause::Backfill,
        waiting if waiting.is_manual() => FiringCause::Triggered,
        _ => FiringCause::Queued,
    }
}

/// Removes the waiting firings other than backfills from the queue of the schedule `id`.
pub(super) fn drain_regular(id: &str, progress: &mut ScheduleProgress) -> Vec<FiringSkip> {
    let (kept, gone): (Vec<_>, Vec<_>) = progress.queue.iter().partition(|waiting| waiting.backfill);
    progress.queue = kept;
    let skip = |waiting: QueuedFiring| FiringSkip { at: waiting.at, id: waiting.id(id), reason: SkipReason::Replaced };
    gone.into_iter().map(skip).collect()
}
