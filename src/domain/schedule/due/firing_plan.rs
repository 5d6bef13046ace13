//! The plan of a schedule for its due firings.

use crate::domain::id::TaskId;
use crate::domain::schedule::ScheduleProgress;
use crate::domain::time::Timestamp;

/// Why a firing becomes a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FiringCause {
    /// It is on time.
    OnTime,
    /// It was missed and is caught up with.
    CaughtUp,
    /// It waited for earlier tasks to end.
    Queued,
    /// A person or a program triggered it.
    Triggered,
    /// A backfill requested it.
    Backfill,
}

impl FiringCause {
    /// Whether a person or a program requested it, by a trigger or a backfill.
    #[must_use]
    pub const fn is_manual(self) -> bool {
        matches!(self, Self::Triggered | Self::Backfill)
    }

    /// Whether it makes up for a missed firing.
    pub(super) const fn makes_up(self) -> bool {
        matches!(self, Self::CaughtUp | Self::Backfill)
    }
}

/// Why a firing does not become a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// No replica was running when it was due.
    Missed,
    /// The task of an earlier firing was alive.
    Overlap,
    /// A later firing replaced it.
    Replaced,
    /// The queue of the schedule is full.
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
            Self::Overlap => "the task of an earlier firing had not ended",
            Self::Replaced => "a later firing of the schedule replaced it",
            Self::QueueFull => "too many firings of the schedule are waiting",
            Self::Removed => "its schedule was removed while it waited",
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

/// A firing that is skipped.
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
    /// The firings are after this time.
    pub from: Timestamp,
    /// The firings are before this time.
    pub until: Timestamp,
    /// Number of firings, at most [`MAX_COUNTED`](super::MAX_COUNTED).
    pub count: usize,
    /// Whether there are more firings than `count`.
    pub more: bool,
}

/// What starts, what is skipped and what is cancelled now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiringPlan {
    /// Firings that start.
    pub starts: Vec<FiringStart>,
    /// Firings recorded as skipped.
    pub skips: Vec<FiringSkip>,
    /// Summary of the missed firings that are not in `skips`.
    pub summary: Option<SkipSummary>,
    /// Tasks of firings before this time must be cancelled.
    pub cancel_before: Option<Timestamp>,
    /// Whether the cursor was far ahead of the clock, and is set back.
    pub cursor_was_ahead: bool,
    /// Progress of the schedule after the plan; its counts are those of before. The announcement in it must be stored
    /// before the plan is carried out.
    pub progress: ScheduleProgress,
}

impl FiringPlan {
    /// An empty plan for a schedule with this progress.
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
