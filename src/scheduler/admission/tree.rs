//! Which tree a point belongs to that another client wrote, copied or changed.
//!
//! What a point says about its tree is a claim. qron confirms it by its own record of the places in that tree, which only
//! `create_task` gives out. Where the record does not confirm it, the task is one of its own: it spends from no other tree.
//! The rights it names stay in any case, because they only take away. This holds for points that admission sees: a client that
//! has the key of the store and writes admitted points, or takes the rights out of one, is not held.

use crate::domain::task::Task;
use crate::store::{Store, StoreError};

/// `task` in the tree that its point names, when it holds a place there, else in none. It keeps its place when the
/// configuration allows fewer by now.
pub(super) async fn confirmed(store: &Store, mut task: Task) -> Result<Task, StoreError> {
    let Some(root) = task.spec.lineage.root else { return Ok(task) };
    if store.has_place(task.id, root).await? {
        return Ok(task);
    }
    task.spec.lineage.root = None;
    Ok(task)
}
