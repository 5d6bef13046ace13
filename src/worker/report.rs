//! What follows from the end of a run: the attempt's last record, a dead letter perhaps, and the task's transition.
//!
//! The transition comes last and is fenced: until it is written the task can be run again, and once somebody else
//! holds the task nothing of this run reaches it.

use std::sync::atomic::Ordering;

use super::execute::{Ending, Worker};
use super::persist;
use super::recorder::{End, RunRecorder};
use crate::agent::{Checkpoint, Outcome};
use crate::clock;
use crate::domain::agent::AgentProfile;
use crate::domain::approval::{Approval, ApprovalPolicy};
use crate::domain::attempt::AttemptStatus;
use crate::domain::budget::Spent;
use crate::domain::dead_letter::DeadLetter;
use crate::domain::event::{Event, Level};
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::retry::{RetryPolicy, Verdict};
use crate::domain::task::{Task, TaskEvent};
use crate::domain::time::Timestamp;
use crate::store::{SeenLetter, Store, StoreError, TransitionError, task_payload};
use crate::telemetry::metrics;

/// What to write about a run that ended.
struct Decision {
    event: TaskEvent,
    status: AttemptStatus,
    spent: Option<Spent>,
    checkpoint: Option<Checkpoint>,
    /// The word for it in metrics.
    outcome: &'static str,
}

/// Decides what becomes of `task` after its run ended.
fn decide(ending: Ending, task: &Task, retry: &RetryPolicy, approvals: &ApprovalPolicy, now: Timestamp) -> Decision {
    let stopped = |event, status, outcome| Decision { event, status, spent: None, checkpoint: None, outcome };
    match ending {
        Ending::Cancelled => stopped(TaskEvent::Cancelled, AttemptStatus::Cancelled, "cancelled"),
        Ending::Cut => stopped(TaskEvent::Released, AttemptStatus::Released, "released"),
        Ending::Unapproved => {
            let event = TaskEvent::ApprovalNeeded(vec![Approval::of_task(task, approvals, now)]);
            stopped(event, AttemptStatus::AwaitingApproval, "asking")
        }
        Ending::Broke(failure) => {
            let (event, outcome) = judge(failure, task, retry, now);
            stopped(event, AttemptStatus::Failed, outcome)
        }
        Ending::Answered(Outcome { asks, spent, checkpoint, .. }) if !asks.is_empty() => {
            let asked = asks.iter().map(|call| Approval::of_call(call, approvals, now)).collect();
            let (event, status) = (TaskEvent::ApprovalNeeded(asked), AttemptStatus::AwaitingApproval);
            Decision { event, status, spent: Some(spent), checkpoint, outcome: "asking" }
        }
        Ending::Answered(Outcome { result, spent, checkpoint, .. }) => {
            let (event, status, outcome) = match result {
                Ok(result) => (TaskEvent::Completed(result), AttemptStatus::Completed, "completed"),
                Err(failure) => {
                    let (event, outcome) = judge(failure, task, retry, now);
                    (event, AttemptStatus::Failed, outcome)
                }
            };
            Decision { event, status, spent: Some(spent), checkpoint, outcome }
        }
    }
}

fn judge(failure: Failure, task: &Task, retry: &RetryPolicy, now: Timestamp) -> (TaskEvent, &'static str) {
    match retry.judge(&failure, task.attempt.saturating_add(1), task.max_attempts) {
        Verdict::RetryIn(ms) => {
            let at = now.plus_millis(i64::try_from(ms).unwrap_or(i64::MAX));
            (TaskEvent::RetryAt(at, failure), "retried")
        }
        Verdict::GiveUp => (TaskEvent::Failed(failure), "failed"),
    }
}

