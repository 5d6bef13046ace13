//! One claimed task: its run, under its time limit, until it ends by itself or is stopped.
//!
//! What follows from the end is decided and written in [`report`](super::report).

use std::any::Any;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::events::Events;
use super::lease::Lease;
use super::persist;
use super::recorder::RunRecorder;
use super::signals::Signals;
use super::slots::{Slot, Slots};
use crate::agent::{Agent, Outcome};
use crate::domain::agent::AgentProfile;
use crate::domain::approval::{ApprovalPolicy, is_unapproved, task_hash};
use crate::domain::attempt::Attempt;
use crate::domain::failure::Failure;
use crate::domain::id::TaskId;
use crate::domain::memory::Memory;
use crate::domain::retry::RetryPolicy;
use crate::domain::task::Task;
use crate::store::Store;
use crate::telemetry::metrics;

/// Runs the claimed tasks of this replica.
pub(crate) struct Worker {
    pub(crate) store: Store,
    pub(crate) agent: Agent,
    pub(crate) retry: RetryPolicy,
    pub(crate) approvals: ApprovalPolicy,
    pub(crate) replica_id: String,
    pub(crate) slots: Arc<Slots>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) events: Events,
    pub(crate) signals: Arc<Signals>,
    pub(crate) running: Running,
    /// The runs under way.
    pub(crate) tracker: TaskTracker,
    /// Cancelled when the grace period is over: what runs is handed back.
    pub(crate) cut: CancellationToken,
    /// Cancelled when even the reports of runs are no longer waited for.
    pub(crate) abandon: CancellationToken,
    /// Due tasks that need a model, while an agent here has none that can be asked.
    pub(crate) waiting: AtomicU64,
    /// Something that this replica holds in the store could not be settled: only a rescue can.
    pub(crate) unsettled: AtomicBool,
}

/// How a run ended, before anything follows from it.
#[expect(clippy::large_enum_variant, reason = "there is one for each run, and it is moved twice")]
pub(super) enum Ending {
    /// The agent came to an end.
    Answered(Outcome),
    /// It failed outside the agent's own account: time limit, panic, unreadable checkpoint.
    Broke(Failure),
    /// Somebody asked to stop the task.
    Cancelled,
    /// The replica shuts down, or no longer counts as alive.
    Cut,
    /// It never began: a person must agree to the task as it is now.
    Unapproved,
}

impl Worker {
    /// Starts the run of a task that this replica has claimed.
    pub(crate) fn start(self: &Arc<Self>, task: Task, slot: Slot) {
        let worker = Arc::clone(self);
        self.tracker.spawn(async move {
            let (store, events) = (worker.store.clone(), worker.events.clone());
            let recorder = RunRecorder::new(store, events, &task, &worker.replica_id, &slot.profile().name);
            let memory = worker.execute(&task, slot, &recorder).await;
            worker.signals.freed();
            // The place is taken again meanwhile: nobody waits for a memory.
            if let Some(memory) = memory {
                worker.remember(&memory, &recorder).await;
            }
        });
    }

    /// Gives back what there is to remember of the run.
    async fn execute(&self, task: &Task, mut slot: Slot, recorder: &RunRecorder) -> Option<Memory> {
        let (started, profile) = (Instant::now(), Arc::clone(slot.profile()));
        let place = self.running.enter(task);
        if task.cancel_requested {
            place.stop.cancel();
        }
        let mut ending = self.carry_out(task, &profile, recorder, &place.stop).await;
        slot.ended();
        self.signals.freed();
        let memory = if let Ending::Answered(outcome) = &mut ending { outcome.memory.take() } else { None };
        let outcome = self.report(task, &profile, recorder, ending).await;
        metrics::RUN_SECONDS.record(started.elapsed(), [&profile.name, outcome]);
        // Only what counts is remembered.
        memory.filter(|_| matches!(outcome, "completed" | "failed"))
    }

    async fn remember(&self, memory: &Memory, recorder: &RunRecorder) {
        tokio::select! {
            () = self.agent.remember(memory, recorder) => {}
            () = self.cut.cancelled() => {}
        }
    }

