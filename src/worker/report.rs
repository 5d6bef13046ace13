//! What follows from the end of a run: the attempt's last record, a dead letter perhaps, and the task's transition.
//!
//! The transition comes last and is fenced: until it is written the task can be run again, and once somebody else
//! holds the task nothing of this run reaches it.

use std::sync::atomic::Ordering;

use super::context::ReplicaContext;
use super::execute::Ending;
use super::recorder::{End, RunRecorder};
use crate::agent::{Checkpoint, Outcome};
use crate::clock;
use crate::domain::agent::AgentProfile;
use crate::domain::approval::{Approval, ApprovalPolicy};
use crate::domain::attempt::AttemptStatus;
use crate::domain::budget::Spent;
use crate::domain::dead_letter::DeadLetter;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::retry::{RetryDecision, RetryPolicy};
use crate::domain::task::{Task, TaskEvent};
use crate::domain::time::Timestamp;
use crate::queue::Actor;
use crate::store::TransitionError;

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunOutcome {
    Completed,
    Failed,
    Retried,
    Postponed,
    Released,
    Cancelled,
    AwaitsApproval,
    AwaitsTasks,
    /// The end was not recorded: another replica has the task, or the store did not take it.
    Lost,
}

impl RunOutcome {
    /// The word for it in metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Retried => "retried",
            Self::Postponed => "postponed",
            Self::Released => "released",
            Self::Cancelled => "cancelled",
            Self::AwaitsApproval => "asking",
            Self::AwaitsTasks => "waiting",
            Self::Lost => "lost",
        }
    }

    /// Whether the task has ended with it for good or ill, so that its run is remembered.
    pub(super) const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

/// What to write about a run that ended.
struct Decision {
    event: TaskEvent,
    status: AttemptStatus,
    spent: Option<Spent>,
    checkpoint: Option<Checkpoint>,
    outcome: RunOutcome,
}

/// Decides what becomes of `task` after its run ended.
fn decide(ending: Ending, task: &Task, retry: &RetryPolicy, approvals: &ApprovalPolicy, now: Timestamp) -> Decision {
    let stopped = |event, status, outcome| Decision { event, status, spent: None, checkpoint: None, outcome };
    match ending {
        Ending::Cancelled => stopped(TaskEvent::Cancelled, AttemptStatus::Cancelled, RunOutcome::Cancelled),
        Ending::HandedBack => stopped(TaskEvent::Released, AttemptStatus::Released, RunOutcome::Released),
        Ending::Unapproved => {
            let event = TaskEvent::ApprovalNeeded(vec![Approval::of_task(task, approvals, now)]);
            stopped(event, AttemptStatus::AwaitingApproval, RunOutcome::AwaitsApproval)
        }
        Ending::Failed(failure) => {
            let (event, outcome) = judge(failure, task, retry, now);
            stopped(event, AttemptStatus::Failed, outcome)
        }
        Ending::Answered(Outcome { approvals_requested, spent, checkpoint, .. }) if !approvals_requested.is_empty() => {
            let questions =
                approvals_requested.into_iter().map(|request| Approval::of_request(request, approvals, now)).collect();
            let (event, status) = (TaskEvent::ApprovalNeeded(questions), AttemptStatus::AwaitingApproval);
            Decision { event, status, spent: Some(spent), checkpoint, outcome: RunOutcome::AwaitsApproval }
        }
        Ending::Answered(Outcome { awaits: Some(awaited), spent, checkpoint, .. }) => {
            let (event, status) = (TaskEvent::TasksAwaited(awaited), AttemptStatus::AwaitingTasks);
            Decision { event, status, spent: Some(spent), checkpoint, outcome: RunOutcome::AwaitsTasks }
        }
        Ending::Answered(Outcome { result, spent, checkpoint, .. }) => {
            let (event, status, outcome) = match result {
                Ok(result) => (TaskEvent::Completed(result), AttemptStatus::Completed, RunOutcome::Completed),
                Err(failure) => {
                    let (event, outcome) = judge(failure, task, retry, now);
                    (event, AttemptStatus::Failed, outcome)
                }
            };
            Decision { event, status, spent: Some(spent), checkpoint, outcome }
        }
    }
}

fn judge(failure: Failure, task: &Task, retry: &RetryPolicy, now: Timestamp) -> (TaskEvent, RunOutcome) {
    match retry.judge(&failure, task.state.attempt.saturating_add(1), task.spec.max_attempts) {
        RetryDecision::RetryIn(ms) => {
            let at = now.plus_millis(i64::try_from(ms).unwrap_or(i64::MAX));
            (TaskEvent::RetryAt(at, failure), RunOutcome::Retried)
        }
        RetryDecision::GiveUp => (TaskEvent::Failed(failure), RunOutcome::Failed),
    }
}

