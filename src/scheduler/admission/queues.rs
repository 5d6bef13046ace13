//! Holds the points of other clients to the length that a user's queue may have.

use std::collections::HashMap;

use tokio::sync::Mutex;

use crate::domain::failure::Failure;
use crate::domain::limit::Limits;
use crate::domain::task::{Task, TaskStatus};
use crate::store::{Store, StoreError};

/// How many more tasks each user may have, as far as it was asked.
pub(super) struct Queues<'a> {
    store: &'a Store,
    limits: &'a Limits,
    room: Mutex<HashMap<String, u64>>,
}

impl<'a> Queues<'a> {
    pub(super) fn new(store: &'a Store, limits: &'a Limits) -> Self {
        Self { store, limits, room: Mutex::default() }
    }

    /// Counts `task` into the queue of its user, or returns why there is no room for it. A task that runs or has ended is
    /// in no queue.
    ///
    /// # Errors
    /// A failure of the store.
    pub(super) async fn refusal(&self, task: &Task) -> Result<Option<Failure>, StoreError> {
        if task.state.status == TaskStatus::Running || task.state.status.is_terminal() {
            return Ok(None);
        }
        let Some(user) = task.spec.user.as_deref() else { return Ok(None) };
        let Some(most) = self.limits.max_queued_of(user) else { return Ok(None) };
        let mut room = self.room.lock().await;
        if !room.contains_key(user) {
            let queued = self.store.count_unfinished_of(user).await?;
            room.insert(user.to_owned(), u64::from(most).saturating_sub(queued));
        }
        if let Some(left) = room.get_mut(user).filter(|left| **left > 0) {
            *left -= 1;
            return Ok(None);
        }
        Ok(Some(Failure::invalid(format!(
            "user {user:?} has {most} tasks that have not ended, the most (limits.users): requeue it once some have ended"
        ))))
    }
}
