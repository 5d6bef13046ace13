//! Moving tasks on: [`Task::apply`] decides, the group commit writes, and the fence sees to it that one wins.

use serde_json::{Value, json};
use uuid::Uuid;

use super::codec::{self, ADMITTED, SETTLED_BY};
use super::writer::{Change, Fence, Proof};
use super::{Store, TransitionError};
use crate::domain::failure::FailureClass;
use crate::domain::task::{Task, TaskEvent};
use crate::domain::time::Timestamp;

impl Store {
    /// Applies `event` to `task` as the caller knows it, fenced by its status and claim, and gives back the new task.
    /// Transitions of one moment are written together. Once called, the transition happens even if the caller stops
    /// waiting for it.
    ///
    /// A task that runs under a claim is moved by the holder of the claim alone, and calling again after a failure of
    /// the store tells the outcome of the first call. Of several that move a task without a claim one wins.
    ///
    /// # Errors
    /// [`TransitionError::Lost`] when somebody else was faster, [`TransitionError::Illegal`] when the status does not
    /// allow the event, [`TransitionError::Store`] when the outcome is unknown.
    pub async fn transition(&self, task: &Task, event: &TaskEvent, now: Timestamp) -> Result<Task, TransitionError> {
        // Who changes a task that nobody holds is told apart by the time of the change, even within a millisecond.
        let now = if task.claim.is_none() && now == task.updated_at { now.plus_millis(1) } else { now };
        let next = task.apply(event, now)?;
        let change = change(task, &next, event);
        if self.commit(change).await? { Ok(next) } else { Err(TransitionError::Lost(task.id)) }
    }
}

fn change(task: &Task, next: &Task, event: &TaskEvent) -> Change {
    let mut patch = codec::patch(task, next);
    let (fence, proof) = match (&task.claim, event) {
        (Some(claim), TaskEvent::CancelRequested) => {
            (Fence::Held(claim.token.clone()), Proof::CancelRequested(claim.token.clone()))
        }
        // One claim settles a task once, so its token and the event name this change on every try.
        (Some(claim), _) => {
            (Fence::Held(claim.token.clone()), Proof::Mark(format!("{}/{}", claim.token, event.name())))
        }
        (None, _) => (Fence::Unchanged(task.status, task.updated_at), Proof::Mark(Uuid::new_v4().simple().to_string())),
    };
    if let Proof::Mark(mark) = &proof {
        patch.insert(SETTLED_BY.to_owned(), json!(mark));
    }
    // What was refused as unreadable must be read anew: somebody may have corrected it, or it is refused again.
    let was_invalid = task.error.as_ref().is_some_and(|error| error.class == FailureClass::Invalid);
    if *event == TaskEvent::Requeued && was_invalid {
        patch.insert(ADMITTED.to_owned(), Value::Bool(false));
    }
    Change { id: task.id, fence, patch, proof }
}
