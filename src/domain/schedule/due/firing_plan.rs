//! What is to be done about the firings of a schedule that have come.

use crate::domain::id::TaskId;
use crate::domain::schedule::ScheduleProgress;
use crate::domain::time::Timestamp;

/// Why a firing becomes a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FiringCause {
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

impl FiringCause {
    /// Whether somebody asked for it.
    #[must_use]
    pub const fn is_manual(self) -> bool {
        matches!(self, Self::Triggered | Self::Backfill)
    }

    /// Whether it makes up for a firing that did not run in its time.
    pub(super) const fn makes_up(self) -> bool {
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
pub struct FiringStart {
    /// Its time.
    pub at: Timestamp,
    /// Id of its task.
    pub id: TaskId,
    /// Why it starts.
    pub cause: FiringCause,
}

/// A firing that does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FiringSkip {
    /// Its time.
    pub at: Timestamp,
    /// Id of its record.
    pub id: TaskId,
    /// Why not.
    pub reason: SkipReason,
}

/// Missed firings that are too many to be recorded one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkipSummary {
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
pub struct FiringPlan {
    /// Firings that start.
    pub starts: Vec<FiringStart>,
    /// Firings recorded as skipped.
    pub skips: Vec<FiringSkip>,
    /// What is recorded about the rest.
    pub summary: Option<SkipSummary>,
    /// Tasks of firings before this are to be cancelled.
    pub cancel_before: Option<Timestamp>,
    /// The cursor was far ahead of the clock, and has been set back.
    pub cursor_was_ahead: bool,
    /// How far the schedule is then; the counts of firings are those of before. What is announced there is to be stored
    /// before anything of the round is done.
    pub progress: ScheduleProgress,
}

impl FiringPlan {
    /// One in which nothing is done of a schedule that is this far.
    pub(super) const fn new(progress: ScheduleProgress) -> Self {
        Self {
            starts: Vec::new(),
            skips: Vec::new(),
            summary: None,
            cancel_before: None,
            cursor_was_ahead: false,
            progress,
        }
    }
}