    async fn carry_out(
        &self,
        task: &Task,
        profile: &AgentProfile,
        recorder: &RunRecorder,
        stop: &CancellationToken,
    ) -> Ending {
        if stop.is_cancelled() {
            return Ending::Cancelled;
        }
        if self.cut.is_cancelled() || !self.lease.is_certain() {
            return Ending::Cut;
        }
        // Another client may have changed the task since it was approved: what counts is what would run now.
        if is_unapproved(task) {
            return Ending::Unapproved;
        }
        let limit = Duration::from_secs(task.timeout_s.max(1));
        let run = AssertUnwindSafe(self.run(task, profile, recorder)).catch_unwind();
        tokio::select! {
            // A run that has ended counts, even when it is told to stop at the same moment.
            biased;
            ended = tokio::time::timeout(limit, run) => match ended {
                Ok(Ok(ending)) => ending,
                Ok(Err(panic)) => Ending::Broke(panicked(panic.as_ref())),
                Err(_) => Ending::Broke(Failure::timeout(format!(
                    "not done within its time limit of {} s; a larger timeout_s allows more", limit.as_secs()
                ))),
            },
            () = stop.cancelled() => Ending::Cancelled,
            () = self.cut.cancelled() => Ending::Cut,
            () = self.lease.lost() => Ending::Cut,
        }
    }

    async fn run(&self, task: &Task, profile: &AgentProfile, recorder: &RunRecorder) -> Ending {
        // The first run cannot have a checkpoint, so it does not pay for looking.
        let checkpoint = if task.earlier_runs() == 0 {
            None
        } else {
            if let Err(error) = recorder.close_earlier().await {
                // They are records for people; the run does not depend on them.
                tracing::error!(task = %task.id, %error, "the records of lost attempts were not marked");
            }
            match persist("read the last checkpoint", || self.store.last_checkpoint(task.id)).await {
                // What asked for something else is no beginning of this.
                Ok(attempt) => attempt
                    .filter(|attempt| attempt.spec.as_ref().is_none_or(|spec| *spec == task_hash(task)))
                    .and_then(|attempt| attempt.checkpoint),
                // Starting over would repeat steps that have been done.
                Err(error) => {
                    let message = format!("its checkpoint cannot be read, so it cannot go on safely: {error}");
                    return Ending::Broke(Failure::permanent(message));
                }
            }
        };
        Ending::Answered(self.agent.run(task, profile, checkpoint, recorder).await)
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let message = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    tracing::error!(message, "a run panicked");
    Failure::new(crate::domain::failure::FailureClass::Crashed, format!("the agent panicked: {message}"))
}

/// The tasks running here, so that they can be stopped.
#[derive(Default)]
pub(crate) struct Running {
    stops: Arc<Mutex<HashMap<Uuid, (TaskId, CancellationToken)>>>,
}

/// A place among the running tasks, left when dropped.
struct Place {
    stops: Arc<Mutex<HashMap<Uuid, (TaskId, CancellationToken)>>>,
    key: Uuid,
    stop: CancellationToken,
}

impl Running {
    fn enter(&self, task: &Task) -> Place {
        let claim = task.claim.as_ref().map_or("", |claim| claim.token.as_str());
        let key = Attempt::id_for(task.id, claim);
        let stop = CancellationToken::new();
        let mut stops = self.stops.lock().unwrap_or_else(PoisonError::into_inner);
        stops.insert(key, (task.id, stop.clone()));
        drop(stops);
        Place { stops: Arc::clone(&self.stops), key, stop }
    }

    /// Stops `task` if it runs here, and tells whether it does.
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
        let claim = task.claim.as_ref().map_or("", |claim| claim.token.as_str());
        let key = Attempt::id_for(task.id, claim);
        self.stops.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&key)
    }

    /// Whether nothing runs here.
    pub(crate) fn is_empty(&self) -> bool {
        self.stops.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stops.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
