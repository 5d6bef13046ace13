//! Finds what is due and gives it to workers: sweep, admission, dispatch, recurring, rescue. Each part has `run_once`
//! and is driven by one loop or one cron job.
//!
//! [`Runner`] is all that the rest of the program sees of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::{Notify, OnceCell};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agent::Agent;
use crate::clock;
use crate::domain::agent::AgentProfile;
use crate::domain::approval::ApprovalPolicy;
use crate::domain::id::TaskId;
use crate::domain::limit::Limits;
use crate::domain::outage::Postponement;
use crate::domain::replica::AgentPresence;
use crate::domain::retry::RetryPolicy;
use crate::domain::schedule::zone::Zone;
use crate::domain::task::Task;
use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError};
use crate::worker;
use crate::worker::events;
use crate::worker::execute::{Running, Worker};
use crate::worker::heartbeat::Heartbeat;
use crate::worker::lease::Lease;
use crate::worker::model_watch;
use crate::worker::signals::Signals;
use crate::worker::slots::Slots;

use admission::Admission;
use control::Control;
use dependencies::Dependencies;
use dispatch::Dispatcher;
use guard::guarded;
use prune::Pruner;
use recurring::Recurring;
use recurring::desk::Desk;
use rescue::Rescuer;
use sweep::{Alarm, Sweep};
use upkeep::Upkeep;

pub use ahead::Ahead;
pub use prune::{Pruned, RetentionSettings};

mod admission;
mod ahead;
mod assign;
mod claims;
mod clocks;
mod control;
mod dependencies;
mod dispatch;
mod fairness;
mod guard;
mod keys;
mod limits;
mod models;
pub(crate) mod prune;
pub mod recurring;
mod rescue;
mod scan;
mod spread;
mod sweep;
mod upkeep;

/// Section `[scheduler]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// When to look for due tasks: cron with a seconds field.
    pub sweep: String,
    /// Due tasks read at once at least.
    pub window: u32,
    /// Most tasks claimed in one write.
    pub claim_batch: usize,
    /// Points read at once while admitting.
    pub admission_batch: u32,
    /// A firing of a schedule that is later than this counts as missed, in milliseconds.
    pub missed_after_ms: u64,
    /// Zone of schedules that name none, and of times without an offset.
    pub zone: Zone,
}