impl Decision {
    /// Of a run that ended for want of its model.
    fn put_off(event: TaskEvent, spent: Spent, checkpoint: Option<Checkpoint>) -> Self {
        let (status, outcome) = match event {
            TaskEvent::Failed(_) => (AttemptStatus::Failed, "failed"),
            _ => (AttemptStatus::Postponed, "postponed"),
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

impl Worker {
    /// Records the end of a run, and gives back the word for it in metrics.
    pub(super) async fn report(
        &self,
        task: &Task,
        profile: &AgentProfile,
        recorder: &RunRecorder,
        ending: Ending,
    ) -> &'static str {
        let (agent, now) = (profile.name.as_str(), clock::now());
        let decision = match ending {
            Ending::Answered(Outcome { result: Err(failure), spent, checkpoint, asks, .. })
                if failure.class == FailureClass::Unavailable && asks.is_empty() =>
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
                tracing::error!(task = %task.id, "its end could not be stored before the exit: it will be rescued");
                self.unsettled.store(true, Ordering::Release);
                "lost"
            }
        }
    }

    async fn settle(&self, task: &Task, agent: &str, recorder: &RunRecorder, mut decision: Decision) -> &'static str {
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
        match self.transition(task, &decision.event).await {
            Ok(()) => {
                self.after(task, agent, recorder, &decision).await;
                decision.outcome
            }
            Err(TransitionError::Store(error)) if matches!(decision.event, TaskEvent::Completed(_)) => {
                let failure = Failure::permanent(format!("its result could not be stored: {error}"));
                let instead = Decision {
                    event: TaskEvent::Failed(failure),
                    status: AttemptStatus::Failed,
                    spent: None,
                    checkpoint: None,
                    outcome: "failed",
                };
                Box::pin(self.settle(task, agent, recorder, instead)).await
            }
            // Somebody wants it stopped, unless the claim is lost, which is told then.
            Err(TransitionError::Lost(_))
                if matches!(
                    decision.event,
                    TaskEvent::RetryAt(..) | TaskEvent::Postponed(..) | TaskEvent::ApprovalNeeded(_)
                ) =>
            {
                let instead = decide(Ending::Cancelled, task, &self.retry, &self.approvals, clock::now());
                Box::pin(self.settle(task, agent, recorder, instead)).await
            }
            Err(TransitionError::Store(error)) => {
                tracing::error!(task = %task.id, %error, "the end of a run was refused by the store");
                self.unsettled.store(true, Ordering::Release);
                "lost"
            }
            Err(error) => {
                self.lost(task, recorder, letter, &error).await;
                "lost"
            }
        }
    }

    async fn transition(&self, task: &Task, event: &TaskEvent) -> Result<(), TransitionError> {
        let now = clock::now();
        persist("store the end of a run", || self.store.transition(task, event, now)).await.map(|_| ())
    }

    /// What the replica that has the task now decides about it counts; this run only leaves its attempt.
    async fn lost(&self, task: &Task, recorder: &RunRecorder, letter: Option<DeadLetter>, error: &TransitionError) {
        metrics::CLAIMS_LOST.inc([]);
        let message = format!("the outcome of a run was not recorded: {error}");
        self.events.note(recorder.about(Event::new("lost", message, clock::now()).level(Level::Warn)));
        let end = End { status: AttemptStatus::Lost, result: None, failure: None, spent: None, checkpoint: None };
        if let Err(error) = recorder.finish(end).await {
            tracing::warn!(task = %task.id, %error, "a lost attempt could not be marked as such");
        }
        let Some(letter) = letter else { return };
        // Somebody else may have buried the task by now: only the letter of this run is taken back.
        let found = persist("read a dead letter", || self.store.dead_letter(task.id)).await;
        if matches!(found, Ok(Some(found)) if found == letter) {
            self.unbury(&letter).await;
        }
    }

    /// Writes the dead letter of `task`, before its transition: a failed task without one would be a silent loss.
    async fn bury(&self, task: &Task, agent: &str, failure: &Failure) -> Option<DeadLetter> {
        let letter = dead_letter(&self.store, task, Some(agent), failure, task.earlier_runs() + 1).await;
        match persist("store a dead letter", || self.store.bury(&letter)).await {
            Ok(()) => Some(letter),
            Err(error) => {
                tracing::error!(task = %task.id, %error, %failure, "a dead letter was refused");
                None
            }
        }
    }

    async fn unbury(&self, letter: &DeadLetter) {
        let this = [SeenLetter::from(letter)];
        if let Err(error) = persist("remove a dead letter", || self.store.purge_seen_letters(&this)).await {
            tracing::warn!(task = %letter.task_id, %error, "an outdated dead letter could not be removed");
        }
    }

