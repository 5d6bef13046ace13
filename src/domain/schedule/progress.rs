//! Progress of a schedule: its cursor, its waiting firings and its counts.

use serde::{Deserialize, Serialize};

use super::{Overlap, backfill_id, firing_id};
use crate::domain::id::TaskId;
use crate::domain::number;
use crate::domain::time::Timestamp;

/// A firing that waits until earlier tasks have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedFiring {
    /// Its time.
    pub at: Timestamp,
    /// Whether a backfill requested it.
    #[serde(default)]
    pub backfill: bool,
    /// Overlap policy of this firing, when a trigger named another one than the schedule's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// Id of its task, when a trigger chose it; otherwise the id is derived from the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
}

impl QueuedFiring {
    /// Whether a person or a program requested it, so that it is no regular firing.
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

/// A firing that is about to insert its task, while no other of the schedule may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncedFiring {
    /// When it was announced.
    pub at: Timestamp,
    /// Its task.
    pub task: TaskId,
}

/// Progress of a schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleProgress {
    /// Cursor: every firing up to this time is decided.
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
    /// The latest announced firing whose task is not yet known to be inserted.
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
