//! What becomes of the firings that have come: which start, which wait, which are skipped and why.
//!
//! Decided from the schedule as it is stored and the tasks of earlier firings that are alive. Replicas that decide at
//! the same time may differ about an overlap; the first one to insert a firing settles it.

use super::timing::{InvalidTiming, Timing};
use super::{BACKFILL, CAUGHT_UP, CatchUp, FIRE_CAUSE, Overlap, Progress, Queued, Schedule, firing_id};
use crate::domain::id::TaskId;
use crate::domain::task::Task;
use crate::domain::time::Timestamp;
use asked::drain_regular;

pub mod asked;

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

/// Why a firing becomes a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its time has come.
    OnTime,
    /// It was missed and is made up for.
    CaughtUp,
    /// It has waited for others.
    Queued,
    /// Somebody asked for it.
    Triggered,
    /// Somebody asked for it afterwards.
    Backfill,
}

impl Cause {
    /// Whether somebody asked for it.
    #[must_use]
    pub const fn is_asked(self) -> bool {
        matches!(self, Self::Triggered | Self::Backfill)
    }

    const fn makes_up(self) -> bool {
        matches!(self, Self::CaughtUp | Self::Backfill)
    }
}

/// Why a firing does not become a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// Nobody was there.
    Missed,
    /// The task of an earlier firing was alive.
    Overlap,
    /// A later firing took its place.
    Replaced,
    /// Too many wait already.
    QueueFull,
    /// The schedule was removed while it waited.
    Removed,
}

impl SkipReason {
    /// The reason as a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Overlap => "overlapped",
            Self::Replaced => "replaced",
            Self::QueueFull => "queue_full",
            Self::Removed => "removed",
        }
    }

    /// The reason in words.
    #[must_use]
    pub const fn explain(self) -> &'static str {
        match self {
            Self::Missed => "missed: no qron was running when it was due",
            Self::Overlap => "skipped: the task of an earlier firing had not ended",
            Self::Replaced => "skipped: a later firing took its place",
            Self::QueueFull => "skipped: too many firings of the schedule are waiting",
            Self::Removed => "skipped: its schedule was removed while it waited",
        }
    }
}

/// A firing that starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Its time.
    pub at: Timestamp,
    /// Id of its task.
    pub id: TaskId,
    /// Why it starts.
    pub cause: Cause,
}

/// A firing that does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Its time.
    pub at: Timestamp,
    /// Id of its record.
    pub id: TaskId,
    /// Why not.
    pub reason: SkipReason,
}

/// Missed firings that are too many to be recorded one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// They lie after this.
    pub from: Timestamp,
    /// They lie before this.
    pub until: Timestamp,
    /// How many they are.
    pub count: usize,
    /// Whether they are more than that.
    pub more: bool,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Firings that start.
    pub starts: Vec<Start>,
    /// Firings recorded as skipped.
    pub skips: Vec<Skip>,
    /// What is recorded about the rest.
    pub summary: Option<Summary>,
    /// Tasks of firings before this are to be cancelled.
    pub cancel_before: Option<Timestamp>,
    /// The cursor was far ahead of the clock, and has been set back.
    pub set_back: bool,
    /// How far the schedule is then; the counts of firings are those of before.
    pub progress: Progress,
}

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
    let mut round = Round {
        starts: Vec::new(),
        skips: Vec::new(),
        summary: None,
        cancel_before: None,
        set_back: false,
        progress: schedule.progress.clone(),
    };
    if !schedule.paused && is_ahead(&round.progress, now) {
        // Some clock was wrong for a while. What has fired in that time has its task and does not fire again.
        round.progress.cursor = now;
        round.set_back = true;
    }
    let making_up = alive.iter().all(|task| task.makes_up);
    let mut desk = Desk { schedule, alive, busy: !alive.is_empty(), making_up, round };
    if !schedule.paused {
        desk.take(&schedule.timing()?, now, missed_after_ms);
    }
    desk.serve_queue();
    Ok(desk.round)
}

struct Desk<'a> {
    schedule: &'a Schedule,
    alive: &'a [Alive],
    /// Whether a task of the schedule is alive, or will be.
    busy: bool,
    /// Whether all of those make up for firings that did not run in their time.
    making_up: bool,
    round: Round,
}

