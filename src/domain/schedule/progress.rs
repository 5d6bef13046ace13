//! How far a schedule is: what is decided, what waits, what was counted.

use serde::{Deserialize, Serialize};

use super::{Overlap, backfill_id, firing_id};
use crate::domain::id::TaskId;
use crate::domain::number;
use crate::domain::time::Timestamp;

/// A firing that waits until the tasks of others have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedFiring {
    /// Its time.
    pub at: Timestamp,
    /// Whether somebody asked for it afterwards.
    #[serde(default)]
    pub backfill: bool,
    /// What it does while others are alive, where somebody asked for something else than the schedule says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// Id of its task, where that is not derived from its time: somebody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
}

impl QueuedFiring {
    /// Whether somebody asked for it, so that it is no firing that the schedule has by itself.
    #[must_use]
    pub const fn is_manual(&self) -> bool {
        self.backfill || self.overlap.is_some() || self.task.is_some()
    }

    /// Id of its task.
    #[must_use]
    pub fn id(&self, schedule: &str) -> TaskId {
        self.task.unwrap_or_else(|| {
            if self.backfill { backfill_id(schedule, self.at, 0) } else { firing_id(schedule, self.at) }
        })
    }
}

/// A firing that starts alone, and whose task is inserted in a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncedFiring {
    /// When it was announced.
    pub at: Timestamp,
    /// Its task.
    pub task: TaskId,
}

/// How far a schedule is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleProgress {
    /// Every firing up to this time is decided.
    pub cursor: Timestamp,
    /// Firings that wait, oldest first.
    #[serde(default)]
    pub queue: Vec<QueuedFiring>,
    /// Firings that became tasks to carry out.
    #[serde(default)]
    #[serde(deserialize_with = "number::count")]
    pub fired: u64,
    /// Firings that were skipped: missed, or overlapping.
    #[serde(default)]
    #[serde(deserialize_with = "number::count")]
    pub skipped: u64,
    /// The latest firing that became a task to carry out.
    #[serde(default)]
    pub last_fire: Option<Timestamp>,
    /// Its task.
    #[serde(default)]
    pub last_task: Option<TaskId>,
    /// The latest firing that was announced and of which it is not told yet that it is there.
    #[serde(default)]
    pub announced: Option<AnnouncedFiring>,
}

impl ScheduleProgress {
    /// Counts a firing that has become `task`.
    pub fn count_fired(&mut self, at: Option<Timestamp>, task: TaskId) {
        self.fired = self.fired.saturating_add(1);
        if at >= self.last_fire {
            self.last_fire = at;
            self.last_task = Some(task);
        }
    }
}
