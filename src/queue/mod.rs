//! The queue of this replica: the only door to inserts of tasks and to changes of a task.
//!
//! A caller says what it wants: a [`Submission`] of new tasks, or a [`TaskEvent`](crate::domain::task::TaskEvent) of a task
//! with the [`Actor`] that causes it. The queue writes it, and sees to all that follows: metrics, history, signals, dead letters.
//!
//! - `submit`: new tasks, started at once where this replica is idle; `children`: those that a run makes, within the budget of
//!   their tree;
//! - `change`: a change of one task; `bulk`: of many; `effects`: what follows from a change, in one match;
//! - `steps`: tasks that carry out steps of others;
//! - `claims`: the right to run tasks; `rescue`: tasks of a replica that died; `admit`: points of other clients;
//! - `dead_letters`: letters before failures, and gone after requeues;
//! - `signals`: what wakes the parts of this replica; `history`: events, written in batches.
//!
//! It knows no HTTP, no agents and no schedules. What only a running scheduler can do comes in through [`LocalReplica`].

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::domain::id::TaskId;
use crate::domain::task::Task;
use crate::domain::time::Timestamp;
use crate::store::{Inserted, Store};

mod admit;
mod agents;
mod bulk;
mod change;
mod children;
mod claims;
mod dead_letters;
mod describe;
mod effects;
mod history;
mod rescue;
mod signals;
mod steps;
mod submit;

pub use agents::{KnownAgents, UnknownAgent};
pub use bulk::{BulkChange, BulkReport, BulkRequest, Refusal, Targets};
pub use change::{Actor, ChangeError, Person};
pub use children::{ChildError, TreeSlots};
pub use history::History;
pub(crate) use history::HistoryWriter;
pub(crate) use signals::Signals;
pub use submit::{Ids, Source, Submission, SubmitError, Submitted};

/// The queue of one replica. Cheap to clone; clones share signals and history.
#[derive(Clone)]
pub struct Queue {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    signals: Arc<Signals>,
    history: History,
    /// Until the scheduler takes it to run it.
    writer: Mutex<Option<HistoryWriter>>,
    /// Weak, because the replica holds the queue.
    local: OnceLock<Weak<dyn LocalReplica>>,
}

/// What the queue asks of the scheduler and the runs of its replica.
pub trait LocalReplica: Send + Sync {
    /// Reserves a slot for every due task of `tasks`, which are about to be inserted, or for none.
    fn reserve_for_insert(self: Arc<Self>, tasks: &[Task], now: Timestamp) -> Box<dyn ReservedInsert>;

    /// Stops the run of `task` if it runs here, and returns whether it does.
    fn stop_run(&self, task: TaskId) -> bool;
}

/// Slots for tasks that are about to be inserted as claimed. Dropping it without a start means that the insert failed.
pub trait ReservedInsert: Send {
    /// Whether the task at `index` has a slot.
    fn has_slot(&self, index: usize) -> bool;

    /// Starts the `tasks` that have a slot and were created, as `inserted` tells. Returns whether tasks were created that the
    /// dispatcher must find.
    fn start(self: Box<Self>, tasks: &[Task], inserted: &[Inserted]) -> bool;
}

impl Queue {
    /// The queue of the replica `replica_id` over `store`.
    #[must_use]
    pub fn new(store: Store, replica_id: &str) -> Self {
        let (history, writer) = history::buffer(store.clone(), replica_id);
        let inner = Inner {
            store,
            signals: Arc::new(Signals::new()),
            history,
            writer: Mutex::new(Some(writer)),
            local: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The store below, for reading.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The history of this replica.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.inner.history
    }

    pub(crate) fn signals(&self) -> &Arc<Signals> {
        &self.inner.signals
    }

    /// Id of the replica.
    #[must_use]
    pub fn replica_id(&self) -> &str {
        self.inner.history.replica_id()
    }

    /// Makes `local` what the queue asks about runs of this replica. Only the scheduler that took the history writer calls it.
    pub(crate) fn attach(&self, local: &Arc<impl LocalReplica + 'static>) {
        let local: Weak<dyn LocalReplica> = Arc::downgrade(&(Arc::clone(local) as Arc<dyn LocalReplica>));
        self.inner.local.set(local).ok();
    }

    /// What writes the history; `None` when it was taken before.
    pub(crate) fn take_history_writer(&self) -> Option<HistoryWriter> {
        self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn local(&self) -> Option<Arc<dyn LocalReplica>> {
        self.inner.local.get()?.upgrade()
    }

    /// Looks for due tasks and for waiting tasks that can go, after another program wrote some.
    pub fn wake(&self) {
        self.signals().inserted();
    }

    /// Returns once there may be due tasks that this replica has not looked for.
    pub async fn woken(&self) {
        self.signals().work.notified().await;
    }
}
