//! What the runs of this replica, and the parts that start them, share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::lease::Lease;
use super::running::Running;
use super::slots::Slots;
use crate::agent::Agent;
use crate::domain::approval::ApprovalPolicy;
use crate::domain::retry::RetryPolicy;
use crate::domain::time::Timestamp;
use crate::queue::Queue;

/// The parts of one replica. Parts of the scheduler that need only some of them hold those alone.
pub(crate) struct ReplicaContext {
    pub(crate) queue: Queue,
    pub(crate) agent: Agent,
    pub(crate) retry: RetryPolicy,
    pub(crate) approvals: ApprovalPolicy,
    pub(crate) slots: Arc<Slots>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) running: Running,
    /// The runs under way.
    pub(crate) tracker: TaskTracker,
    /// Cancelled when the grace period is over: runs are handed back.
    pub(crate) cut: CancellationToken,
    /// Cancelled when even the reports of runs are no longer waited for.
    pub(crate) abandon: CancellationToken,
    /// Tasks that wait for a model, as they were counted last.
    pub(crate) waiting: AtomicU64,
    /// When this replica started.
    pub(crate) started_at: Timestamp,
    /// Something that this replica holds in the store could not be settled: only a rescue can.
    pub(crate) unsettled: AtomicBool,
}
