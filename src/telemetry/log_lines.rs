//! What operators read in the log: the spans that say whose a line is, and one function for each line about a task, a
//! schedule or a pause.
//!
//! Spans have the level `error`, so that a filter of any level keeps them.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{Span, debug, error_span, info, warn};

use crate::domain::failure::Failure;
use crate::domain::id::TaskId;
use crate::domain::task::TaskStatus;

/// Target of the spans. The filter always keeps it.
pub(super) const SPANS: &str = "qron::span";

/// Requests to the API so far.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// The span of a run: the `attempt`th run of `task` by `agent`, for the schedule that made the task, if one did.
///
/// It has no parent: a run that begins within a request outlives it.
#[must_use]
pub fn run_span(task: TaskId, attempt: u32, agent: &str, schedule: Option<&str>) -> Span {
    error_span!(target: SPANS, parent: None, "run", %task, attempt, agent, schedule)
}

/// The span of a request to the API. Its number tells it from other requests to this process.
#[must_use]
pub fn request_span(method: &str, route: &str) -> Span {
    let request = REQUESTS.fetch_add(1, Ordering::Relaxed) + 1;
    error_span!(target: SPANS, parent: None, "request", request, method, route)
}

/// Logs that `task` has reached a final status; `failure` says why it did not complete. A status that is not final is logged
/// at `debug`.
pub fn task_ended(task: TaskId, status: TaskStatus, failure: Option<&Failure>) {
    let class = failure.map(|failure| failure.class.as_str());
    let cause = failure.map(|failure| failure.message.as_str());
    match status {
        TaskStatus::Completed => info!(%task, "task completed"),
        TaskStatus::Failed => warn!(%task, class, cause, "task failed for good"),
        TaskStatus::Cancelled => info!(%task, "task cancelled"),
        TaskStatus::Blocked => info!(%task, class, cause, "task blocked: a task that it depends on did not complete"),
        TaskStatus::Skipped => info!(%task, class, cause, "task skipped"),
        TaskStatus::Waiting | TaskStatus::Pending | TaskStatus::Running | TaskStatus::AwaitingApproval => {
            debug!(%task, %status, "task goes on");
        }
    }
}

/// Logs a change after which `task` goes on; `event` is its name.
pub fn task_goes_on(task: TaskId, event: &str, failure: Option<&Failure>) {
    let class = failure.map(|failure| failure.class.as_str());
    let cause = failure.map(|failure| failure.message.as_str());
    debug!(%task, event, class, cause, "task goes on");
}

/// Logs that `task` waits for a person to decide on `subjects`.
pub fn approvals_requested(task: TaskId, subjects: &str) {
    warn!(%task, subjects, "task waits for a person: see qron approvals");
}

/// Logs that a firing of `schedule` became `task`; `cause` is why it fired.
pub fn schedule_fired(schedule: &str, task: TaskId, cause: &str) {
    info!(schedule, %task, cause, "schedule fired");
}

/// Logs that firings of `schedule` do not run; `reason` is why.
pub fn firings_skipped(schedule: &str, count: usize, reason: &str) {
    warn!(schedule, count, reason, "firings of a schedule do not run");
}

/// Logs at `debug` that one firing of `schedule` does not run, as its policy wants it; `reason` is why. The metric and the
/// schedule count them: a schedule that is faster than its tasks would fill the log.
pub fn firing_skipped(schedule: &str, reason: &str) {
    debug!(schedule, reason, "a firing of a schedule does not run");
}

/// Logs that an agent of this replica was paused, or takes tasks again.
pub fn agent_paused(agent: &str, is_paused: bool) {
    if is_paused {
        warn!(agent, "agent is paused and takes no more tasks: qron status shows the pause and how to end it");
    } else {
        info!(agent, "agent takes tasks again: the pause is over");
    }
}
