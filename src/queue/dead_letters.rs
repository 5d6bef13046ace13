//! Dead letters in the right order: a letter before its task fails, and gone after its task is requeued. So a crash in between
//! leaves a letter too many, and never a failed task without one.

use super::{ChangeError, Person, Queue};
use crate::clock;
use crate::domain::attempt::{Attempt, AttemptStatus};
use crate::domain::dead_letter::DeadLetter;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::id::TaskId;
use crate::domain::task::{Task, TaskEvent, TaskStatus};
use crate::store::{SeenLetter, StoreError, persist, task_payload};

impl Queue {
    /// Has a task done again that ended badly, from a clean slate; its dead letter goes.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn requeue(&self, id: TaskId, person: &Person) -> Result<Task, ChangeError> {
        if let Some(reason) = self.still_refused(id).await? {
            return Err(ChangeError::StillRefused { id, reason });
        }
        // Seen before, since the task may fail again at once, and its new letter stays.
        let letters = self.store().seen_letters(&[id]).await?;
        let task = self.change(id, &TaskEvent::Requeued, person).await?;
        self.store().purge_seen_letters(&letters).await?;
        Ok(task)
    }

    /// Why a task would only be refused again: its point could not be read, which its dead letter tells, and still cannot.
    pub(super) async fn still_refused(&self, id: TaskId) -> Result<Option<String>, StoreError> {
        let letter = self.store().dead_letter(id).await?;
        let refused = letter.filter(|letter| letter.attempts == 0 && letter.failure.class == FailureClass::Invalid);
        match refused {
            Some(letter) => self.store().still_refused(id, &letter.payload).await,
            None => Ok(None),
        }
    }

    /// Removes dead letters, and returns how many there were. Their tasks stay as they are.
    ///
    /// # Errors
    /// A failure of the store; another call removes the rest.
    pub async fn purge_dead_letters(&self, tasks: &[TaskId]) -> Result<u64, StoreError> {
        self.store().purge_dead_letters(tasks).await
    }

    /// Writes the dead letter of `task`, which is about to fail with `failure` after this many `attempts`. Waits while the
    /// store does not answer.
    pub(crate) async fn bury(
        &self,
        task: &Task,
        agent: Option<&str>,
        failure: &Failure,
        attempts: u32,
    ) -> Result<DeadLetter, StoreError> {
        let earlier_failures = if attempts > 1 { self.earlier_failures(task).await } else { Vec::new() };
        let letter = DeadLetter {
            task_id: task.id,
            goal: task.spec.goal.clone(),
            agent: agent.map(str::to_owned),
            failure: failure.clone(),
            attempts,
            earlier_failures,
            payload: task_payload(task),
            buried_at: clock::now(),
        };
        persist("store a dead letter", || self.store().bury(&letter)).await?;
        Ok(letter)
    }

    /// Takes back the `letter` of a run whose failure was not recorded, unless another letter has taken its place. A task that
    /// failed otherwise had a letter before this one: it gets one of the failure that counts.
    pub(crate) async fn take_back(&self, letter: &DeadLetter) {
        let found = persist("read a dead letter", || self.store().dead_letter(letter.task_id)).await;
        if !matches!(found, Ok(Some(found)) if found == *letter) {
            return;
        }
        let id = letter.task_id;
        let outdated = match persist("read a task", || self.store().task(id)).await {
            Ok(Some(task)) if task.state.status == TaskStatus::Failed => match &task.state.error {
                Some(failure) => self.bury(&task, None, failure, task.state.earlier_runs()).await.map(drop),
                None => Ok(()),
            },
            Ok(_) => return self.unbury(letter).await,
            Err(error) => Err(error),
        };
        if let Err(error) = outdated {
            tracing::warn!(task = %id, %error, "a dead letter tells of a failure that does not count");
        }
    }

    /// Removes the letter of a task that completed after all.
    pub(crate) async fn forget_letter(&self, task: TaskId) {
        let found = persist("read a dead letter", || self.store().dead_letter(task)).await;
        if let Ok(Some(letter)) = found {
            self.unbury(&letter).await;
        }
    }

    async fn unbury(&self, letter: &DeadLetter) {
        let this = [SeenLetter::from(letter)];
        if let Err(error) = persist("remove a dead letter", || self.store().purge_seen_letters(&this)).await {
            tracing::warn!(task = %letter.task_id, %error, "an outdated dead letter could not be removed");
        }
    }

    async fn earlier_failures(&self, task: &Task) -> Vec<Failure> {
        let claim = task.state.claim.as_ref().map(|claim| claim.token.as_str());
        match persist("read the attempts of a task", || self.store().attempts(task.id)).await {
            Ok(attempts) => {
                let earlier = attempts.into_iter().filter(|attempt| Some(attempt.claim.as_str()) != claim);
                earlier.filter_map(failure_of).collect()
            }
            Err(error) => {
                tracing::warn!(task = %task.id, %error, "its dead letter lacks the failures of earlier attempts");
                Vec::new()
            }
        }
    }
}

fn failure_of(attempt: Attempt) -> Option<Failure> {
    match attempt.status {
        AttemptStatus::Running => {
            let message = format!("the process that ran attempt {} died before it recorded an outcome", attempt.number);
            Some(Failure::new(FailureClass::Crashed, message))
        }
        _ => attempt.failure,
    }
}
