//! Tasks that a run makes, each within the budget of the tree it belongs to.

use super::{Ids, Queue, Source, Submission, SubmitError};
use crate::domain::id::TaskId;
use crate::domain::task::Task;
use crate::domain::time::Timestamp;
use crate::store::{Inserted, StoreError, Taken, TreePlace};

/// The slots of a tree, of which each task below its root takes one.
#[derive(Clone, Copy, Debug)]
pub struct TreeSlots {
    /// The first task of the tree.
    pub root: TaskId,
    /// How many tasks may be below it.
    pub slots: u64,
}

/// Why a child was not inserted.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// The tree has as many tasks as it may have.
    #[error("all slots of the tree are taken")]
    Full,
    /// All slots are taken, some for tasks that are being inserted at this moment.
    #[error("all slots of the tree are taken, some for tasks that are being inserted")]
    Unsettled,
    /// Inserting failed.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

impl From<StoreError> for ChildError {
    fn from(error: StoreError) -> Self {
        Self::Submit(error.into())
    }
}

impl Queue {
    /// Inserts a task that a run makes. It takes one of the slots of `tree`, unless that is `None` because the task was made
    /// before. Calling again with the same task is safe.
    ///
    /// # Errors
    /// [`ChildError`]; after a refusal the task has no slot.
    pub async fn submit_child(
        &self,
        task: Task,
        tree: Option<TreeSlots>,
        now: Timestamp,
    ) -> Result<Inserted, ChildError> {
        let id = task.id;
        let place = match tree {
            Some(tree) => Some(self.take_slot(&task, tree, now).await?),
            None => None,
        };
        let submission = Submission { tasks: vec![task], ids: Ids::Chosen, source: Source::Tool };
        let inserted = match self.submit(submission, now).await {
            Ok(submitted) => submitted.inserted.into_iter().next().ok_or(SubmitError::Broken)?,
            Err(error) => {
                self.give_back_after(&error, place).await?;
                return Err(error.into());
            }
        };
        if let Some(place) = place.filter(|_| inserted.id != id) {
            // A unique key may have led the task to another id, or to a task that has its slot.
            if inserted.created {
                self.store().pass_place(&place, inserted.id, now).await?;
            } else {
                self.store().give_back(&place).await?;
            }
        }
        Ok(inserted)
    }

    async fn take_slot(&self, task: &Task, tree: TreeSlots, now: Timestamp) -> Result<TreePlace, ChildError> {
        self.store().check_new(task)?;
        match self.store().take_place(task, tree.root, tree.slots, now).await? {
            Taken::Place(place) => Ok(place),
            Taken::Full => Err(ChildError::Full),
            Taken::Unsettled => Err(ChildError::Unsettled),
        }
    }

    /// After a refusal nothing is written, and the slot is free again. After any other failure it is not known what was written:
    /// the task keeps its slot for the call that is made again.
    async fn give_back_after(&self, error: &SubmitError, place: Option<TreePlace>) -> Result<(), StoreError> {
        let is_refusal = matches!(error, SubmitError::Store(error) if !error.is_transient());
        match place {
            Some(place) if is_refusal => self.store().give_back(&place).await,
            _ => Ok(()),
        }
    }
}
