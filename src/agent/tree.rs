//! The tree of a running task, and what it has spent.
//!
//! The total is read right before a model call, once for all calls of one moment, and added up from the records of all
//! attempts of the tree; a run writes its own record before. While the store does not answer, the run waits. So a tree goes over its budget by the calls in flight at most. A task that no task made and
//! that makes none costs nothing extra.

use uuid::Uuid;

use crate::domain::attempt::Attempt;
use crate::domain::budget::Spent;
use crate::domain::failure::Failure;
use crate::domain::id::TaskId;
use crate::domain::task::Task;
use crate::domain::tree::{TreeAccount, TreeBudget};
use crate::store::{Store, StoreError, persist};

/// The operation, as the log names it.
const WHAT: &str = "read what a tree of tasks has spent";

/// The tree of the task that a run carries out.
pub(super) struct Tree {
    store: Store,
    root: TaskId,
    budget: TreeBudget,
    /// The attempt that the run is.
    attempt: Uuid,
    /// What earlier attempts of the task had spent when the run began.
    carried: Spent,
    /// Whether the tree has, or may have, more than one task.
    is_shared: bool,
}

impl Tree {
    /// The tree of `task`, whose earlier attempts have spent `carried`. While the store does not answer, this waits.
    ///
    /// # Errors
    /// When the store refuses.
    pub(super) async fn of(
        store: &Store,
        task: &Task,
        budget: &TreeBudget,
        carried: &Spent,
    ) -> Result<Self, StoreError> {
        let claim = task.state.claim.as_ref().map_or("", |claim| claim.token.as_str());
        // Its first run has made no task yet.
        let is_shared =
            task.spec.lineage.root.is_some() || (task.state.earlier_runs() > 0 && has_descendants(store, task).await?);
        Ok(Self {
            store: store.clone(),
            root: task.root(),
            budget: budget.clone(),
            attempt: Attempt::id_for(task.id, claim),
            carried: carried.clone(),
            is_shared,
        })
    }

    /// Whether it has, or may have, more than one task.
    pub(super) const fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Records that the run creates another task.
    pub(super) const fn grow(&mut self) {
        self.is_shared = true;
    }

    /// The account of the tree as it is now. While the store does not answer, this waits.
    ///
    /// # Errors
    /// A passing failure when the store refuses.
    pub(super) async fn account(&self) -> Result<TreeAccount, Failure> {
        let elsewhere = persist(WHAT, || self.store.tree_spent(self.root, self.attempt)).await;
        let elsewhere = elsewhere.map_err(|error| unreadable(&error))?;
        let (budget, carried) = (self.budget.clone(), self.carried.clone());
        Ok(TreeAccount { root: self.root, budget, elsewhere, carried })
    }
}

async fn has_descendants(store: &Store, task: &Task) -> Result<bool, StoreError> {
    Ok(persist(WHAT, || store.descendants(task.id)).await? > 0)
}

/// The failure of a run that cannot read what its tree has spent.
pub(super) fn unreadable(error: &StoreError) -> Failure {
    Failure::transient(format!("the spending of the task tree cannot be read: {error}"))
}