impl Decision {
    /// Of a run that ended for want of its model.
    fn put_off(event: TaskEvent, spent: Spent, checkpoint: Option<Checkpoint>) -> Self {
        let (status, outcome) = match event {
            TaskEvent::Failed(_) => (AttemptStatus::Failed, RunOutcome::Failed),
            _ => (AttemptStatus::Postponed, RunOutcome::Postponed),
        };
        Self { event, status, spent: Some(spent), checkpoint, outcome }
    }

    fn failure(&self) -> Option<&Failure> {
        match &self.event {
            TaskEvent::Failed(failure) | TaskEvent::RetryAt(_, failure) => Some(failure),
            TaskEvent::Postponed(_, postponement) => Some(&postponement.cause),
            _ => None,
        }
    }

    /// What the record of the attempt says of it; takes the checkpoint along.
    fn end(&mut self) -> End {
        let result = match &self.event {
            TaskEvent::Completed(result) => Some(result.clone()),
            _ => None,
        };
        End {
            status: self.status,
            result,
            failure: self.failure().cloned(),
            spent: self.spent.clone(),
            checkpoint: self.checkpoint.take(),
        }
    }
}

impl ReplicaContext {
    /// Records the end of a run, and gives back what became of it.
    pub(super) async fn report(
        &self,
        task: &Task,
        profile: &AgentProfile,
        recorder: &RunRecorder,
        ending: Ending,
    ) -> RunOutcome {
        let (agent, now) = (profile.name.as_str(), clock::now());
        let decision = match ending {
            Ending::Answered(Outcome { result: Err(failure), spent, checkpoint, approvals_requested, .. })
                if failure.class == FailureClass::Unavailable && approvals_requested.is_empty() =>
            {
                let event = self.put_off(task, profile, &failure, now);
                Decision::put_off(event, spent, checkpoint)
            }
            ending => decide(ending, task, &self.retry, &self.approvals, now),
        };
        tokio::select! {
            biased;
            outcome = self.settle(task, agent, recorder, decision) => outcome,
            () = self.abandon.cancelled() => {
                tracing::error!(task = %task.id, "the outcome of the task could not be stored before the exit: another replica rescues the task");
                self.unsettled.store(true, Ordering::Release);
                RunOutcome::Lost
            }
        }
    }

    async fn settle(&self, task: &Task, agent: &str, recorder: &RunRecorder, mut decision: Decision) -> RunOutcome {
        // A run that found its model away and did nothing leaves no record: there may be thousands of them in a night. One that
        // was not allowed to begin leaves none either.
        let is_untouched = decision.checkpoint.is_none() && !recorder.is_recorded();
        let never_began = decision.spent.is_none() && matches!(decision.event, TaskEvent::ApprovalNeeded(_));
        if is_untouched && (never_began || matches!(decision.event, TaskEvent::Postponed(..))) {
            withdraw(task, recorder).await;
        } else {
            record(task, recorder, decision.end()).await;
        }
        let letter = match &decision.event {
            TaskEvent::Failed(failure) => self.bury(task, agent, failure).await,
            _ => None,
        };
        let run = Actor::Run { agent };
        match self.queue.change_until_known(task, &decision.event, run, "store the end of a run").await {
            Ok(_) => {
                // An earlier run may have left a letter and lost its claim before the task failed.
                if matches!(decision.event, TaskEvent::Completed(_)) && task.state.earlier_runs() > 0 {
                    self.queue.forget_letter(task.id).await;
                }
                decision.outcome
            }
            Err(TransitionError::Store(error)) if matches!(decision.event, TaskEvent::Completed(_)) => {
                let failure = Failure::permanent(format!("its result could not be stored: {error}"));
                let instead = Decision {
                    event: TaskEvent::Failed(failure),
                    status: AttemptStatus::Failed,
                    spent: None,
                    checkpoint: None,
                    outcome: RunOutcome::Failed,
                };
                Box::pin(self.settle(task, agent, recorder, instead)).await
            }
            // Somebody wants it stopped, unless the claim is lost, which is told then.
            Err(TransitionError::Lost(_))
                if matches!(
                    decision.event,
                    TaskEvent::RetryAt(..)
                        | TaskEvent::Postponed(..)
                        | TaskEvent::ApprovalNeeded(_)
                        | TaskEvent::TasksAwaited(_)
                ) =>
            {
                let instead = decide(Ending::Cancelled, task, &self.retry, &self.approvals, clock::now());
                Box::pin(self.settle(task, agent, recorder, instead)).await
            }
            Err(TransitionError::Store(error)) => {
                tracing::error!(task = %task.id, %error, "the end of a run was refused by the store");
                self.unsettled.store(true, Ordering::Release);
                RunOutcome::Lost
            }
            Err(error) => {
                self.lost(task, agent, recorder, letter, &error).await;
                RunOutcome::Lost
            }
        }
    }

