//! What can happen to a task, and what becomes of it then. [`Task::apply`] is the only place that knows which change of
//! status is legal.

use serde_json::Value;

pub use illegal::IllegalTransition;

use super::{Claim, MAX_CRASHES, MAX_PRIORITY, Task, TaskStatus};
use crate::domain::approval::{self, Approval, ApprovalOutcome, ApprovalRequirement, Ruling, Subject};
use crate::domain::delegation::Awaited;
use crate::domain::dependency::DependencyCycle;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::id::TaskId;
use crate::domain::outage::Postponement;
use crate::domain::time::Timestamp;

mod illegal;

/// Something that happens to a task.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskEvent {
    /// Every task it depends on is completed, or has ended and it goes on whatever came of them.
    DependenciesDone,
    /// A task it depends on ended otherwise.
    DependencyFailed(TaskId),
    /// It waits for itself, by way of the tasks that it depends on.
    WaitsInCycle(DependencyCycle),
    /// A replica won the right to run it.
    Claimed(Claim),
    /// It ended well.
    Completed(Value),
    /// It ended badly and is not tried again.
    Failed(Failure),
    /// An attempt failed; the next one starts at the given time.
    RetryAt(Timestamp, Failure),
    /// Its replica hands it back unfinished, at no charge.
    Released,
    /// The model that it needs is away: it is tried again at the given time, at no charge.
    Postponed(Timestamp, Postponement),
    /// Its replica died while running it.
    Rescued,
    /// Somebody asks to stop it.
    CancelRequested,
    /// The task whose step it carries out wants it no longer, and asks to stop it.
    StepWithdrawn,
    /// The replica that ran it has stopped it.
    Cancelled,
    /// Somebody wants it done again, from a clean slate: at once, or at its own time when it ended before that and never ran.
    Requeued,
    /// Its run can go on only after a person has decided on these calls.
    ApprovalNeeded(Vec<Approval>),
    /// Its run can go on only after one of these tasks, which carry out its steps, has ended.
    TasksAwaited(Awaited),
    /// A task that it awaits has ended, or it is time to look at them.
    AwaitedTaskEnded,
    /// Somebody agreed to what it asks.
    Approved(Ruling),
    /// Somebody refused what it asks.
    Denied(Ruling),
    /// Nobody decided in time.
    ApprovalExpired,
    /// Somebody gave it another priority.
    Reprioritised(u8),
    /// Somebody moved the time at which it becomes due.
    Snoozed(Timestamp),
}

impl TaskEvent {
    /// The name of the event in the history.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::DependenciesDone => "dependencies_done",
            Self::DependencyFailed(_) | Self::WaitsInCycle(_) => "dependency_failed",
            Self::Claimed(_) => "claimed",
            Self::Completed(_) => "completed",
            Self::Failed(_) => "failed",
            Self::RetryAt(..) => "retry_scheduled",
            Self::Released => "released",
            Self::Postponed(..) => "postponed",
            Self::Rescued => "rescued",
            Self::CancelRequested | Self::StepWithdrawn => "cancel_requested",
            Self::Cancelled => "cancelled",
            Self::Requeued => "requeued",
            Self::ApprovalNeeded(_) => "approval_needed",
            Self::TasksAwaited(_) => "tasks_awaited",
            Self::AwaitedTaskEnded => "awaited_task_ended",
            Self::Approved(_) => "approved",
            Self::Denied(_) => "denied",
            Self::ApprovalExpired => "approval_expired",
            Self::Reprioritised(_) => "reprioritised",
            Self::Snoozed(_) => "snoozed",
        }
    }
}

