//! Tasks that are inserted as claimed, so that an idle replica starts them without a search.
//!
//! Only while no due task waits here and no limits are configured: such a task takes no other task's turn. When the store does
//! not answer the insert, and stored the tasks after all, they are handed back like those of a claim without an answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::domain::agent::{AgentLoad, Route, route};
use crate::domain::id::TaskId;
use crate::domain::task::{Task, TaskStatus};
use crate::domain::time::Timestamp;
use crate::queue::{LocalReplica, ReservedInsert};
use crate::store::Inserted;
use crate::worker::context::ReplicaContext;
use crate::worker::slots::Slot;

/// Starts and stops runs of this replica for its queue.
pub(in crate::scheduler) struct LocalRuns {
    pub(in crate::scheduler) context: Arc<ReplicaContext>,
    pub(in crate::scheduler) has_limits: bool,
    pub(in crate::scheduler) drain: CancellationToken,
}

/// The slots of tasks that are being inserted. Dropping it gives them back.
struct Reserved {
    context: Arc<ReplicaContext>,
    /// For each task its slot, if it has one; empty when none has.
    slots: Vec<Option<Slot>>,
    /// Keeps the drain waiting until the insert has ended.
    _token: TaskTrackerToken,
}

impl LocalReplica for LocalRuns {
    fn reserve_for_insert(self: Arc<Self>, tasks: &[Task], now: Timestamp) -> Box<dyn ReservedInsert> {
        let token = self.context.tracker.token();
        let slots = if self.is_idle() { reserve(&self.context, tasks, now) } else { None };
        Box::new(Reserved { context: Arc::clone(&self.context), slots: slots.unwrap_or_default(), _token: token })
    }

    fn stop_run(&self, task: TaskId) -> bool {
        self.context.running.stop(task)
    }
}

impl LocalRuns {
    fn is_idle(&self) -> bool {
        !self.has_limits
            && !self.drain.is_cancelled()
            && self.context.lease.is_certain()
            && !self.context.queue.signals().backlog.load(Ordering::Acquire)
    }
}

/// A slot for each of `tasks` that is due; `None` when there are too few.
fn reserve(context: &ReplicaContext, tasks: &[Task], now: Timestamp) -> Option<Vec<Option<Slot>>> {
    let taken = context.slots.taken();
    let mut loads = context.loads(&taken);
    if tasks.len() > loads.iter().map(AgentLoad::free).sum() {
        return None;
    }
    let mut slots = Vec::with_capacity(tasks.len());
    for task in tasks {
        if task.state.status != TaskStatus::Pending || task.spec.run_at > now || task.spec.unique_key.is_some() {
            slots.push(None);
            continue;
        }
        let needs_model = task.spec.needs_model();
        // A probe is the dispatcher's to make.
        let has_room = |load: &AgentLoad<'_>| load.model_room == usize::MAX;
        if needs_model && !loads.iter().any(has_room) {
            slots.push(None);
            continue;
        }
        let route = route(task.spec.agent.as_deref(), &task.spec.capabilities, needs_model, &loads);
        let Route::To(agent) = route else { return None };
        if needs_model && !has_room(&loads[agent]) {
            return None;
        }
        loads[agent].in_flight += 1;
        slots.push(Some(context.slots.reserve(agent)?.keyed(task.spec.concurrency_key.as_deref())));
    }
    Some(slots)
}

impl ReservedInsert for Reserved {
    fn has_slot(&self, index: usize) -> bool {
        self.slots.get(index).is_some_and(Option::is_some)
    }

    fn start(mut self: Box<Self>, tasks: &[Task], inserted: &[Inserted]) -> bool {
        let mut slots = std::mem::take(&mut self.slots).into_iter();
        let mut others = false;
        for (task, one) in tasks.iter().zip(inserted) {
            match slots.next().flatten() {
                Some(slot) if one.created => {
                    self.context.queue.record_reserved_start(task, &slot.profile().name);
                    self.context.start(task.clone(), slot);
                }
                _ => others |= one.created,
            }
        }
        others
    }
}

impl Drop for Reserved {
    /// After a failed insert it is not known what the store kept, and a search may have found no slot free meanwhile.
    fn drop(&mut self) {
        if !self.slots.is_empty() {
            self.slots.clear();
            self.context.unsettled.store(true, Ordering::Release);
            self.context.queue.signals().found();
        }
    }
}
