//! What can be told of a point that does not read as a task.

use serde_json::{Map, Value};

use super::{RawTask, Reader};
use crate::domain::id::TaskId;
use crate::domain::schedule::zone::Zone;
use crate::domain::task::{SpecLimits, Task, TaskSpec, TaskState, TaskStatus};
use crate::domain::time::Timestamp;

impl RawTask {
    /// The beginning of what somebody wanted, as far as that can be read; empty otherwise.
    #[must_use]
    pub fn goal(&self) -> String {
        let reader = Reader { payload: &self.payload, own: false, kept_as_is: true, zone: Zone::UTC };
        let most = *SpecLimits::FOREIGN.goal_chars.end();
        reader.goal().unwrap_or_default().chars().take(most).collect()
    }

    /// Whether the point tells when it ended: a task that is not ended any more is wanted again.
    #[must_use]
    pub fn tells_of_an_end(&self) -> bool {
        tells_of_an_end(&self.payload)
    }

    /// When somebody meant it to run, as far as that can be read; `now` otherwise.
    pub(in crate::store) fn run_at(&self, zone: Zone, now: Timestamp) -> Timestamp {
        let reader = Reader { payload: &self.payload, own: false, kept_as_is: true, zone };
        reader.time("run_at").ok().flatten().unwrap_or(now)
    }

    /// The point as far as it can be read; what cannot is left out. A status that is no word qron knows is shown as waiting:
    /// nothing happens to the point before a person or a newer version looks at it.
    pub(in crate::store) fn salvage(&self, zone: Zone, now: Timestamp) -> Task {
        let reader = Reader { payload: &self.payload, own: false, kept_as_is: true, zone };
        let status = reader.status().unwrap_or(TaskStatus::Waiting);
        let readable = reader.spec(status, now).and_then(|spec| reader.task(self.id, status, spec, now)).ok();
        let extra: Map<String, Value> = self.payload.clone();
        match readable {
            Some(task) => task.with(|task| {
                task.state.status = status;
                task.state.extra = extra;
            }),
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
    let run_at = reader.time("run_at").ok().flatten().unwrap_or(now);
    Task { id, spec: TaskSpec::new(goal, run_at), state: TaskState { extra, ..TaskState::new(status, now) } }
}

/// Whether a payload tells when its task ended.
pub(super) fn tells_of_an_end(payload: &Map<String, Value>) -> bool {
    payload.get("finished_at").is_some_and(|at| !at.is_null())
}
