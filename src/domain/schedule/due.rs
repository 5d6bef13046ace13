//! What becomes of the firings that have come: which start, which wait, which are skipped and why.
//!
//! Decided from the schedule as it is stored and the tasks of earlier firings that are alive. Replicas that decide at
//! the same time may differ about an overlap; the first one to insert a firing settles it.

use super::timing::{InvalidTiming, Timing};
use super::{CatchUp, Overlap, Progress, Queued, Schedule, backfill_id, firing_id};
use crate::domain::id::TaskId;
use crate::domain::time::Timestamp;

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
    /// Somebody asked for it afterwards.
    Backfill,
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

/// What a firing that somebody wants now comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// It starts.
    Start(Start),
    /// It waits; the schedule is then this far, and firings that it replaces are skipped.
    Wait(Progress, Vec<Skip>),
    /// The task of an earlier one is alive.
    Overlaps(TaskId),
    /// It would wait, but too many do already.
    Full,
}

/// Whether anything may come of `schedule` at `now`.
///
/// # Errors
/// [`InvalidTiming`] when the schedule cannot be read.
pub fn is_due(schedule: &Schedule, now: Timestamp) -> Result<bool, InvalidTiming> {
    let has_come = || Ok(schedule.timing()?.next(schedule.progress.cursor).is_some_and(|next| next <= now));
    if schedule.paused {
        return Ok(false);
    }
    if !schedule.progress.queue.is_empty() || is_ahead(&schedule.progress, now) { Ok(true) } else { has_come() }
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
    alive: &[TaskId],
) -> Result<Round, InvalidTiming> {
    let timing = schedule.timing()?;
    let mut round = Round {
        starts: Vec::new(),
        skips: Vec::new(),
        summary: None,
        cancel_before: None,
        set_back: false,
        progress: schedule.progress.clone(),
    };
    if schedule.paused {
        return Ok(round);
    }
    if is_ahead(&round.progress, now) {
        // Some clock was wrong for a while. What has fired in that time has its task and does not fire again.
        round.progress.cursor = now;
        round.set_back = true;
    }
    let mut desk = Desk { schedule, alive, busy: !alive.is_empty(), round };
    desk.take(&timing, now, missed_after_ms);
    desk.serve_queue();
    Ok(desk.round)
}

/// What a firing at `now` that somebody wants comes to.
#[must_use]
pub fn trigger(schedule: &Schedule, now: Timestamp, overlap: Overlap, alive: &[TaskId]) -> Trigger {
    let start = Start { at: now, id: firing_id(&schedule.id, now), cause: Cause::OnTime };
    let Some(first) = alive.first() else { return Trigger::Start(start) };
    match overlap {
        Overlap::Allow => Trigger::Start(start),
        Overlap::Skip => Trigger::Overlaps(*first),
        Overlap::Queue | Overlap::CancelPrevious => {
            let mut progress = schedule.progress.clone();
            let replaced = if overlap == Overlap::CancelPrevious { drain_regular(&mut progress) } else { Vec::new() };
            if progress.queue.len() >= MAX_QUEUE {
                return Trigger::Full;
            }
            let overlap = (overlap != schedule.definition.overlap).then_some(overlap);
            progress.queue.push(Queued { at: now, backfill: false, overlap });
            Trigger::Wait(progress, replaced)
        }
    }
}

/// Takes the firings that nobody asked for afterwards out of the queue.
fn drain_regular(progress: &mut Progress) -> Vec<Skip> {
    let (kept, gone): (Vec<_>, Vec<_>) = progress.queue.iter().partition(|waiting| waiting.backfill);
    progress.queue = kept;
    gone.into_iter().map(|Queued { at, .. }| Skip { at, reason: SkipReason::Replaced }).collect()
}

struct Desk<'a> {
    schedule: &'a Schedule,
    alive: &'a [TaskId],
    /// Whether a task of the schedule is alive, or will be.
    busy: bool,
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
        let is_wanted = |at: &Timestamp| {
            !is_missed(at)
                || match definition.catch_up {
                    CatchUp::None => false,
                    CatchUp::Latest => *at == last,
                    CatchUp::All => now.millis_since(*at) <= definition.catch_up_window_ms,
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
        self.round.skips.extend(recorded.iter().map(|at| Skip { at: *at, reason: SkipReason::Missed }));
        for at in &wanted {
            let cause = if is_missed(at) { Cause::CaughtUp } else { Cause::OnTime };
            self.admit(*at, cause, *at == last);
        }
    }

    fn admit(&mut self, at: Timestamp, cause: Cause, is_last: bool) {
        let id = firing_id(&self.schedule.id, at);
        // Another replica was here before, and has not come to write how far it is.
        let started = self.alive.contains(&id);
        match self.schedule.definition.overlap {
            _ if started => self.start(at, cause),
            Overlap::Skip if self.busy => self.skip(at, SkipReason::Overlap),
            Overlap::Queue if self.busy || !self.round.progress.queue.is_empty() => self.wait(at),
            Overlap::CancelPrevious if !is_last => self.skip(at, SkipReason::Replaced),
            Overlap::CancelPrevious => {
                let replaced = drain_regular(&mut self.round.progress);
                self.round.skips.extend(replaced);
                if self.busy { self.wait(at) } else { self.start(at, cause) }
            }
            Overlap::Allow | Overlap::Skip | Overlap::Queue => self.start(at, cause),
        }
    }

    fn start(&mut self, at: Timestamp, cause: Cause) {
        self.busy = true;
        self.round.starts.push(Start { at, id: firing_id(&self.schedule.id, at), cause });
    }

    fn skip(&mut self, at: Timestamp, reason: SkipReason) {
        self.round.skips.push(Skip { at, reason });
    }

    fn wait(&mut self, at: Timestamp) {
        if self.round.progress.queue.len() >= MAX_QUEUE {
            self.skip(at, SkipReason::QueueFull);
        } else {
            self.round.progress.queue.push(Queued { at, backfill: false, overlap: None });
        }
    }

    /// Starts what waits, as far as it may.
    fn serve_queue(&mut self) {
        let own = self.schedule.definition.overlap;
        let overlap_of = |waiting: &Queued| waiting.overlap.unwrap_or(own);
        while let Some(next) = self.round.progress.queue.first().copied() {
            if self.busy && overlap_of(&next) != Overlap::Allow {
                break;
            }
            self.round.progress.queue.remove(0);
            let Queued { at, backfill, .. } = next;
            let (id, cause) = if backfill {
                (backfill_id(&self.schedule.id, at), Cause::Backfill)
            } else {
                (firing_id(&self.schedule.id, at), Cause::Queued)
            };
            self.busy = true;
            self.round.starts.push(Start { at, id, cause });
        }
        let cancels = |waiting: &&Queued| !waiting.backfill && overlap_of(waiting) == Overlap::CancelPrevious;
        self.round.cancel_before = self.round.progress.queue.iter().find(cancels).map(|waiting| waiting.at);
    }
}

#[cfg(test)]
mod tests;
