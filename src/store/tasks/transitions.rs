//! Moving tasks on: [`Task::apply`] decides, the group commit writes, and the fence sees to it that one wins.

use futures_util::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use super::codec;
use super::fields::{ADMITTED, NEEDS_MODEL, SETTLED_BY};
use super::found::PointTime;
use super::writer::{Change, Fence, Proof};
use crate::domain::failure::FailureClass;
use crate::domain::task::{Task, TaskEvent};
use crate::domain::time::Timestamp;
use crate::store::{Store, TransitionError};

impl Store {
    /// Applies `event` to `task` as the caller knows it, fenced by its status and claim, and gives back the new task.
    /// Transitions of one moment are written together. Once called, the transition happens even if the caller stops
    /// waiting for it.
    ///
    /// A task that runs under a claim is moved by the holder of the claim alone, and calling again after a failure of
    /// the store tells the outcome of the first call. Its times may become those of a change written along with it,
    /// milliseconds later. Of several that move a task without a claim one wins. A task that somebody wants stopped is not
    /// put off, for another attempt, for its model, for its steps, or until a person has decided: its claim stays, and can cancel it.
    ///
    /// # Errors
    /// [`TransitionError::KeyTaken`] when a requeued task has lost its unique key to another,
    /// [`TransitionError::Lost`] when somebody else was faster, [`TransitionError::Illegal`] when the status does not
    /// allow the event, [`TransitionError::Store`] when the outcome is unknown.
    pub async fn transition(&self, task: &Task, event: &TaskEvent, now: Timestamp) -> Result<Task, TransitionError> {
        // Who changes a task that nobody holds is told apart by the time of the change, even within a millisecond.
        let now = if task.state.claim.is_none() && now == task.state.updated_at { now.plus_millis(1) } else { now };
        let mut next = task.apply(event, now)?;
        let mut point_time = None;
        if *event == TaskEvent::Requeued {
            self.retake_key(task, now).await?;
            point_time = self.time_of_refused(task, now).await?;
        }
        if let Some(time) = point_time {
            next.spec.run_at = time.at;
        }
        let change = change(task, &next, event, point_time, &fresh_mark());
        if self.commit(change).await? { Ok(next) } else { Err(TransitionError::Lost(task.id)) }
    }

    /// [`Store::transition`] of many tasks that no claim holds, cheaper: what is written into several is written once.
    /// The answers are in the order of `tasks`.
    pub async fn transition_all(
        &self,
        tasks: &[Task],
        event: &TaskEvent,
        now: Timestamp,
    ) -> Vec<Result<Task, TransitionError>> {
        let mark = fresh_mark();
        let all = tasks.iter().map(|task| {
            let mark = &mark;
            async move {
                let next = task.apply(event, now)?;
                let change = change(task, &next, event, None, mark);
                if self.commit(change).await? { Ok(next) } else { Err(TransitionError::Lost(task.id)) }
            }
        });
        join_all(all).await
    }
}

fn fresh_mark() -> String {
    Uuid::new_v4().simple().to_string()
}

/// The change that makes `next` of `task`. Of one `mark`, no task may get two changes. `point_time` is that of a point which was refused.
fn change(task: &Task, next: &Task, event: &TaskEvent, point_time: Option<PointTime>, mark: &str) -> Change {
    let mut patch = codec::patch(task, next);
    if *event == TaskEvent::Requeued {
        // A point that another client ended may still carry the claim of its last run, which would keep others from it.
        patch.extend(["claim", "owner"].map(|field| (field.to_owned(), Value::Null)));
    }
    let (fence, proof) = match (&task.state.claim, event) {
        (Some(claim), TaskEvent::CancelRequested | TaskEvent::StepWithdrawn) => {
            (Fence::Held(claim.token.clone()), Proof::CancelRequested(claim.token.clone()))
        }
        // One claim settles a task once, so its token and the event name this change on every try.
        (Some(claim), _) => {
            // The next run, which would heed a wish to stop it, may be far away.
            let puts_off = matches!(
                event,
                TaskEvent::RetryAt(..)
                    | TaskEvent::Postponed(..)
                    | TaskEvent::ApprovalNeeded(_)
                    | TaskEvent::TasksAwaited(_)
            );
            let fence = if puts_off { Fence::Undisturbed } else { Fence::Held };
            (fence(claim.token.clone()), Proof::Mark(format!("{}/{}", claim.token, event.name())))
        }
        (None, _) => (Fence::Unchanged(task.state.status, task.state.updated_at), Proof::Mark(mark.to_owned())),
    };
    if let Proof::Mark(mark) = &proof {
        patch.insert(SETTLED_BY.to_owned(), json!(mark));
    }
    // Tasks that an older version inserted lack it.
    if matches!(event, TaskEvent::Postponed(..)) {
        patch.insert(NEEDS_MODEL.to_owned(), Value::Bool(true));
    }
    // What was refused as unreadable must be read anew: somebody may have corrected it, or it is refused again.
    let was_invalid = task.state.error.as_ref().is_some_and(|error| error.class == FailureClass::Invalid);
    if *event == TaskEvent::Requeued && was_invalid {
        patch.insert(ADMITTED.to_owned(), Value::Bool(false));
    }
    // What the point says of its time holds, and a person may have corrected it.
    match point_time {
        Some(PointTime { is_of_refusal: true, .. }) => {
            patch.insert("run_at".to_owned(), Value::Null);
        }
        Some(PointTime { is_of_refusal: false, .. }) => {
            patch.remove("run_at");
        }
        None => {}
    }
    Change { id: task.id, fence, patch, proof }
}
