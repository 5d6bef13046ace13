//! The first use of a task's folder by a run, which clears what another task of the same id left there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::id::TaskId;
use crate::domain::time::Timestamp;

/// When the task was created; `None` once its run has used the folder.
type Expected = Arc<Mutex<Option<Timestamp>>>;

/// The running attempts that have not used their folder yet. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct FirstUses(Arc<Mutex<HashMap<TaskId, Expected>>>);

/// Makes the next use of a task's folder its first one. Dropped at the end of the run.
#[derive(Debug)]
#[must_use]
pub struct FirstUse {
    uses: FirstUses,
    task: TaskId,
    expected: Expected,
}

impl FirstUses {
    /// Makes the next use of the folder of `task`, which was created at `created`, its first one.
    pub(super) fn expect(&self, task: TaskId, created: Timestamp) -> FirstUse {
        let expected = Arc::new(Mutex::new(Some(created)));
        lock(&self.0).insert(task, Arc::clone(&expected));
        FirstUse { uses: self.clone(), task, expected }
    }

    /// Calls `clear` with the time at which `task` was created, if this is the first use of its folder. Parallel steps wait
    /// until it is clear. After a failure the next use is the first one.
    pub(super) fn begin<E>(&self, task: TaskId, clear: impl FnOnce(Timestamp) -> Result<(), E>) -> Result<(), E> {
        let Some(expected) = lock(&self.0).get(&task).map(Arc::clone) else { return Ok(()) };
        let mut created = lock(&expected);
        if let Some(at) = *created {
            clear(at)?;
            *created = None;
        }
        Ok(())
    }
}

impl Drop for FirstUse {
    fn drop(&mut self) {
        let mut uses = lock(&self.uses.0);
        // Another run of the task may have begun since.
        if uses.get(&self.task).is_some_and(|expected| Arc::ptr_eq(expected, &self.expected)) {
            uses.remove(&self.task);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATED: Timestamp = Timestamp::from_millis(1_767_225_600_000);
    const TASK: TaskId = TaskId::Number(1);

    /// Whether a use of the folder of `task` is the first one.
    fn is_first(uses: &FirstUses, task: TaskId) -> bool {
        let mut cleared = false;
        let clear = |created| {
            cleared = created == CREATED;
            Ok::<(), ()>(())
        };
        uses.begin(task, clear).expect("clear");
        cleared
    }

    #[test]
    fn one_use_of_each_run_is_the_first() {
        let uses = FirstUses::default();
        assert!(!is_first(&uses, TASK), "no run has begun");
        let run = uses.expect(TASK, CREATED);
        assert!(!is_first(&uses, TaskId::Number(2)), "another task");
        assert!(uses.begin(TASK, |_| Err("busy")).is_err());
        assert!(is_first(&uses, TASK), "what failed is tried again");
        assert!(!is_first(&uses, TASK));
        let next = uses.expect(TASK, CREATED);
        drop(run);
        assert!(is_first(&uses, TASK), "the end of the earlier run leaves the later one as it is");
        drop(next);
        assert!(lock(&uses.0).is_empty());
    }
}