impl Task {
    /// The task after `event`.
    ///
    /// # Errors
    /// [`IllegalTransition`] when its status does not allow the event; the task is unchanged.
    pub fn apply(&self, event: &TaskEvent, now: Timestamp) -> Result<Self, IllegalTransition> {
        use TaskStatus::{AwaitingApproval, Blocked, Cancelled, Completed, Failed, Pending, Running, Waiting};

        let mut next = self.clone();
        next.state.updated_at = now;
        match (self.state.status, event) {
            (Waiting, TaskEvent::DependenciesDone | TaskEvent::AwaitedTaskEnded) => next.hand_back(),
            (Waiting, TaskEvent::DependencyFailed(dependency)) => {
                next.state.error = Some(Failure::permanent(format!(
                    "task {dependency}, on which this task depends, did not complete"
                )));
                next.finish(Blocked, now);
            }
            (Waiting, TaskEvent::WaitsInCycle(cycle)) => {
                next.state.error = Some(Failure::permanent(cycle.to_string()));
                next.finish(Blocked, now);
            }
            (Pending, TaskEvent::Claimed(claim)) => {
                next.state.status = Running;
                next.state.claim = Some(claim.clone());
            }
            (Running, TaskEvent::Completed(result)) => {
                next.state.result = Some(result.clone());
                next.state.error = None;
                next.finish(Completed, now);
            }
            (Running, TaskEvent::Failed(failure)) => {
                next.state.attempt = next.state.attempt.saturating_add(1);
                next.state.error = Some(failure.clone());
                next.finish(Failed, now);
            }
            (Running, TaskEvent::RetryAt(at, failure)) => {
                next.state.attempt = next.state.attempt.saturating_add(1);
                next.state.error = Some(failure.clone());
                next.spec.run_at = *at;
                next.state.postponed = None;
                next.hand_back();
            }
            (Running, TaskEvent::Released) => {
                next.state.releases = next.state.releases.saturating_add(1);
                next.state.postponed = None;
                next.hand_back();
            }
            (Running, TaskEvent::Postponed(until, postponement)) => {
                next.state.releases = next.state.releases.saturating_add(1);
                next.state.postponed = Some(postponement.clone());
                next.spec.run_at = *until;
                next.hand_back();
            }
            (Running, TaskEvent::Rescued) if self.state.crashes + 1 >= MAX_CRASHES => {
                next.state.crashes = next.state.crashes.saturating_add(1);
                next.state.error = Some(Failure::new(
                    FailureClass::Crashed,
                    format!("the process that ran the task died {} times, so the task is given up", next.state.crashes),
                ));
                next.finish(Failed, now);
            }
            (Running, TaskEvent::Rescued) => {
                next.state.crashes = next.state.crashes.saturating_add(1);
                next.state.postponed = None;
                next.hand_back();
            }
            (Running, TaskEvent::CancelRequested | TaskEvent::StepWithdrawn) if self.state.claim.is_some() => {
                next.state.cancel_requested = true;
                next.state.withdrawn |= *event == TaskEvent::StepWithdrawn;
            }
            // Without a claim no replica runs it, and none would stop it: it is in the hands of another program.
            (Waiting | Pending | AwaitingApproval | Running, TaskEvent::CancelRequested | TaskEvent::StepWithdrawn)
            | (Running, TaskEvent::Cancelled) => {
                next.state.withdrawn |= *event == TaskEvent::StepWithdrawn;
                // A run was cut off: counted, so that the task knows that there was one.
                next.state.releases = next.state.releases.saturating_add(u32::from(self.state.status == Running));
                next.state.error = Some(Failure::new(FailureClass::Cancelled, "cancelled on request"));
                next.finish(Cancelled, now);
            }
            (Failed | Cancelled | Blocked, TaskEvent::Requeued) => next.start_over(now),
            (Running, TaskEvent::ApprovalNeeded(asked)) => {
                // Counted, so that the next run looks for the checkpoint of this one.
                next.state.releases = next.state.releases.saturating_add(1);
                // What was said about the task before is no answer to the question that is asked now.
                let is_whole = asked.iter().any(|question| question.subject == Subject::Task);
                next.state.approvals.retain(|known| !(is_whole && known.subject == Subject::Task));
                if is_whole {
                    next.spec.approval = ApprovalRequirement::Required;
                }
                next.state.postponed = None;
                next.hand_back();
                next.state.approvals.retain(|known| asked.iter().all(|new| new.hash != known.hash));
                next.state.approvals.extend(asked.iter().cloned());
                next.state.status = AwaitingApproval;
            }
            (Running, TaskEvent::TasksAwaited(awaited)) => {
                // Counted, so that the next run looks for the checkpoint of this one.
                next.state.releases = next.state.releases.saturating_add(1);
                next.state.postponed = None;
                next.hand_back();
                next.state.awaits = Some(awaited.clone());
                next.state.status = Waiting;
            }
            (AwaitingApproval, TaskEvent::Approved(ruling))
                if approval::apply_ruling(&mut next.state.approvals, ruling, ApprovalOutcome::Approved, now) =>
            {
                next.after_decision(now);
            }
            (AwaitingApproval, TaskEvent::Denied(ruling))
                if approval::apply_ruling(&mut next.state.approvals, ruling, ApprovalOutcome::Denied, now) =>
            {
                next.after_decision(now);
            }
            (AwaitingApproval, TaskEvent::ApprovalExpired) if approval::expire(&mut next.state.approvals, now) => {
                next.after_decision(now);
            }
            (Waiting | Pending | AwaitingApproval, TaskEvent::Reprioritised(priority)) => {
                next.spec.priority = (*priority).min(MAX_PRIORITY);
            }
            (Waiting | Pending | AwaitingApproval, TaskEvent::Snoozed(until)) => next.spec.run_at = *until,
            _ => return Err(IllegalTransition::new(self, event)),
        }
        Ok(next)
    }

