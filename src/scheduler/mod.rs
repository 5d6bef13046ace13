//! Finds what is due and gives it to workers: sweep, admission, dispatch, rescue. Each part has `run_once` and is
//! driven by one loop or one cron job.
//!
//! [`Runner`] is all that the rest of the program sees of it.

use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::Notify;

use crate::agent::Agent;
use crate::domain::agent::AgentProfile;
use crate::domain::id::TaskId;
use crate::domain::replica::AgentPresence;
use crate::domain::retry::RetryPolicy;
use crate::store::{Store, StoreError};
use crate::worker;

/// Section `[scheduler]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// When to look for due tasks: cron with a seconds field.
    pub sweep: String,
    /// Due tasks read at once.
    pub window: u32,
    /// Most tasks claimed in one write.
    pub claim_batch: usize,
    /// Points read at once while admitting.
    pub admission_batch: u32,
}

impl Settings {
    /// Whether a runner could start with these.
    ///
    /// # Errors
    /// [`RunnerError::BadSweep`].
    pub fn check(&self) -> Result<(), RunnerError> {
        todo!()
    }
}

/// What a runner is made of.
pub struct Parts {
    /// Where the tasks are.
    pub store: Store,
    /// Who runs them.
    pub agent: Agent,
    /// The agents of this replica, with their capacity.
    pub agents: Vec<AgentProfile>,
    /// Section `[scheduler]`.
    pub scheduler: Settings,
    /// Section `[worker]`.
    pub worker: worker::Settings,
    /// Section `[retry]`.
    pub retry: RetryPolicy,
    /// Id of this replica, unique for each start of a process.
    pub replica_id: String,
    /// Notified (`notify_one`) by whoever inserted or requeued a task: dispatch then does not wait for the sweep.
    pub wake: Arc<Notify>,
}

/// Why a runner does not start.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The sweep cannot be read.
    #[error("scheduler.sweep: {0:?} is no cron expression with a seconds field, such as \"0 * * * * *\"")]
    BadSweep(String),
    /// The cron scheduler failed.
    #[error("the cron scheduler does not start: {0}")]
    Cron(String),
}

/// A running scheduler and its workers. Cheap to clone; clones are handles of the same one.
#[derive(Clone)]
pub struct Runner {}

impl Runner {
    /// Starts everything: heartbeat, sweep, admission, dispatch, rescue. Returns at once.
    ///
    /// # Errors
    /// [`RunnerError`] when the sweep is no cron expression.
    pub async fn start(parts: Parts) -> Result<Self, RunnerError> {
        let _ = parts;
        todo!()
    }
    /// Looks for due tasks now; for those who insert without the `wake` of [`Parts`].
    pub fn wake(&self) {
        todo!()
    }
    /// Whether the heartbeat of this replica is confirmed; it starts no work while not. For readiness.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        todo!()
    }
    /// The agents of this replica and their load.
    #[must_use]
    pub fn loads(&self) -> Vec<AgentPresence> {
        todo!()
    }
    /// Stops a task at once if it runs here; `false` if it does not. The store must have been told first
    /// (`TaskEvent::CancelRequested`).
    pub fn cancel(&self, task: TaskId) -> bool {
        let _ = task;
        todo!()
    }
    /// Returns the tasks of a replica whose death is proven otherwise than by its heartbeat, e.g. by the lock of
    /// the data folder. Gives back how many.
    ///
    /// # Errors
    /// [`StoreError`] of the store; its tasks are then rescued after the lease.
    pub async fn rescue_now(&self, replica_id: &str) -> Result<u64, StoreError> {
        let _ = replica_id;
        todo!()
    }
    /// Drains: no new claims from now on; running tasks get the grace period and are then handed back uncharged.
    /// Returns when all is written and the replica has signed off. May be called again, and waits for the same end.
    pub async fn shutdown(&self) {
        todo!()
    }
    /// Ends the grace period at once, for a second signal; [`Runner::shutdown`] then returns soon.
    pub fn stop_now(&self) {
        todo!()
    }
}
