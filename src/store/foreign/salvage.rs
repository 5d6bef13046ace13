//! What can be shown of a point that does not read as a task.

use serde_json::{Map, Value};

use super::{RUN_AT, RawTask, Reader};
use crate::domain::id::TaskId;
use crate::domain::task::{Task, TaskStatus};
use crate::domain::time::Timestamp;

impl RawTask {
    /// The point as far as it can be read; what cannot is left out. A status that is no word qron knows is shown as waiting:
    /// nothing happens to the point before a person or a newer version looks at it.
    pub(in crate::store) fn salvage(&self, now: Timestamp) -> Task {
        let reader = Reader { payload: &self.payload, own: false, kept_as_is: true };
        let status = reader.status().unwrap_or(TaskStatus::Waiting);
        let readable = reader.task(self.id, status, now).ok();
        let extra: Map<String, Value> = self.payload.clone();
        match readable {
            Some(task) => Task { status, extra, ..task },
            None => blank(self.id, status, reader.goal().unwrap_or_default(), &reader, now, extra),
        }
    }
}

/// A task of which no more is known than this.
fn blank(
    id: TaskId,
    status: TaskStatus,
    goal: String,
    reader: &Reader<'_>,
    now: Timestamp,
    extra: Map<String, Value>,
) -> Task {
    let run_at = reader.time(&RUN_AT).ok().flatten().unwrap_or(now);
    Task { status, run_at, extra, ..Task::new(id, goal, now) }
}
