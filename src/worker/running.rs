//! Which tasks run in this replica, so that they can be stopped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::domain::attempt::Attempt;
use crate::domain::id::TaskId;
use crate::domain::task::Task;

/// The runs of this replica. Cheap to clone; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Running {
    stops: Arc<Mutex<HashMap<Uuid, (TaskId, CancellationToken)>>>,
}

/// Keeps a run among the running ones until it is dropped.
pub(super) struct RunGuard {
    stops: Arc<Mutex<HashMap<Uuid, (TaskId, CancellationToken)>>>,
    key: Uuid,
    /// Cancelled when the run is to stop.
    pub(super) stop: CancellationToken,
}

impl Running {
    /// Adds the run of a claimed task.
    pub(super) fn enter(&self, task: &Task) -> RunGuard {
        let claim = task.state.claim.as_ref().map_or("", |claim| claim.token.as_str());
        let key = Attempt::id_for(task.id, claim);
        let stop = CancellationToken::new();
        let mut stops = self.stops.lock().unwrap_or_else(PoisonError::into_inner);
        stops.insert(key, (task.id, stop.clone()));
        drop(stops);
        RunGuard { stops: Arc::clone(&self.stops), key, stop }
    }

    /// Stops the runs of `task` here, and returns whether there are any.
    pub(crate) fn stop(&self, task: TaskId) -> bool {
        let stops = self.stops.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = false;
        for (_, stop) in stops.values().filter(|(id, _)| *id == task) {
            stop.cancel();
            found = true;
        }
        found
    }

    /// Whether this very claim of `task` has a run here.
    pub(crate) fn holds(&self, task: &Task) -> bool {
        let claim = task.state.claim.as_ref().map_or("", |claim| claim.token.as_str());
        let key = Attempt::id_for(task.id, claim);
        self.stops.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&key)
    }

    /// Whether nothing runs here.
    pub(crate) fn is_empty(&self) -> bool {
        self.stops.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        self.stops.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