    /// What the replica that has the task now decides about it counts; this run only leaves its attempt.
    async fn lost(
        &self,
        task: &Task,
        agent: &str,
        recorder: &RunRecorder,
        letter: Option<DeadLetter>,
        error: &TransitionError,
    ) {
        self.queue.record_lost_claim(task.id, agent, format!("the outcome of a run was not recorded: {error}"));
        let end = End { status: AttemptStatus::Lost, result: None, failure: None, spent: None, checkpoint: None };
        if let Err(error) = recorder.finish(end).await {
            tracing::warn!(task = %task.id, %error, "a lost attempt could not be marked as such");
        }
        // The letter of this run may have replaced one of the replica that ended the task.
        if let Some(letter) = letter {
            self.queue.take_back(&letter).await;
        }
    }

    /// Writes the dead letter of `task`, before its transition: a failed task without one would be a silent loss.
    async fn bury(&self, task: &Task, agent: &str, failure: &Failure) -> Option<DeadLetter> {
        match self.queue.bury(task, Some(agent), failure, task.state.earlier_runs() + 1).await {
            Ok(letter) => Some(letter),
            Err(error) => {
                tracing::error!(task = %task.id, %error, %failure, "a dead letter was refused");
                None
            }
        }
    }
}

async fn record(task: &Task, recorder: &RunRecorder, end: End) {
    if task.spec.is_milestone() && end.status == AttemptStatus::Completed {
        return;
    }
    if let Err(error) = recorder.finish(end).await {
        // The outcome of the task matters more than the record of the attempt.
        tracing::error!(task = %task.id, %error, "the record of an attempt was refused");
    }
}

async fn withdraw(task: &Task, recorder: &RunRecorder) {
    if let Err(error) = recorder.withdraw().await {
        tracing::error!(task = %task.id, %error, "the record of an attempt that did nothing stays");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::id::TaskId;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn task(attempt: u32) -> Task {
        Task::new(TaskId::Number(1), "do it", NOW).with(|task| {
            task.state.attempt = attempt;
            task.spec.max_attempts = 3;
        })
    }

    fn judged(ending: Ending, attempt: u32) -> Decision {
        decide(ending, &task(attempt), &RetryPolicy::default(), &ApprovalPolicy { expire_s: 60 }, NOW)
    }

    fn failed(failure: Failure) -> Ending {
        Ending::Answered(Outcome {
            result: Err(failure),
            spent: Spent { steps: 4, ..Spent::default() },
            checkpoint: None,
            approvals_requested: Vec::new(),
            awaits: None,
            memory: None,
        })
    }

    #[test]
    fn a_result_completes_the_task_and_is_kept_in_the_attempt() {
        let outcome = Outcome {
            result: Ok(json!(7)),
            spent: Spent::default(),
            checkpoint: None,
            approvals_requested: Vec::new(),
            awaits: None,
            memory: None,
        };
        let mut decision = judged(Ending::Answered(outcome), 0);
        assert_eq!(decision.event, TaskEvent::Completed(json!(7)));
        assert_eq!(decision.end().result, Some(json!(7)));
    }

    #[test]
    fn a_failure_that_may_pass_is_tried_again_until_the_attempts_are_used_up() {
        let mut decision = judged(failed(Failure::transient("busy")), 1);
        let TaskEvent::RetryAt(at, _) = &decision.event else { panic!("{:?}", decision.event) };
        assert!(*at >= NOW);
        assert_eq!(decision.end().spent.map(|spent| spent.steps), Some(4));
        let last = judged(failed(Failure::transient("busy")), 2);
        assert_eq!(last.event, TaskEvent::Failed(Failure::transient("busy")));
    }

    #[test]
    fn a_failure_that_cannot_pass_ends_the_task_at_once() {
        let mut decision = judged(failed(Failure::invalid("no such tool")), 0);
        assert_eq!((decision.outcome, decision.status), (RunOutcome::Failed, AttemptStatus::Failed));
        assert_eq!(decision.end().failure, Some(Failure::invalid("no such tool")));
    }

    #[test]
    fn being_cut_off_is_no_failure() {
        assert_eq!(judged(Ending::HandedBack, 2).event, TaskEvent::Released);
        assert_eq!(judged(Ending::Cancelled, 2).event, TaskEvent::Cancelled);
        assert!(judged(Ending::HandedBack, 2).end().failure.is_none());
    }

    #[test]
    fn a_time_limit_counts_as_a_failed_attempt() {
        let decision = judged(Ending::Failed(Failure::timeout("too slow")), 0);
        assert!(matches!(decision.event, TaskEvent::RetryAt(..)));
    }
}
