//! A task: what a caller ordered, and how far its execution is. [`TaskStatus`] says where it stands, [`TaskEvent`] what can
//! happen to it.

use super::id::TaskId;
pub use super::plan::MAX_PRIORITY;
use super::time::Timestamp;

mod filter;
mod hash;
mod limits;
mod lineage;
mod spec;
mod state;
pub(super) mod status;
mod transition;

pub use filter::{InvalidFilter, TaskFilter};
pub use hash::{is_unapproved, question_hash, rebind_open_question, task_hash};
pub use limits::SpecLimits;
pub use spec::{InvalidSpec, SpecFault, TaskSpec};
pub use state::{Claim, TaskState};
pub use status::{InvalidStatus, TaskStatus};
pub use transition::{IllegalTransition, TaskEvent};

/// Priority of a task that names none.
pub const DEFAULT_PRIORITY: u8 = 5;
/// Attempts of a task that names no number.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 3;
/// Time limit of one attempt, in seconds, of a task that names none.
pub const DEFAULT_TIMEOUT_S: u64 = 600;
/// A task whose process died this often while running it, and that got no further in as many runs, is not run again.
pub const MAX_CRASHES: u32 = 3;

/// A task: what a caller ordered, and how far its execution is.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Id of the task and of its point.
    pub id: TaskId,
    /// What was ordered.
    pub spec: TaskSpec,
    /// How far it is.
    pub state: TaskState,
}

impl Task {
    /// A task for `goal`, due at once, with defaults everywhere else.
    #[must_use]
    pub fn new(id: TaskId, goal: impl Into<String>, now: Timestamp) -> Self {
        Self { id, spec: TaskSpec::new(goal, now), state: TaskState::new(TaskStatus::Pending, now) }
    }

    /// The task after `change`, which sets some of its fields.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Whether what was ordered keeps `limits`. A task that has ended is a record and has none.
    ///
    /// # Errors
    /// Everything that exceeds them.
    pub fn validate(&self, limits: &SpecLimits) -> Result<(), InvalidSpec> {
        if self.state.status.is_terminal() { Ok(()) } else { self.spec.validate(limits) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Timestamp = Timestamp::from_millis(2_000_000);

    #[test]
    fn urgency_is_a_head_start_not_a_right_of_way() {
        let urgent_now = Task::new(TaskId::Number(1), "urgent", LATER).with(|task| task.spec.priority = 10);
        let old =
            Task::new(TaskId::Number(2), "old", LATER.plus_millis(-11 * 60_000)).with(|task| task.spec.priority = 0);
        let recent =
            Task::new(TaskId::Number(3), "recent", LATER.plus_millis(-60_000)).with(|task| task.spec.priority = 0);
        assert!(old.spec.rank() < urgent_now.spec.rank());
        assert!(urgent_now.spec.rank() < recent.spec.rank());
    }
}
