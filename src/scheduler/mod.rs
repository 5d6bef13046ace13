//! Finds what is due and gives it to workers: sweep, admission, dispatch, rescue, retention. Each part has `run_once`
//! and is driven by one loop or one cron job.
//!
//! [`Runner`] is all that the rest of the program sees of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OnceCell};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agent::Agent;
use crate::background::{Background, BackgroundJob};
use crate::domain::agent::AgentProfile;
use crate::domain::approval::ApprovalPolicy;
use crate::domain::id::TaskId;
use crate::domain::limit::Limits;
use crate::domain::outage::Postponement;
use crate::domain::replica::AgentPresence;
use crate::domain::retry::RetryPolicy;
use crate::domain::task::Task;
use crate::domain::time::Timestamp;
use crate::queue::Queue;
use crate::schedules::runner::ScheduleRunner;
use crate::schedules::service::ScheduleService;
use crate::store::StoreError;
use crate::worker::context::ReplicaContext;
use crate::worker::heartbeat::Heartbeat;
use crate::worker::lease::Lease;
use crate::worker::running::Running;
use crate::worker::slots::Slots;
use crate::worker::{self, model_watch};
use crate::{clock, queue};

use admission::Admission;
use approval_expiry::ApprovalExpiry;
use dependencies::Dependencies;
use dispatch::dispatcher::Dispatcher;
use dispatch::optimistic_claim::LocalRuns;
use pauses::Control;
use rescue::Rescuer;
use retention::{Pruner, unique_keys};
use shutdown_times::HAND_BACK;
use sweep::{Alarm, Sweep};

pub use retention::{Pruned, RetentionSettings};
pub use settings::Settings;
pub use shutdown_times::ShutdownTimes;

mod admission;
mod approval_expiry;
mod clocks;
mod dependencies;
mod dispatch;
mod pauses;
mod rescue;
mod retention;
mod settings;
mod shutdown_times;
mod sweep;

/// What a runner is made of.
pub struct Parts {
    /// The queue of this replica, whose id is unique for each start of a process.
    pub queue: Queue,
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
}

/// Why a runner does not start.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The sweep cannot be read.
    #[error("scheduler.sweep: {0:?} is no cron expression with a seconds field, such as \"0 * * * * *\"")]
    BadSweep(String),
    /// Another scheduler runs with the same queue.
    #[error("the queue serves another scheduler already: make one for each")]
    QueueInUse,
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
    /// Makes a look at what is paused happen now.
    look: Arc<Notify>,
    retention: RetentionSettings,
    context: Arc<ReplicaContext>,
    local_runs: Arc<LocalRuns>,
    schedules: ScheduleService,
    shutdown_times: ShutdownTimes,
    /// The parts that find work: they end when the drain begins.
    finders: TaskTracker,
    /// The parts that work needs until its end: heartbeat, requests to cancel, history.
    keepers: TaskTracker,
    drain: CancellationToken,
    stop: CancellationToken,
    /// The loops that end when the drain begins.
    background: Background,
    ended: OnceCell<()>,
}

impl Runner {
    /// Starts everything: heartbeat, sweep, admission, dispatch, rescue. The first sweep is made at once.
    ///
    /// # Errors
    /// [`RunnerError`] when the sweep is no cron expression.
    pub async fn start(parts: Parts) -> Result<Self, RunnerError> {
        let queue = parts.queue;
        let busy = Arc::new(AtomicBool::new(false));
        let alarm = Alarm::start({
            let (expression, signals) = (parts.scheduler.sweep.clone(), Arc::clone(queue.signals()));
            let busy = Arc::clone(&busy);
            move || sweep::job(&expression, Arc::clone(&signals), Arc::clone(&busy))
        })
        .await?;
        let writer = queue.take_history_writer().ok_or(RunnerError::QueueInUse)?;

        let heartbeat = Duration::from_millis(parts.worker.heartbeat_ms);
        let drain = CancellationToken::new();
        let context = Arc::new(ReplicaContext {
            queue: queue.clone(),
            agent: parts.agent,
            retry: parts.retry,
            approvals: parts.approvals,
            slots: Arc::new(Slots::new(parts.agents)),
            lease: Arc::new(Lease::new(Duration::from_millis(parts.worker.lease_ms))),
            running: Running::default(),
            tracker: TaskTracker::new(),
            cut: CancellationToken::new(),
            abandon: CancellationToken::new(),
            waiting: AtomicU64::new(0),
            started_at: clock::now(),
            unsettled: AtomicBool::new(false),
        });
        let local_runs = Arc::new(LocalRuns {
            context: Arc::clone(&context),
            has_limits: parts.limits.can_hold_tasks_back(),
            drain: drain.clone(),
        });
        queue.attach(&local_runs);
        let inner = Inner {
            shutdown_times: ShutdownTimes::new(Duration::from_secs(parts.worker.grace_s)),
            finders: TaskTracker::new(),
            keepers: TaskTracker::new(),
            background: Background::new(drain.clone()),
            drain,
            stop: CancellationToken::new(),
            ended: OnceCell::new(),
            schedules: ScheduleService { queue, approvals: context.approvals.clone(), changed: Arc::default() },
            look: Arc::new(Notify::new()),
            retention: parts.retention,
            context,
            local_runs,
        };
        // Nothing is claimed, and nothing said of the agents, before it is known what is paused.
        let slots = Arc::clone(&inner.context.slots);
        slots.hold_until_pauses_are_known();
        let control = Control { queue: inner.context.queue.clone(), slots, poke: Arc::clone(&inner.look) };
        control.look().await;
        inner.start_keepers(writer, heartbeat, Duration::from_millis(parts.worker.cancel_poll_ms));
        inner.finders.spawn(alarm.run(inner.drain.clone()));
        inner.start_finders(control, parts.scheduler, parts.limits, heartbeat, busy);
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The queue of this replica.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.inner.context.queue
    }

