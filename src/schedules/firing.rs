//! Firings as tasks.

use crate::domain::approval::ApprovalPolicy;
use crate::domain::schedule::Schedule;
use crate::domain::schedule::due::{FiringSkip, FiringStart};
use crate::domain::task::Task;
use crate::domain::time::Timestamp;

/// The task of a firing; a skipped one with the reason when the template makes none.
pub(super) fn task_of(schedule: &Schedule, start: FiringStart, approvals: &ApprovalPolicy, now: Timestamp) -> Task {
    schedule.task(start, approvals, now).unwrap_or_else(|reason| {
        let reason = format!("the schedule makes no task: {reason}");
        schedule.skipped_task(start.id, start.at, &reason, now)
    })
}

/// The records of firings that do not run.
pub(super) fn skipped_tasks(schedule: &Schedule, skips: &[FiringSkip], now: Timestamp) -> impl Iterator<Item = Task> {
    skips.iter().map(move |skip| schedule.skipped_task(skip.id, skip.at, skip.reason.explain(), now))
}
