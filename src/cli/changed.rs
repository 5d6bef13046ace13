//! What became of a task that a command changed.

use super::{hold, output};
use crate::api::views::tasks::TaskView;
use crate::domain::task::TaskStatus;

/// The action of `qron retry`.
pub(super) const RETRY: &str = "retry";

/// What became of a task, in a line.
pub(super) fn described(task: &TaskView, already: bool) -> String {
    let TaskView { id, status, .. } = task;
    match (already, task.cancel_requested && !status.is_terminal()) {
        (false, true) => format!("{id} {status}, stopping"),
        (false, false) => format!("{id} {status}{}", due(task)),
        (true, true) => format!("{id} {status}, stopping: it was cancelled already, and nothing was changed"),
        (true, false) => {
            let at = task.finished_at.as_deref().map_or_else(String::new, |at| format!(" at {}", output::time(at)));
            format!("{id} was {status} already{at}; nothing was changed")
        }
    }
}

/// When a task that was retried is due.
fn due(task: &TaskView) -> String {
    match task.status {
        TaskStatus::Pending | TaskStatus::Waiting if hold::is_ahead(&task.run_at) => {
            format!(", due {}", output::time(&task.run_at))
        }
        TaskStatus::Pending => ", due now".to_owned(),
        TaskStatus::AwaitingApproval if hold::is_ahead(&task.run_at) => {
            format!(", due {}, if a person has approved it by then", output::time(&task.run_at))
        }
        TaskStatus::AwaitingApproval => ", due as soon as a person approves it".to_owned(),
        _ => String::new(),
    }
}
