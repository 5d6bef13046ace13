//! The unique key of a task that has ended and is to be pending again.

use std::collections::HashMap;

use qdrant_client::qdrant::UpdateMode;
use uuid::Uuid;

use super::{BATCH, Hold, Holder, Placement, TRIES, Verdict, judge, new_key, point_of, replacement};
use crate::domain::id::TaskId;
use crate::domain::task::Task;
use crate::domain::time::Timestamp;
use crate::domain::unique::UniqueFor;
use crate::store::qdrant::collections::Collection;
use crate::store::{Store, StoreError, TransitionError};

/// How long a requeue keeps a key for the task that is about to be pending again, in milliseconds.
const REQUEUE_MS: i64 = 60_000;

impl Store {
    /// Takes the key of `task`, which has ended and is to be pending again, anew. The key is kept for it for a minute,
    /// in which the caller makes it pending; a task that was inserted meanwhile has the key instead.
    ///
    /// # Errors
    /// [`TransitionError::KeyTaken`] when another task that has not ended has the key.
    pub(in crate::store::tasks) async fn retake_key(&self, task: &Task, now: Timestamp) -> Result<(), TransitionError> {
        let Some(key) = key_to_retake(task) else { return Ok(()) };
        let id = point_of(key);
        for _ in 0..TRIES {
            let version = Uuid::new_v4().simple().to_string();
            let until = now.plus_millis(REQUEUE_MS);
            match self.holds([key].into_iter()).await?.get(&id) {
                None => {
                    let mut point = new_key(key, task.id, &version, now);
                    point.payload.insert("kept_until".to_owned(), until.as_millis().into());
                    let points = vec![point];
                    self.inner.upsert("retake_key", Collection::Keys, points, UpdateMode::InsertOnly).await?;
                }
                Some(hold) => {
                    if hold.holder != task.id {
                        let holders = self.holders([hold.holder].into_iter()).await?;
                        if let Some(holder) = keeps_out(hold, &holders, now) {
                            return Err(TransitionError::KeyTaken { id: task.id, key: key.to_owned(), holder });
                        }
                    }
                    let operations = vec![replacement(id, hold, task.id, &version, now, Some(until))];
                    self.inner.update_batch("retake_key", Collection::Keys, operations).await?;
                }
            }
            if self.holds([key].into_iter()).await?.get(&id).is_some_and(|hold| hold.version == version) {
                return Ok(());
            }
        }
        let reason = format!("too many others use the unique key {key:?} at this moment");
        Err(StoreError::Unavailable { url: self.inner.url.clone(), reason }.into())
    }

    /// The tasks among `tasks` whose key [`Store::retake_key`] would refuse them now, with the task that has it. Changes nothing.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn tasks_without_key(
        &self,
        tasks: &[Task],
        now: Timestamp,
    ) -> Result<HashMap<TaskId, TaskId>, StoreError> {
        let mut refused = HashMap::new();
        let keyed: Vec<(TaskId, &str)> =
            tasks.iter().filter_map(|task| Some((task.id, key_to_retake(task)?))).collect();
        for batch in keyed.chunks(BATCH) {
            let holds = self.holds(batch.iter().map(|(_, key)| *key)).await?;
            let holders = self.holders(holds.values().map(|hold| hold.holder)).await?;
            refused.extend(batch.iter().filter_map(|(id, key)| {
                let hold = holds.get(&point_of(key)).filter(|hold| hold.holder != *id)?;
                Some((*id, keeps_out(hold, &holders, now)?))
            }));
        }
        Ok(refused)
    }
}

/// The key that a task needs to be pending again; `None` when it has none, or a key that it did not lose by ending.
fn key_to_retake(task: &Task) -> Option<&str> {
    task.spec.unique_key.as_deref().filter(|_| task.spec.unique_for == UniqueFor::Alive)
}

/// The task that keeps others from the key of `hold`, if one does.
fn keeps_out(hold: &Hold, holders: &HashMap<TaskId, Holder>, now: Timestamp) -> Option<TaskId> {
    match judge(hold, holders.get(&hold.holder), UniqueFor::Alive, now) {
        // A holder without a task is being written at this moment.
        Verdict::Settled(Placement::Taken(holder) | Placement::Write(holder)) => Some(holder),
        Verdict::Propose => None,
    }
}