    /// Reads anew what is paused, instead of within a second.
    pub fn look_at_pauses(&self) {
        self.inner.look.notify_one();
    }

    /// Removes what retention does not keep at `now`, or only counts it.
    ///
    /// # Errors
    /// [`StoreError`]; what was removed until then stays removed, and the next run finds the rest.
    pub async fn prune(&self, now: Timestamp, dry_run: bool) -> Result<Pruned, StoreError> {
        self.inner.pruner().run_once(now, dry_run).await
    }

    /// Whether the heartbeat of this replica is confirmed; it starts no work while not. For readiness.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.inner.context.lease.is_certain()
    }

    /// Returns once a run of this background job has ended since the start, for tests: one of `sweep`, `control`, `approvals`,
    /// `keys`, `retention` and `rescue`.
    pub async fn has_run(&self, job: &str) {
        self.inner.background.has_run(job).await;
    }

    /// The agents of this replica and their load.
    #[must_use]
    pub fn loads(&self) -> Vec<AgentPresence> {
        self.inner.context.presence()
    }

    /// How many tasks wait for a model as far as this replica knows: those that need one and are due while the models of their
    /// agents cannot be asked, and those that were put off while a model failed. Counted now; while the store does not answer, the
    /// last count.
    pub async fn waiting_for_model(&self) -> u64 {
        let context = &self.inner.context;
        match context.count_waiting().await {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::debug!(%error, "the tasks that wait for a model could not be counted");
                context.waiting.load(Ordering::Acquire)
            }
        }
    }

    /// Why a due task waits for its model, and when it is tried next, as far as that is known; `None` when it does not wait.
    #[must_use]
    pub fn waits_for_model(&self, task: &Task, now: Timestamp) -> Option<(Postponement, Option<Timestamp>)> {
        self.inner.context.waits_for_model(task, now)
    }

    /// How long a task waits for a model that does not answer, in seconds; `None` where no model is configured.
    #[must_use]
    pub fn model_patience_s(&self) -> Option<u64> {
        self.inner.context.agent.patience_s()
    }

    /// Where people ask something of schedules.
    #[must_use]
    pub fn schedules(&self) -> &ScheduleService {
        &self.inner.schedules
    }

    /// Stops a task at once if it runs here; `false` if it does not. The store must have been told first
    /// (`TaskEvent::CancelRequested`).
    #[must_use = "a task that does not run here is stopped by the replica that runs it"]
    pub fn cancel(&self, task: TaskId) -> bool {
        self.inner.context.running.stop(task)
    }

    /// Returns the tasks of a replica whose death is proven otherwise than by its heartbeat, e.g. by the lock of
    /// the data folder. Gives back how many.
    ///
    /// # Errors
    /// [`StoreError`] of the store; its tasks are then rescued after the lease.
    pub async fn rescue_now(&self, replica_id: &str) -> Result<u64, StoreError> {
        self.inner.context.queue.rescue(replica_id, clock::now()).await
    }

    /// Drains: no new claims from now on; running tasks get the grace period, but for the end in which they are handed back
    /// uncharged.
    /// Returns when all is written and the replica has signed off. May be called again, and waits for the same end.
    pub async fn shutdown(&self) {
        self.inner.ended.get_or_init(|| self.inner.end()).await;
    }

    /// When the parts of a shutdown end at the latest.
    #[must_use]
    pub fn shutdown_times(&self) -> ShutdownTimes {
        self.inner.shutdown_times
    }

    /// Ends the grace period at once, for a second signal; [`Runner::shutdown`] then returns soon.
    pub fn stop_now(&self) {
        self.inner.drain.cancel();
        self.inner.context.cut.cancel();
    }
}

impl Inner {
    fn pruner(&self) -> Pruner {
        let context = &self.context;
        Pruner { queue: context.queue.clone(), agent: context.agent.clone(), keep: self.retention.clone() }
    }

