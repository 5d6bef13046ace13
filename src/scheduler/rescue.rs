//! Finds replicas that died, so that the queue takes their tasks back.
//!
//! Liveness is judged by the heartbeat counter alone, on this replica's own monotonic clock; wall clocks of two
//! hosts are never compared. Tasks that no living run answers for are found as well: those of a replica without a
//! record, and those that this replica holds in the store but does not run.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::clocks::{Clocks, Looked};
use crate::background::{Background, BackgroundJob};
use crate::clock;
use crate::domain::id::TaskId;
use crate::domain::replica::ReplicaRecord;
use crate::domain::task::{Task, TaskEvent, TaskStatus};
use crate::domain::time::Timestamp;
use crate::queue::{Actor, Queue};
use crate::store::{StoreError, TaskFilter, TransitionError};
use crate::telemetry::metrics;
use crate::worker::lease::Lease;
use crate::worker::running::Running;

mod watch;

use watch::Watch;

/// Running tasks read at once.
const PAGE: u32 = 512;

/// Watches the other replicas and rescues.
pub(crate) struct Rescuer {
    queue: Queue,
    lease: Arc<Lease>,
    running: Running,
    watch: Watch,
    period: Duration,
    /// Claims found without a run at the last check, and when that was.
    stray: HashSet<(TaskId, String)>,
    checked: Instant,
    clocks: Clocks,
    /// How often each of the others had nudged at the last look.
    nudges: HashMap<String, u64>,
    /// When the request of the last look was sent.
    looked: Option<Instant>,
    /// Whether it has been told that the own clock is wrong.
    is_off: bool,
}

impl Rescuer {
    pub(crate) fn new(queue: Queue, lease: Arc<Lease>, running: Running, heartbeat: Duration) -> Self {
        let period = (heartbeat / 5).clamp(Duration::from_millis(20), Duration::from_secs(1));
        let watch = Watch::new(lease.length(), period * 2);
        Self {
            queue,
            lease,
            running,
            watch,
            period,
            stray: HashSet::new(),
            checked: Instant::now(),
            clocks: Clocks::default(),
            nudges: HashMap::new(),
            looked: None,
            is_off: false,
        }
    }

    /// Watches until the drain begins.
    pub(crate) async fn run(self, background: Background) {
        const FAILURE: &str = "the heartbeats of the other replicas could not be read; trying again";
        let job = BackgroundJob::every(self.period, "rescue", FAILURE);
        let rescuer = Mutex::new(self);
        background.repeat(job, || async { rescuer.lock().await.run_once(clock::now()).await }).await;
    }

    /// One look at the other replicas, and what follows from it.
    pub(crate) async fn run_once(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let sent = Instant::now();
        let replicas = self.queue.store().replicas().await?;
        self.compare_clocks(&replicas, sent);
        metrics::REPLICAS.set(replicas.len(), []);
        let others = replicas.iter().filter(|replica| replica.id != self.queue.replica_id());
        let heartbeats = others.map(|replica| (replica.id.as_str(), replica.heartbeat));
        let look = self.watch.look(heartbeats, sent, Instant::now());
        if look.gone {
            self.queue.signals().look_at_all();
        }
        if self.hear(&replicas) || look.gone {
            self.queue.signals().work.notify_one();
        }
        for (id, still) in look.dead {
            if Instant::now() >= look.valid_until {
                tracing::warn!(
                    replica = id,
                    "a replica seemed dead, but this replica did not act in time: it observes the replica again"
                );
                break;
            }
            tracing::warn!(replica = id, ?still, "a replica is dead: its heartbeat stands still");
            self.queue.rescue(&id, now).await?;
            metrics::RECOVERY_SECONDS.record(still, []);
        }
        if self.checked.elapsed() >= self.lease.length() {
            self.check_strays(&replicas, now).await?;
            self.checked = Instant::now();
        }
        Ok(())
    }

    /// Whether another replica has nudged since the last look, or is new.
    fn hear(&mut self, replicas: &[ReplicaRecord]) -> bool {
        let others = replicas.iter().filter(|replica| replica.id != self.queue.replica_id());
        let nudges = others.map(|replica| (replica.id.clone(), replica.nudges)).collect();
        let before = std::mem::replace(&mut self.nudges, nudges);
        self.nudges.iter().any(|(id, count)| before.get(id) != Some(count))
    }

    /// Tells when the others agree that the clock of this host is wrong, and when they no longer do.
    fn compare_clocks(&mut self, replicas: &[ReplicaRecord], sent: Instant) {
        let since_last = self.looked.replace(sent).map(|last| last.elapsed().as_millis());
        let looked =
            Looked { since_last_ms: since_last.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX)), at: clock::now() };
        let others = replicas.iter().filter(|replica| replica.id != self.queue.replica_id());
        let others = others.map(|replica| (replica.id.as_str(), replica.heartbeat, replica.updated_at));
        let behind_ms = self.clocks.look(others, looked);
        let is_off = behind_ms != 0;
        if is_off && !self.is_off {
            tracing::error!(
                behind_ms,
                "the clock of this host differs from those of most replicas: what is due starts too early or too late \
                 here; set it right"
            );
        } else if self.is_off && !is_off {
            tracing::info!("the clock of this host agrees with those of most replicas again");
        }
        self.is_off = is_off;
    }

    /// Finds claims that nobody answers for. One must be found by two checks, a lease apart: it may just be
    /// about to start or to end.
    async fn check_strays(&mut self, replicas: &[ReplicaRecord], now: Timestamp) -> Result<(), StoreError> {
        let alive: HashSet<&str> = replicas.iter().map(|replica| replica.id.as_str()).collect();
        let filter = TaskFilter { statuses: vec![TaskStatus::Running], ..TaskFilter::default() };
        let mut after: Option<String> = None;
        let mut stray = HashSet::new();
        loop {
            let page = self.queue.store().tasks(&filter, PAGE, after.as_deref()).await?;
            for task in &page.items {
                let Some(claim) = &task.state.claim else { continue };
                let own = claim.owner == self.queue.replica_id();
                let answered = if own { self.running.holds(task) } else { alive.contains(claim.owner.as_str()) };
                if answered {
                    continue;
                }
                let key = (task.id, claim.token.clone());
                if !self.stray.contains(&key) {
                    stray.insert(key);
                } else if own {
                    self.release(task, now).await?;
                } else {
                    self.queue.rescue(&claim.owner, now).await?;
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        self.stray = stray;
        Ok(())
    }

    /// Hands back a task that this replica holds but does not run, after a claim or an end that was never confirmed.
    async fn release(&self, task: &Task, now: Timestamp) -> Result<(), StoreError> {
        tracing::warn!(task = %task.id, "a task is claimed by this replica but does not run here: handing it back");
        match self.queue.change_once(task, &TaskEvent::Released, Actor::StrayCheck, now).await {
            Err(TransitionError::Store(error)) => Err(error),
            // After any other error the task is no longer this replica's to hand back.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