    fn finish(&mut self, status: TaskStatus, now: Timestamp) {
        self.state.status = status;
        self.state.claim = None;
        self.state.postponed = None;
        self.state.awaits = None;
        self.state.finished_at = Some(now);
    }

    fn hand_back(&mut self) {
        self.state.status = TaskStatus::Pending;
        self.state.claim = None;
        self.state.awaits = None;
    }

    /// Goes on once everything is decided: refused calls are told to the run, a refused task ends.
    fn after_decision(&mut self, now: Timestamp) {
        let mut of_task = self.state.approvals.iter().filter(|approval| approval.subject == Subject::Task);
        if let Some(refusal) = of_task.find_map(Approval::refusal) {
            self.state.error = Some(Failure::new(FailureClass::Cancelled, refusal.message));
            self.finish(TaskStatus::Cancelled, now);
        } else if self.state.approvals.iter().all(|approval| !approval.is_open()) {
            let is_new = self.state.earlier_runs() == 0;
            self.state.status =
                if is_new && !self.spec.depends_on.is_empty() { TaskStatus::Waiting } else { TaskStatus::Pending };
        }
    }

    fn start_over(&mut self, now: Timestamp) {
        let asks = approval::start_over(&mut self.state.approvals, now);
        // Runs keep their numbers, so that the next one looks for the checkpoint of the last one and finds no older one.
        self.state.releases = self.state.earlier_runs();
        // One that never ran may have been ahead of what it depends on.
        let never_ran = self.state.status != TaskStatus::Failed;
        self.state.status = match (asks, never_ran && !self.spec.depends_on.is_empty()) {
            (true, _) => TaskStatus::AwaitingApproval,
            (false, true) => TaskStatus::Waiting,
            (false, false) => TaskStatus::Pending,
        };
        // A date of its own that is still to come holds; that of a retry, or of the next try of a model, does not.
        let keeps_date = never_ran && self.state.earlier_runs() == 0;
        self.spec.run_at = if keeps_date { self.spec.run_at.max(now) } else { now };
        self.state.attempt = 0;
        self.state.crashes = 0;
        self.state.error = None;
        self.state.postponed = None;
        self.state.finished_at = None;
        self.state.cancel_requested = false;
        self.state.withdrawn = false;
    }
}

#[cfg(test)]
mod tests;
