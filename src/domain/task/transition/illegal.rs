//! Why a task cannot be changed so, in words for the person who asked for the change.

use std::fmt::{self, Display, Formatter};

use super::TaskEvent;
use crate::domain::id::TaskId;
use crate::domain::task::{Task, TaskStatus};
use crate::domain::time::Timestamp;

/// A change that a task in this status does not allow.
#[derive(Debug, PartialEq, Eq)]
pub struct IllegalTransition {
    /// The task.
    pub id: TaskId,
    /// Its status.
    pub status: TaskStatus,
    /// When it ended, if it has.
    pub finished_at: Option<Timestamp>,
    /// Name of the event, for the log.
    pub event: &'static str,
    /// What cannot be done, in words.
    refusal: &'static str,
}

impl IllegalTransition {
    pub(super) fn new(task: &Task, event: &TaskEvent) -> Self {
        Self {
            id: task.id,
            status: task.state.status,
            finished_at: task.state.finished_at.filter(|_| task.state.status.is_terminal()),
            event: event.name(),
            refusal: refusal(event),
        }
    }
}

impl std::error::Error for IllegalTransition {}

impl Display for IllegalTransition {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "task {} {}", self.id, state(self.status))?;
        if let Some(at) = self.finished_at {
            write!(formatter, " at {at}")?;
        }
        write!(formatter, ", so {}", self.refusal)
    }
}

const fn state(status: TaskStatus) -> &'static str {
    match status {
        TaskStatus::Waiting => "is waiting for other tasks",
        TaskStatus::Pending => "is pending",
        TaskStatus::Running => "is running",
        TaskStatus::AwaitingApproval => "is awaiting approval",
        TaskStatus::Completed => "completed",
        TaskStatus::Failed => "failed",
        TaskStatus::Cancelled => "was cancelled",
        TaskStatus::Blocked => "was blocked",
        TaskStatus::Skipped => "was skipped",
    }
}

const fn refusal(event: &TaskEvent) -> &'static str {
    match event {
        TaskEvent::CancelRequested | TaskEvent::StepWithdrawn => "it can no longer be cancelled",
        TaskEvent::Requeued => "it cannot be retried: only a task that failed, was cancelled or was blocked can",
        TaskEvent::Reprioritised(_) => "its priority cannot be changed: that is possible only before a task begins",
        TaskEvent::Snoozed(_) => "its due time cannot be changed: that is possible only before a task begins",
        TaskEvent::Approved(_) => "it has no open question with this hash to approve",
        TaskEvent::Denied(_) => "it has no open question with this hash to deny",
        TaskEvent::ApprovalExpired => "it has no question that has expired",
        TaskEvent::DependenciesDone | TaskEvent::DependencyFailed(_) | TaskEvent::WaitsInCycle(_) => {
            "it does not depend on the end of another task"
        }
        TaskEvent::AwaitedTaskEnded => "it does not wait for tasks that carry out its steps",
        TaskEvent::Claimed(_) => "no replica can claim it",
        TaskEvent::Completed(_)
        | TaskEvent::Failed(_)
        | TaskEvent::RetryAt(..)
        | TaskEvent::Postponed(..)
        | TaskEvent::Released
        | TaskEvent::Rescued
        | TaskEvent::Cancelled
        | TaskEvent::ApprovalNeeded(_)
        | TaskEvent::TasksAwaited(_) => "it has no run whose outcome could be recorded",
    }
}