    /// Metrics, history and signals of a recorded transition.
    async fn after(&self, task: &Task, agent: &str, recorder: &RunRecorder, decision: &Decision) {
        let now = clock::now();
        let name = decision.event.name();
        let event = match &decision.event {
            TaskEvent::Completed(_) => {
                metrics::TASKS_COMPLETED.inc([agent]);
                Event::new(name, "completed", now)
            }
            TaskEvent::RetryAt(at, failure) => {
                metrics::TASKS_RETRIED.inc([failure.class.as_str()]);
                self.signals.due_at(*at);
                let message = format!("attempt {} failed, the next one starts at {at}: {failure}", task.attempt + 1);
                Event::new(name, message, now).level(Level::Warn).with("class", failure.class.as_str())
            }
            TaskEvent::Postponed(until, postponement) => {
                metrics::TASKS_POSTPONED.inc([]);
                self.signals.due_at(*until);
                let event = Event::new(name, postponement.told(Some(*until)), now).level(Level::Warn);
                event.with("model", postponement.model.as_str()).with("times", postponement.times)
            }
            TaskEvent::Failed(failure) => {
                metrics::TASKS_FAILED.inc([agent, failure.class.as_str()]);
                metrics::DEAD_LETTERED.inc([failure.class.as_str()]);
                let message = format!("failed for good after attempt {}: {failure}", task.attempt + 1);
                Event::new(name, message, now).level(Level::Error).with("class", failure.class.as_str())
            }
            TaskEvent::Cancelled => {
                metrics::TASKS_CANCELLED.inc([]);
                Event::new(name, "stopped on request", now)
            }
            TaskEvent::ApprovalNeeded(asked) => {
                metrics::APPROVALS_ASKED.add(asked.len(), []);
                let calls: Vec<String> = asked.iter().map(Approval::title).collect();
                let hashes: Vec<&str> = asked.iter().map(|approval| approval.hash.as_str()).collect();
                let message = format!("waits for a person to decide on {}", calls.join(", "));
                Event::new(name, message, now).with("hashes", hashes)
            }
            _ => {
                metrics::TASKS_RELEASED.inc([]);
                self.signals.found();
                Event::new(name, "handed back unfinished, at no charge", now)
            }
        };
        let is_completed = matches!(decision.event, TaskEvent::Completed(_));
        if !(is_completed && task.is_milestone()) {
            self.events.note(recorder.about(event));
        }
        if is_completed && task.earlier_runs() > 0 {
            let found = persist("read a dead letter", || self.store.dead_letter(task.id)).await;
            if let Ok(Some(letter)) = found {
                self.unbury(&letter).await;
            }
        }
        match &decision.event {
            TaskEvent::Completed(_) => self.signals.ended(task.id, true),
            TaskEvent::Failed(_) | TaskEvent::Cancelled => self.signals.ended(task.id, false),
            _ => {}
        }
    }
}

async fn record(task: &Task, recorder: &RunRecorder, end: End) {
    if task.is_milestone() && end.status == AttemptStatus::Completed {
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

/// The dead letter of `task`, with the failures of its attempts before the last.
pub(crate) async fn dead_letter(
    store: &Store,
    task: &Task,
    agent: Option<&str>,
    failure: &Failure,
    attempts: u32,
) -> DeadLetter {
    let earlier_failures = if attempts > 1 { earlier_failures(store, task).await } else { Vec::new() };
    DeadLetter {
        task_id: task.id,
        goal: task.goal.clone(),
        agent: agent.map(str::to_owned),
        failure: failure.clone(),
        attempts,
        earlier_failures,
        payload: task_payload(task),
        buried_at: clock::now(),
    }
}

async fn earlier_failures(store: &Store, task: &Task) -> Vec<Failure> {
    let claim = task.claim.as_ref().map(|claim| claim.token.as_str());
    match persist("read the attempts of a task", || store.attempts(task.id)).await {
        Ok(attempts) => attempts
            .into_iter()
            .filter(|attempt| Some(attempt.claim.as_str()) != claim)
            .filter_map(|attempt| match attempt.status {
                AttemptStatus::Running => {
                    let message = format!("the process of attempt {} ended without a word", attempt.number);
                    Some(Failure::new(FailureClass::Crashed, message))
                }
                _ => attempt.failure,
            })
            .collect(),
        Err(error) => {
            log_unread(task, &error);
            Vec::new()
        }
    }
}

fn log_unread(task: &Task, error: &StoreError) {
    tracing::warn!(task = %task.id, %error, "its dead letter lacks the failures of earlier attempts");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::id::TaskId;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn task(attempt: u32) -> Task {
        Task { attempt, max_attempts: 3, ..Task::new(TaskId::Number(1), "do it", NOW) }
    }

    fn judged(ending: Ending, attempt: u32) -> Decision {
        decide(ending, &task(attempt), &RetryPolicy::default(), &ApprovalPolicy { expire_s: 60 }, NOW)
    }

    fn failed(failure: Failure) -> Ending {
        Ending::Answered(Outcome {
            result: Err(failure),
            spent: Spent { steps: 4, ..Spent::default() },
            checkpoint: None,
            asks: Vec::new(),
            memory: None,
        })
    }

    #[test]
    fn a_result_completes_the_task_and_is_kept_in_the_attempt() {
        let outcome =
            Outcome { result: Ok(json!(7)), spent: Spent::default(), checkpoint: None, asks: Vec::new(), memory: None };
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
        assert_eq!((decision.outcome, decision.status), ("failed", AttemptStatus::Failed));
        assert_eq!(decision.end().failure, Some(Failure::invalid("no such tool")));
    }

    #[test]
    fn being_cut_off_is_no_failure() {
        assert_eq!(judged(Ending::Cut, 2).event, TaskEvent::Released);
        assert_eq!(judged(Ending::Cancelled, 2).event, TaskEvent::Cancelled);
        assert!(judged(Ending::Cut, 2).end().failure.is_none());
    }

    #[test]
    fn a_time_limit_counts_as_a_failed_attempt() {
        let decision = judged(Ending::Broke(Failure::timeout("too slow")), 0);
        assert!(matches!(decision.event, TaskEvent::RetryAt(..)));
    }
}