    fn start_keepers(&self, writer: queue::HistoryWriter, heartbeat: Duration, cancel_poll: Duration) {
        let context = &self.context;
        let heart = Heartbeat { context: Arc::clone(context), period: heartbeat, drain: self.drain.clone() };
        self.keepers.spawn(heart.run(self.stop.clone()));
        // The queue refers to it weakly; a poll until the end keeps it, whether or not handles of the runner are left.
        self.keepers.spawn(poll_cancellations(
            Arc::clone(&self.local_runs),
            cancel_poll,
            Background::new(self.stop.clone()),
        ));
        self.keepers.spawn(model_watch::run(Arc::clone(context), self.stop.clone()));
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
        let (context, queue) = (&self.context, &self.context.queue);
        let swept = Arc::new(AtomicBool::new(false));
        let admission = Admission {
            queue: queue.clone(),
            approvals: context.approvals.clone(),
            batch: settings.admission_batch.max(1),
            zone: settings.zone,
            limits: limits.clone(),
        };
        // Nothing that became due while no process ran waits for the first firing.
        queue.signals().sweep.notify_one();
        let sweep = Sweep { queue: queue.clone(), admission, busy, swept: Arc::clone(&swept) };
        self.finders.spawn(sweep.run(self.background.clone()));
        self.finders.spawn(unique_keys::prune(queue.clone(), self.background.clone()));
        self.finders.spawn(Dependencies::new(queue.clone()).run(self.drain.clone()));
        let schedule_runner = ScheduleRunner::new(
            queue.clone(),
            context.approvals.clone(),
            Arc::clone(&self.schedules.changed),
            settings.missed_after_ms,
        );
        self.finders.spawn(schedule_runner.run(self.drain.clone()));
        self.finders.spawn(control.run(self.background.clone()));
        self.finders.spawn(ApprovalExpiry { queue: queue.clone() }.run(self.background.clone()));
        self.finders.spawn(self.pruner().run(self.background.clone()));
        let (lease, running) = (Arc::clone(&context.lease), context.running.clone());
        self.finders.spawn(Rescuer::new(queue.clone(), lease, running, heartbeat).run(self.background.clone()));
        self.finders.spawn(Dispatcher::new(Arc::clone(context), settings, limits, self.drain.clone()).run(swept));
    }

    async fn end(&self) {
        let (began, times) = (Instant::now(), self.shutdown_times);
        let context = &self.context;
        self.drain.cancel();
        self.finders.close();
        context.tracker.close();
        let finished = async {
            // A claim that is under way still hands over what it wins, so the finders end first.
            self.finders.wait().await;
            context.tracker.wait().await;
        };
        tokio::pin!(finished);
        let done = tokio::select! {
            () = &mut finished => true,
            () = context.cut.cancelled() => false,
            () = tokio::time::sleep_until(began + times.hand_back) => {
                tracing::warn!("worker.grace_s is nearly over: handing back the tasks that still run");
                false
            }
        };
        if !done {
            context.cut.cancel();
            // What cannot be written by then is rescued by others, or by the next start.
            let limit = Instant::now() + HAND_BACK.min(context.lease.length());
            if tokio::time::timeout_at(limit.min(began + times.abandon), &mut finished).await.is_err() {
                context.abandon.cancel();
                // A claim that the store does not answer may still win tasks: the record of this replica, which they are found by, stays.
                if tokio::time::timeout_at(began + times.signed_off, finished).await.is_err() {
                    context.unsettled.store(true, Ordering::Release);
                }
            }
        }
        self.stop.cancel();
        self.keepers.close();
        let signed_off = async {
            self.keepers.wait().await;
            self.sign_off().await;
        };
        if tokio::time::timeout_at(began + times.signed_off, signed_off).await.is_err() {
            tracing::warn!(
                "the store has not taken the rest of the history and the sign-off of this replica in time: other replicas notice its \
                 end when its heartbeat stops"
            );
        }
    }

    /// Removes the record of this replica, unless something in the store still waits to be rescued from it.
    async fn sign_off(&self) {
        let (context, queue) = (&self.context, &self.context.queue);
        if context.unsettled.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = queue.store().remove_replica(queue.replica_id()).await {
            tracing::warn!(%error, "this replica could not remove its record: others find it when its heartbeat stops");
        }
    }
}

/// Stops running tasks that a person wants stopped, whichever replica took the request.
async fn poll_cancellations(local: Arc<LocalRuns>, period: Duration, background: Background) {
    const FAILURE: &str = "requests to cancel running tasks could not be read; trying again";
    let (queue, running) = (&local.context.queue, &local.context.running);
    let work = || async {
        if !running.is_empty() {
            for task in queue.store().cancel_requests(queue.replica_id()).await? {
                running.stop(task);
            }
        }
        Ok::<_, StoreError>(())
    };
    let job = BackgroundJob::every(period.max(Duration::from_millis(10)), "cancellations", FAILURE);
    background.repeat(job, work).await;
}
