//! Firings that want to start: which do, which wait for others to end, and which are skipped for them.

use super::{Alive, Cause, MAX_QUEUE, Round, Skip, SkipReason, Start, is_served};
use crate::domain::id::TaskId;
use crate::domain::schedule::{Announced, Overlap, Progress, Queued, Schedule, firing_id};
use crate::domain::time::Timestamp;

/// A round in the making.
pub(super) struct Draft<'a> {
    schedule: &'a Schedule,
    alive: &'a [Alive],
    /// Whether a task of the schedule is alive, or will be.
    busy: bool,
    /// Whether all of those make up for firings that did not run in their time.
    making_up: bool,
    pub(super) round: Round,
}

impl<'a> Draft<'a> {
    pub(super) fn new(schedule: &'a Schedule, alive: &'a [Alive]) -> Self {
        let making_up = alive.iter().all(|task| task.makes_up);
        Self { schedule, alive, busy: !alive.is_empty(), making_up, round: Round::new(schedule.progress.clone()) }
    }

    /// Decides about a firing of the schedule's own; `is_last` says that none later has come.
    pub(super) fn admit(&mut self, at: Timestamp, cause: Cause, is_last: bool) {
        // Another replica inserted this firing and died before it saved the schedule's progress.
        if self.has_begun(firing_id(&self.schedule.id, at)) {
            return self.start(at, cause);
        }
        match self.schedule.definition.overlap {
            Overlap::Skip if self.busy || self.one_waits() => self.give_way(at, cause),
            Overlap::Queue if self.busy || !self.round.progress.queue.is_empty() => self.wait(at),
            Overlap::CancelPrevious if is_last => self.take_over(at, cause),
            Overlap::CancelPrevious => self.skip(at, SkipReason::Replaced),
            Overlap::Allow | Overlap::Skip | Overlap::Queue => self.start(at, cause),
        }
    }

    /// What makes up for the past must not cost a firing of now: of those, one waits.
    fn give_way(&mut self, at: Timestamp, cause: Cause) {
        if self.making_up && cause == Cause::OnTime && !self.one_waits() {
            self.wait(at);
        } else {
            self.skip(at, SkipReason::Overlap);
        }
    }

    /// Takes the place of the firings that wait.
    fn take_over(&mut self, at: Timestamp, cause: Cause) {
        let replaced = drain_regular(&self.schedule.id, &mut self.round.progress);
        self.round.skips.extend(replaced);
        if self.busy { self.wait(at) } else { self.start(at, cause) }
    }

    /// Whether a task is alive already, or announced.
    fn has_begun(&self, id: TaskId) -> bool {
        self.alive.iter().any(|task| task.id == id)
    }

    /// Whether a firing of the schedule's own waits.
    fn one_waits(&self) -> bool {
        self.round.progress.queue.iter().any(|waiting| !waiting.is_asked())
    }

    fn start(&mut self, at: Timestamp, cause: Cause) {
        self.busy = true;
        self.making_up &= cause.makes_up();
        self.round.starts.push(Start { at, id: firing_id(&self.schedule.id, at), cause });
    }

    pub(super) fn skip(&mut self, at: Timestamp, reason: SkipReason) {
        self.round.skips.push(Skip { at, id: firing_id(&self.schedule.id, at), reason });
    }

    fn wait(&mut self, at: Timestamp) {
        if self.round.progress.queue.len() >= MAX_QUEUE {
            self.skip(at, SkipReason::QueueFull);
        } else {
            self.round.progress.queue.push(Queued { at, backfill: false, overlap: None, task: None });
        }
    }

    /// Starts what waits, as far as it may.
    pub(super) fn serve_queue(&mut self) {
        while let Some((place, next)) = self.next_in_queue() {
            let id = next.id(&self.schedule.id);
            // Whoever was here before may have inserted it, and not have come to take it out of the queue.
            if self.busy && self.overlap_of(&next) != Overlap::Allow && !self.has_begun(id) {
                break;
            }
            self.round.progress.queue.remove(place);
            self.busy = true;
            self.round.starts.push(Start { at: next.at, id, cause: cause_of(&next) });
        }
        let cancels = |waiting: &&Queued| {
            is_served(self.schedule, waiting)
                && !waiting.backfill
                && self.overlap_of(waiting) == Overlap::CancelPrevious
        };
        self.round.cancel_before = self.round.progress.queue.iter().find(cancels).map(|waiting| waiting.at);
    }

    fn overlap_of(&self, waiting: &Queued) -> Overlap {
        waiting.overlap.unwrap_or(self.schedule.definition.overlap)
    }

    /// What is served next: the oldest that is no backfill, so that neither a firing of now nor one that has others
    /// cancelled waits for a long range; then the oldest backfill.
    fn next_in_queue(&self) -> Option<(usize, Queued)> {
        let served = || {
            let queue = self.round.progress.queue.iter().copied().enumerate();
            queue.filter(|(_, waiting)| is_served(self.schedule, waiting))
        };
        served().find(|(_, waiting)| !waiting.backfill).or_else(|| served().next())
    }

    /// Names what begins where firings must not overlap: there is one at most.
    pub(super) fn announce(&mut self, now: Timestamp) {
        let first = self.round.starts.iter().find(|start| !self.has_begun(start.id));
        if let Some(first) = first.filter(|_| self.schedule.definition.overlap != Overlap::Allow) {
            self.round.progress.announced = Some(Announced { at: now, task: first.id });
        }
    }
}

fn cause_of(waiting: &Queued) -> Cause {
    match waiting {
        Queued { backfill: true, .. } => Cause::Backfill,
        waiting if waiting.is_asked() => Cause::Triggered,
        _ => Cause::Queued,
    }
}

/// Takes the firings that nobody asked for afterwards out of the queue of the schedule `id`.
pub(super) fn drain_regular(id: &str, progress: &mut Progress) -> Vec<Skip> {
    let (kept, gone): (Vec<_>, Vec<_>) = progress.queue.iter().partition(|waiting| waiting.backfill);
    progress.queue = kept;
    let skip = |waiting: Queued| Skip { at: waiting.at, id: waiting.id(id), reason: SkipReason::Replaced };
    gone.into_iter().map(skip).collect()
}
