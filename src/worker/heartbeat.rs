//! The sign of life of this replica: a counter in the store that grows, and what this replica says of itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::context::ReplicaContext;
use crate::clock;
use crate::domain::replica::ReplicaRecord;
use crate::telemetry::metrics;

/// A nudge is told by a heartbeat ahead of its time: at the earliest after this part of the period.
const EARLY: u32 = 5;

/// Writes heartbeats and confirms the [`Lease`](super::lease::Lease).
pub(crate) struct Heartbeat {
    pub(crate) context: Arc<ReplicaContext>,
    pub(crate) period: Duration,
    /// Cancelled once the replica drains, which it then tells the others.
    pub(crate) drain: CancellationToken,
}

impl Heartbeat {
    /// Beats until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut usage = Usage::new();
        let mut replica = ReplicaRecord {
            id: self.context.queue.replica_id().to_owned(),
            host: System::host_name().unwrap_or_else(|_| "unknown".to_owned()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: clock::now(),
            updated_at: clock::now(),
            heartbeat: 0,
            draining: false,
            nudges: 0,
            waiting_for_model: 0,
            agents: Vec::new(),
            cpu: 0.0,
            memory_bytes: 0,
        };
        // Whether the loss of the lease has been told, as far as there is one.
        let mut reported = true;
        let mut nudges = self.context.queue.signals().nudges.subscribe();
        loop {
            replica.heartbeat += 1;
            // The others compare it with theirs.
            replica.updated_at = clock::now();
            replica.draining = self.drain.is_cancelled();
            replica.nudges = *nudges.borrow_and_update();
            replica.agents = self.context.presence();
            replica.waiting_for_model = self.context.waiting.load(Ordering::Acquire);
            (replica.cpu, replica.memory_bytes) = usage.read();
            metrics::MEMORY_BYTES.set(replica.memory_bytes, []);
            let confirmed = self.beat(&replica, &mut reported).await;
            // Tries again soon when it was not confirmed: the lease is running out.
            let pause = if confirmed { self.period } else { self.period / 4 };
            let news = async {
                tokio::time::sleep(self.period / EARLY).await;
                // It ends with the signals, which are held here.
                nudges.changed().await.ok();
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = news => {}
                () = self.drain.cancelled(), if !replica.draining => {}
            }
        }
    }

    /// Writes one heartbeat; gives back whether the store confirmed it.
    async fn beat(&self, replica: &ReplicaRecord, reported: &mut bool) -> bool {
        let sent = Instant::now();
        // A request that hangs must not use up the lease: a fresh one may get through.
        let answer =
            tokio::time::timeout(self.context.lease.length() / 3, self.context.queue.store().beat(replica)).await;
        let confirmed = matches!(answer, Ok(Ok(())));
        metrics::HEARTBEATS.inc([if confirmed { "ok" } else { "error" }]);
        // Also when this one is confirmed, but too late.
        if !self.context.lease.is_certain() && !std::mem::replace(reported, true) {
            tracing::error!(
                "the store has not confirmed a heartbeat within the lease: this replica stops its running tasks and starts none"
            );
        }
        match answer {
            Ok(Ok(())) => {
                *reported = false;
                if self.context.lease.confirm(sent) {
                    self.context.queue.signals().work.notify_one();
                }
            }
            Ok(Err(error)) => tracing::warn!(%error, "the heartbeat was not stored"),
            Err(_) => tracing::warn!("the heartbeat was not confirmed within {:?}", self.context.lease.length() / 3),
        }
        confirmed
    }
}

/// What this process uses of its machine.
struct Usage {
    system: Option<System>,
    pid: Pid,
}

impl Usage {
    fn new() -> Self {
        Self { system: System::new().ok(), pid: Pid::from_u32(std::process::id()) }
    }

    /// Cores in use since the last reading, and resident bytes; zero where the system does not tell.
    fn read(&mut self) -> (f64, u64) {
        let Some(system) = &mut self.system else { return (0.0, 0) };
        let what = ProcessRefreshKind::nothing().with_cpu().with_memory();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[self.pid]), false, what);
        system.process(self.pid).map_or((0.0, 0), |process| (f64::from(process.cpu_usage()) / 100.0, process.memory()))
    }
}
