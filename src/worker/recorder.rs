//! The traces of one run: its attempt record with checkpoints, and its events.
//!
//! The id of the record derives from the claim, so that a replica which lost the claim can only ever write to
//! its own attempt.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::Mutex;

use super::persist;
use crate::agent::{Checkpoint, Recorder};
use crate::clock;
use crate::domain::attempt::{Attempt, AttemptStatus, RunProgress};
use crate::domain::budget::Spent;
use crate::domain::event::Event;
use crate::domain::failure::Failure;
use crate::domain::id::TaskId;
use crate::domain::task::{Task, task_hash};
use crate::queue::Queue;
use crate::store::{Holding, StoreError};

/// Time between two looks whether admission has decided about a task that another client wrote anew while it runs.
const ADMISSION_LOOK: Duration = Duration::from_millis(200);

/// Records one run.
pub(crate) struct RunRecorder {
    queue: Queue,
    task_id: TaskId,
    agent: String,
    /// Held across a write, so that an older state never replaces a newer one.
    attempt: Mutex<Attempt>,
    /// Whether a checkpoint of the run is in the store.
    is_recorded: AtomicBool,
    /// Whether its record is in the store without one.
    is_announced: AtomicBool,
}

impl RunRecorder {
    /// A recorder for the run of `task` by `agent`. Writes nothing before the run is announced or reaches its
    /// first checkpoint.
    pub(crate) fn new(queue: Queue, task: &Task, agent: &str) -> Self {
        let claim = task.state.claim.as_ref().map(|claim| claim.token.clone()).unwrap_or_default();
        let now = clock::now();
        let attempt = Attempt {
            id: Attempt::id_for(task.id, &claim),
            task_id: task.id,
            number: task.state.earlier_runs().saturating_add(1),
            claim,
            replica: queue.replica_id().to_owned(),
            agent: agent.to_owned(),
            status: AttemptStatus::Running,
            started_at: now,
            updated_at: now,
            finished_at: None,
            progress: RunProgress::default(),
            spec: Some(task_hash(task)),
            checkpoint: None,
            result: None,
            failure: None,
            spent: Spent::default(),
            carried: Spent::default(),
            tree_root: task.spec.lineage.root,
        };
        Self {
            queue,
            task_id: task.id,
            agent: agent.to_owned(),
            attempt: Mutex::new(attempt),
            is_recorded: AtomicBool::new(false),
            is_announced: AtomicBool::new(false),
        }
    }

    /// Writes how the run ended. `None` leaves what was recorded.
    ///
    /// # Errors
    /// [`StoreError`] when the store refuses; while it does not answer, this waits.
    pub(crate) async fn finish(&self, end: End) -> Result<(), StoreError> {
        let mut attempt = self.attempt.lock().await;
        let now = clock::now();
        attempt.status = end.status;
        attempt.updated_at = now;
        attempt.finished_at = Some(now);
        if end.result.is_some() {
            attempt.result = end.result;
        }
        if end.failure.is_some() {
            attempt.failure = end.failure;
        }
        if let Some(spent) = end.spent {
            attempt.spent = spent;
        }
        if let Some(checkpoint) = end.checkpoint {
            attempt.checkpoint = Some(checkpoint.state);
            attempt.progress = checkpoint.progress;
        }
        persist("store the end of an attempt", || self.queue.store().save_attempt(&attempt)).await
    }

    /// Removes the record of a run that was announced and did nothing.
    ///
    /// # Errors
    /// [`StoreError`] when the store refuses; while it does not answer, this waits.
    pub(crate) async fn withdraw(&self) -> Result<(), StoreError> {
        if !self.is_announced.load(Ordering::Acquire) {
            return Ok(());
        }
        let attempt = self.attempt.lock().await;
        persist("remove the record of an attempt", || self.queue.store().remove_attempt(attempt.id)).await
    }

    /// Whether a checkpoint of the run is in the store.
    pub(crate) fn is_recorded(&self) -> bool {
        self.is_recorded.load(Ordering::Acquire)
    }

    /// Marks what earlier runs of the task left open as lost: they died before their outcome counted.
    ///
    /// # Errors
    /// [`StoreError`] when the store refuses; while it does not answer, this waits.
    pub(crate) async fn close_earlier(&self) -> Result<(), StoreError> {
        let attempt = self.attempt.lock().await;
        persist("mark lost attempts", || self.queue.store().lose_attempts_before(&attempt)).await
    }

    /// The same event, about this run.
    fn about(&self, mut event: Event) -> Event {
        event.task_id.get_or_insert(self.task_id);
        event.agent.get_or_insert_with(|| self.agent.clone());
        event
    }
}

/// How a run ended, for its attempt record.
pub(crate) struct End {
    pub(crate) status: AttemptStatus,
    pub(crate) result: Option<Value>,
    pub(crate) failure: Option<Failure>,
    pub(crate) spent: Option<Spent>,
    pub(crate) checkpoint: Option<Checkpoint>,
}

#[async_trait]
impl Recorder for RunRecorder {
    async fn checkpoint(&self, checkpoint: Checkpoint) -> Result<(), Failure> {
        let mut attempt = self.attempt.lock().await;
        attempt.updated_at = clock::now();
        attempt.checkpoint = Some(checkpoint.state);
        attempt.progress = checkpoint.progress;
        attempt.spent = checkpoint.spent;
        self.is_recorded.store(true, Ordering::Release);
        persist("store a checkpoint", || self.queue.store().save_attempt(&attempt))
            .await
            .map_err(|error| Failure::transient(format!("the checkpoint could not be stored: {error}")))
    }

    async fn begin(&self, spent: &Spent) {
        let mut attempt = self.attempt.lock().await;
        attempt.spent = spent.clone();
        attempt.carried = spent.clone();
    }

    async fn announce(&self) -> Result<(), Failure> {
        let attempt = self.attempt.lock().await;
        self.is_announced.store(true, Ordering::Release);
        persist("store the start of an attempt", || self.queue.store().save_attempt(&attempt))
            .await
            .map_err(|error| Failure::transient(format!("the start of the attempt could not be stored: {error}")))
    }

    async fn confirm(&self) -> Result<(), Failure> {
        let token = self.attempt.lock().await.claim.clone();
        loop {
            let holding = persist("confirm a claim", || self.queue.store().holding(self.task_id, &token))
                .await
                .map_err(|error| Failure::transient(format!("the claim could not be confirmed: {error}")))?;
            match holding {
                Holding::Held => return Ok(()),
                Holding::Lost => {
                    return Err(Failure::transient(
                        "another run has the task now, so this one stops before its next call",
                    ));
                }
                Holding::Undecided => tokio::time::sleep(ADMISSION_LOOK).await,
            }
        }
    }

    fn note(&self, event: Event) {
        self.queue.history().note(self.about(event));
    }
}