impl Desk<'_> {
    fn take(&mut self, timing: &Timing, now: Timestamp, missed_after_ms: u64) {
        let cursor = self.round.progress.cursor;
        let (firings, older) = timing.latest(cursor, now, MAX_FIRINGS);
        let Some(last) = firings.last().copied() else { return };
        self.round.progress.cursor = last;

        let definition = &self.schedule.definition;
        let is_missed = |at: &Timestamp| now.millis_since(*at) > missed_after_ms;
        let window = definition.window_ms();
        let is_within = |at: &Timestamp| window.is_none_or(|window| now.millis_since(*at) <= window);
        let is_wanted = |at: &Timestamp| {
            !is_missed(at)
                || match definition.catch_up {
                    CatchUp::None => false,
                    CatchUp::Latest => *at == last && is_within(at),
                    CatchUp::All => is_within(at),
                }
        };
        let (wanted, missed): (Vec<_>, Vec<_>) = firings.iter().copied().partition(is_wanted);

        let recorded = missed.split_at(missed.len().saturating_sub(MAX_RECORDED)).1;
        // Missed ones come before wanted ones, whatever the policy.
        let first_kept = recorded.first().or(wanted.first()).copied().unwrap_or(last);
        if older || recorded.len() < missed.len() {
            let count = timing.count(cursor, first_kept, MAX_COUNTED + 1);
            let (count, more) = (count.min(MAX_COUNTED), count > MAX_COUNTED);
            self.round.summary = Some(Summary { from: cursor, until: first_kept, count, more });
        }
        for at in recorded {
            self.skip(*at, SkipReason::Missed);
        }
        for at in &wanted {
            let cause = if is_missed(at) { Cause::CaughtUp } else { Cause::OnTime };
            self.admit(*at, cause, *at == last);
        }
    }

    fn admit(&mut self, at: Timestamp, cause: Cause, is_last: bool) {
        let id = firing_id(&self.schedule.id, at);
        // Another replica was here before, and has not come to write how far it is.
        let started = self.has_started(id);
        match self.schedule.definition.overlap {
            _ if started => self.start(at, cause),
            Overlap::Skip if self.busy || self.one_waits() => {
                // What makes up for the past must not cost a firing of now.
                let gives_way = self.making_up && cause == Cause::OnTime && !self.one_waits();
                if gives_way { self.wait(at) } else { self.skip(at, SkipReason::Overlap) }
            }
            Overlap::Queue if self.busy || !self.round.progress.queue.is_empty() => self.wait(at),
            Overlap::CancelPrevious if !is_last => self.skip(at, SkipReason::Replaced),
            Overlap::CancelPrevious => {
                let replaced = drain_regular(&self.schedule.id, &mut self.round.progress);
                self.round.skips.extend(replaced);
                if self.busy { self.wait(at) } else { self.start(at, cause) }
            }
            Overlap::Allow | Overlap::Skip | Overlap::Queue => self.start(at, cause),
        }
    }

    fn has_started(&self, id: TaskId) -> bool {
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

    fn skip(&mut self, at: Timestamp, reason: SkipReason) {
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
    fn serve_queue(&mut self) {
        let schedule = self.schedule;
        let overlap_of = |waiting: &Queued| waiting.overlap.unwrap_or(schedule.definition.overlap);
        while let Some((place, next)) = self.next_in_queue() {
            let id = next.id(&schedule.id);
            // Whoever was here before may have inserted it, and not have come to take it out of the queue.
            if self.busy && overlap_of(&next) != Overlap::Allow && !self.has_started(id) {
                break;
            }
            self.round.progress.queue.remove(place);
            let cause = match next {
                Queued { backfill: true, .. } => Cause::Backfill,
                next if next.is_asked() => Cause::Triggered,
                _ => Cause::Queued,
            };
            self.busy = true;
            self.round.starts.push(Start { at: next.at, id, cause });
        }
        let cancels = |waiting: &&Queued| {
            is_served(schedule, waiting) && !waiting.backfill && overlap_of(waiting) == Overlap::CancelPrevious
        };
        self.round.cancel_before = self.round.progress.queue.iter().find(cancels).map(|waiting| waiting.at);
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
}

#[cfg(test)]
mod tests;
