//! Points of other clients: written as tasks, kept out, or rejected.

use super::Queue;
use crate::domain::dead_letter::DeadLetter;
use crate::domain::event::{Event, EventKind, Level};
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::id::TaskId;
use crate::domain::schedule::zone::Zone;
use crate::domain::task::{Task, TaskStatus};
use crate::domain::time::Timestamp;
use crate::store::{RawTask, SeenLetter, StoreError};
use crate::telemetry::metrics;

impl Queue {
    /// Writes `task` into its point, unless the point was admitted meanwhile; then it returns `false`. `story` says what its
    /// earlier runs mean for it. Of the dead letters of a task that lives again, those seen before go.
    ///
    /// # Errors
    /// A failure of the store; another call is safe.
    pub(crate) async fn admit(
        &self,
        task: &Task,
        story: Option<&str>,
        letters: &[SeenLetter],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if !self.store().admit(task).await? {
            return Ok(false);
        }
        metrics::TASKS_ADMITTED.inc([]);
        if task.state.status == TaskStatus::AwaitingApproval {
            metrics::APPROVALS_REQUESTED
                .add(task.state.approvals.iter().filter(|approval| approval.is_open()).count(), []);
        }
        let message = match story {
            Some(story) => format!("admitted as {}: {story}", task.state.status),
            None if task.state.status == TaskStatus::Running => {
                "admitted as running: another program carries it out, and qron does not run it".to_owned()
            }
            None => format!("admitted as {}", task.state.status),
        };
        self.history().note(Event::new(EventKind::Admitted, message, now).task(task.id));
        if !task.state.status.is_terminal() {
            let letters: Vec<SeenLetter> = letters.iter().filter(|letter| letter.task == task.id).copied().collect();
            self.store().purge_seen_letters(&letters).await?;
        }
        Ok(true)
    }

    /// Records in the history that the point of an admitted task has a field that qron does not know.
    pub(crate) fn record_unknown_field(&self, task: TaskId, hint: String, now: Timestamp) {
        tracing::warn!(%task, hint, "a point has a field that qron does not know");
        self.history().note(Event::new(EventKind::UnknownField, hint, now).level(Level::Warn).task(task));
    }

    /// Admits a task as skipped, because the task `holder` has its unique key. Returns `false` when it was admitted meanwhile.
    ///
    /// # Errors
    /// A failure of the store; another call is safe.
    pub(crate) async fn keep_out(&self, task: Task, holder: TaskId, now: Timestamp) -> Result<bool, StoreError> {
        let key = task.spec.unique_key.as_deref().unwrap_or_default();
        let reason = format!("task {holder} holds its unique key {key:?}");
        let skipped = task.with(|task| {
            task.state.status = TaskStatus::Skipped;
            task.state.error = Some(Failure::new(FailureClass::Cancelled, reason.clone()));
            task.state.finished_at = Some(now);
        });
        if !self.store().skip(&skipped).await? {
            return Ok(false);
        }
        metrics::TASKS_NOT_CREATED.inc(["point"]);
        let event = Event::new(EventKind::KeptOut, format!("skipped: {reason}"), now).level(Level::Warn);
        self.history().note(event.task(skipped.id).with("holder", holder.to_string()));
        self.signals().ended(skipped.id, false);
        Ok(true)
    }

    /// Puts a point that cannot be a task into the dead letters, and marks it as failed. Returns `false` when it was admitted
    /// meanwhile.
    ///
    /// # Errors
    /// A failure of the store; another call is safe.
    pub(crate) async fn reject(
        &self,
        raw: &RawTask,
        failure: Failure,
        zone: Zone,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let letter = DeadLetter {
            task_id: raw.id,
            goal: raw.goal(),
            agent: None,
            failure: failure.clone(),
            attempts: 0,
            earlier_failures: Vec::new(),
            payload: raw.payload.clone(),
            buried_at: now,
        };
        // The dead letter comes first: a rejected point without one would be a silent loss.
        self.store().bury(&letter).await?;
        if !self.store().reject(raw, &failure, zone, now).await? {
            return Ok(false);
        }
        metrics::TASKS_REJECTED.inc([]);
        metrics::DEAD_LETTERED.inc([failure.class.as_str()]);
        let event =
            Event::new(EventKind::Rejected, format!("the point is no valid task: {failure}"), now).level(Level::Error);
        self.history().note(event.task(raw.id));
        Ok(true)
    }
}