impl Settings {
    /// Whether a runner could start with these.
    ///
    /// # Errors
    /// [`RunnerError::BadSweep`].
    pub fn check(&self) -> Result<(), RunnerError> {
        sweep::job(&self.sweep, Arc::default(), Arc::default()).map(|_| ())
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
    /// Section `[limits]`.
    pub limits: Limits,
    /// Section `[worker]`.
    pub worker: worker::Settings,
    /// Section `[retry]`.
    pub retry: RetryPolicy,
    /// Section `[approvals]`.
    pub approvals: ApprovalPolicy,
    /// Section `[retention]`.
    pub retention: RetentionSettings,
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
///
/// Dropping every handle does not stop it: [`Runner::shutdown`] does.
#[derive(Clone)]
pub struct Runner {
    inner: Arc<Inner>,
}

struct Inner {
    /// Makes the sweep happen now.
    poke: Arc<Notify>,
    /// Makes a look at what is paused happen now.
    look: Arc<Notify>,
    retention: RetentionSettings,
    has_limits: bool,
    worker: Arc<Worker>,
    desk: Desk,
    grace: Duration,
    /// The parts that find work: they end when the drain begins.
    finders: TaskTracker,
    /// The parts that work needs until its end: heartbeat, requests to cancel, history.
    keepers: TaskTracker,
    drain: CancellationToken,
    stop: CancellationToken,
    ended: OnceCell<()>,
}

impl Runner {
    /// Starts everything: heartbeat, sweep, admission, dispatch, rescue. The first sweep is made at once.
    ///
    /// # Errors
    /// [`RunnerError`] when the sweep is no cron expression.
    pub async fn start(parts: Parts) -> Result<Self, RunnerError> {
        let poke = Arc::new(Notify::new());
        let busy = Arc::new(AtomicBool::new(false));
        let alarm = Alarm::start({
            let (expression, poke, busy) = (parts.scheduler.sweep.clone(), Arc::clone(&poke), Arc::clone(&busy));
            move || sweep::job(&expression, Arc::clone(&poke), Arc::clone(&busy))
        })
        .await?;

        let heartbeat = Duration::from_millis(parts.worker.heartbeat_ms);
        let (events, writer) = events::buffer(parts.store.clone(), &parts.replica_id);
        let worker = Arc::new(Worker {
            store: parts.store,
            agent: parts.agent,
            retry: parts.retry,
            approvals: parts.approvals,
            replica_id: parts.replica_id,
            slots: Arc::new(Slots::new(parts.agents)),
            lease: Arc::new(Lease::new(Duration::from_millis(parts.worker.lease_ms))),
            events,
            signals: Arc::new(Signals::new()),
            running: Running::default(),
            tracker: TaskTracker::new(),
            cut: CancellationToken::new(),
            abandon: CancellationToken::new(),
            waiting: AtomicU64::new(0),
            unsettled: AtomicBool::new(false),
        });
        let inner = Inner {
            grace: Duration::from_secs(parts.worker.grace_s),
            finders: TaskTracker::new(),
            keepers: TaskTracker::new(),
            drain: CancellationToken::new(),
            stop: CancellationToken::new(),
            ended: OnceCell::new(),
            desk: Desk { worker: Arc::clone(&worker), changed: Arc::default() },
            look: Arc::new(Notify::new()),
            retention: parts.retention,
            has_limits: parts.limits.hold_tasks_back(),
            worker,
            poke,
        };
        // Nothing is claimed, and nothing said of the agents, before it is known what is paused.
        inner.worker.slots.hold_back(|_| true);
        let control = Control { worker: Arc::clone(&inner.worker), poke: Arc::clone(&inner.look) };
        control.look(&inner.drain).await;
        inner.start_keepers(writer, heartbeat, Duration::from_millis(parts.worker.cancel_poll_ms));
        inner.finders.spawn(alarm.run(inner.drain.clone()));
        inner.finders.spawn(hear(parts.wake, Arc::clone(&inner.worker.signals), inner.drain.clone()));
        inner.start_finders(control, parts.scheduler, parts.limits, heartbeat, busy);
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Looks for due tasks now; for those who insert without the `wake` of [`Parts`].
    pub fn wake(&self) {
        self.inner.worker.signals.inserted();
    }

    /// Looks for due tasks now, and whether these tasks, which were inserted and wait for others, can go.
    pub fn wake_for(&self, waiting: &[TaskId]) {
        let signals = &self.inner.worker.signals;
        signals.found();
        if !waiting.is_empty() {
            signals.inserted_waiting(waiting);
        }
    }

    /// Tells that somebody ended this task otherwise than by running it: its dependents may be waiting for that.
    pub fn ended(&self, task: TaskId) {
        self.inner.worker.signals.ended(task, false);
    }

    /// Sweeps now instead of at the next firing: admits what others wrote or what is to be read anew, then looks for due
    /// tasks.
    pub fn sweep(&self) {
        self.inner.worker.signals.nudge_others();
        self.inner.poke.notify_one();
    }

    /// Reads anew what is paused, instead of within a second.
    pub fn look_at_pauses(&self) {
        self.inner.look.notify_one();
    }

    /// Removes what retention does not keep at `now`, or only counts it.
    ///
    /// # Errors
    /// [`StoreError`]; what was removed until then stays removed, and the rest is found by the next round.
    pub async fn prune(&self, now: Timestamp, dry_run: bool) -> Result<Pruned, StoreError> {
        let pruner = Pruner::new(Arc::clone(&self.inner.worker), self.inner.retention.clone());
        pruner.run_once(now, dry_run).await
    }

    /// Whether the heartbeat of this replica is confirmed; it starts no work while not. For readiness.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.inner.worker.lease.is_certain()
    }

    /// The agents of this replica and their load.
    #[must_use]
    pub fn loads(&self) -> Vec<AgentPresence> {
        self.inner.worker.presence()
    }

    /// Due tasks that need a model and name an agent whose model cannot be asked; all that need one while no agent of this
    /// replica has a model that can be asked. A few seconds old.
    #[must_use]
    pub fn waiting_for_model(&self) -> u64 {
        self.inner.worker.waiting.load(Ordering::Acquire)
    }

    /// Why a due task waits for its model, and when it is tried next, as far as that is known; `None` when it does not wait.
    #[must_use]
    pub fn waits_for_model(&self, task: &Task, now: Timestamp) -> Option<(Postponement, Option<Timestamp>)> {
        self.inner.worker.waits_for_model(task, now)
    }

    /// Where people ask something of schedules.
    #[must_use]
    pub fn schedules(&self) -> &Desk {
        &self.inner.desk
    }

    /// Stops a task at once if it runs here; `false` if it does not. The store must have been told first
    /// (`TaskEvent::CancelRequested`).
    #[must_use = "a task that does not run here is stopped by the replica that runs it"]
    pub fn cancel(&self, task: TaskId) -> bool {
        self.inner.worker.running.stop(task)
    }

    /// Returns the tasks of a replica whose death is proven otherwise than by its heartbeat, e.g. by the lock of
    /// the data folder. Gives back how many.
    ///
    /// # Errors
    /// [`StoreError`] of the store; its tasks are then rescued after the lease.
    pub async fn rescue_now(&self, replica_id: &str) -> Result<u64, StoreError> {
        rescue::rescue(&self.inner.worker, replica_id, clock::now()).await
    }

    /// Drains: no new claims from now on; running tasks get the grace period and are then handed back uncharged.
    /// Returns when all is written and the replica has signed off. May be called again, and waits for the same end.
    pub async fn shutdown(&self) {
        self.inner.ended.get_or_init(|| self.inner.end()).await;
    }

    /// Ends the grace period at once, for a second signal; [`Runner::shutdown`] then returns soon.
    pub fn stop_now(&self) {
        self.inner.drain.cancel();
        self.inner.worker.cut.cancel();
    }
}

impl Inner {
    fn start_keepers(&self, writer: events::EventWriter, heartbeat: Duration, cancel_poll: Duration) {
        let worker = &self.worker;
        let heart = Heartbeat { worker: Arc::clone(worker), period: heartbeat, drain: self.drain.clone() };
        self.keepers.spawn(heart.run(self.stop.clone()));
        self.keepers.spawn(poll_cancellations(Arc::clone(worker), cancel_poll, self.stop.clone()));
        self.keepers.spawn(model_watch::run(Arc::clone(worker), self.stop.clone()));
        self.keepers.spawn(writer.run(self.stop.clone()));
    }

    fn start_finders(
        &self,
        control: Control,
        settings: Settings,
        limits: Limits,
        heartbeat: Duration,
        busy: Arc<AtomicBool>,
    ) {
        let worker = &self.worker;
        let swept = Arc::new(AtomicBool::new(false));
        let admission = Admission {
            worker: Arc::clone(worker),
            batch: settings.admission_batch.max(1),
            zone: settings.zone,
            limits: limits.clone(),
        };
        // Nothing that became due while no process ran waits for the first firing.
        self.poke.notify_one();
        let poke = Arc::clone(&self.poke);
        let sweep = Sweep { worker: Arc::clone(worker), admission, poke, busy, swept: Arc::clone(&swept) };
        self.finders.spawn(sweep.run(self.drain.clone()));
        self.finders.spawn(keys::prune(Arc::clone(worker), self.drain.clone()));
        self.finders.spawn(Dependencies::new(Arc::clone(worker)).run(self.drain.clone()));
        let recurring = Recurring::new(Arc::clone(worker), Arc::clone(&self.desk.changed), settings.missed_after_ms);
        self.finders.spawn(recurring.run(self.drain.clone()));
        self.finders.spawn(control.run(self.drain.clone()));
        let upkeep = Upkeep { worker: Arc::clone(worker), retention: self.retention.clone() };
        self.finders.spawn(upkeep.run(self.drain.clone()));
        self.finders.spawn(Rescuer::new(Arc::clone(worker), heartbeat).run(self.drain.clone()));
        self.finders.spawn(Dispatcher::new(Arc::clone(worker), settings, limits, self.drain.clone()).run(swept));
    }

    async fn end(&self) {
        let worker = &self.worker;
        self.drain.cancel();
        self.finders.close();
        worker.tracker.close();
        let finished = async {
            // A claim that is under way still hands over what it wins, so the finders end first.
            self.finders.wait().await;
            worker.tracker.wait().await;
        };
        tokio::pin!(finished);
        let done = tokio::select! {
            () = &mut finished => true,
            () = worker.cut.cancelled() => false,
            () = tokio::time::sleep(self.grace) => {
                tracing::warn!("the grace period is over: running tasks are handed back");
                false
            }
        };
        if !done {
            worker.cut.cancel();
            // What cannot be written within the lease is rescued by others then, or by the next start.
            if tokio::time::timeout(worker.lease.length(), &mut finished).await.is_err() {
                worker.abandon.cancel();
                finished.await;
            }
        }
        self.stop.cancel();
        self.keepers.close();
        self.keepers.wait().await;
        self.sign_off().await;
    }

    /// Removes the record of this replica, unless something in the store still waits to be rescued from it.
    async fn sign_off(&self) {
        let worker = &self.worker;
        if worker.unsettled.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = worker.store.remove_replica(&worker.replica_id).await {
            tracing::warn!(%error, "this replica could not sign off; others will find its heartbeat still");
        }
    }
}

/// Passes on what those who insert say.
async fn hear(wake: Arc<Notify>, signals: Arc<Signals>, drain: CancellationToken) {
    loop {
        tokio::select! {
            () = drain.cancelled() => return,
            () = wake.notified() => signals.inserted(),
        }
    }
}

/// Stops running tasks that somebody wants stopped, whichever replica was asked.
async fn poll_cancellations(worker: Arc<Worker>, period: Duration, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(period.max(Duration::from_millis(10))) => {}
        }
        if worker.running.is_empty() {
            continue;
        }
        match guarded("cancellations", worker.store.cancel_requests(&worker.replica_id)).await {
            Some(Ok(tasks)) => {
                for task in tasks {
                    worker.running.stop(task);
                }
            }
            Some(Err(error)) => tracing::warn!(%error, "requests to cancel could not be read"),
            None => {}
        }
    }
}
