//! Tasks that are inserted as claimed already, so that an idle replica starts them without looking for them first.
//!
//! Only while nothing due waits here and no limits are configured: such a task takes nobody's turn. Should the insert
//! stay unanswered, a task that it stored after all is handed back like one of a claim without an answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio_util::task::task_tracker::TaskTrackerToken;
use uuid::Uuid;

use super::Runner;
use super::claims::note;
use crate::domain::agent::{AgentLoad, Route, route};
use crate::domain::task::{Claim, Task, TaskEvent, TaskStatus};
use crate::domain::time::Timestamp;
use crate::telemetry::metrics;
use crate::worker::execute::Worker;
use crate::worker::slots::Slot;

/// The places of tasks that are being inserted. Dropping it gives them back.
#[must_use]
pub struct Ahead {
    worker: Arc<Worker>,
    /// For each task its place, if it has one.
    slots: Vec<Option<Slot>>,
    /// Lets no shutdown overtake the insert.
    _token: TaskTrackerToken,
}

impl Runner {
    /// Takes on those of `tasks`, which are about to be inserted, that can start at once: all of them or none. They are
    /// claimed then, and [`Ahead::start`] must follow the insert.
    pub fn take_ahead(&self, tasks: &mut [Task], now: Timestamp) -> Ahead {
        let worker = &self.inner.worker;
        let token = worker.tracker.token();
        let slots = if self.is_idle() { reserve(worker, tasks, now) } else { None };
        let slots = match slots {
            Some(slots) => claim(worker, tasks, slots, now),
            None => Vec::new(),
        };
        Ahead { worker: Arc::clone(worker), slots, _token: token }
    }

    fn is_idle(&self) -> bool {
        let inner = &self.inner;
        !inner.has_limits
            && !inner.drain.is_cancelled()
            && inner.worker.lease.is_certain()
            && !inner.worker.signals.backlog.load(Ordering::Acquire)
    }
}

/// A place for each of `tasks` that is due; `None` when there are too few.
fn reserve(worker: &Worker, tasks: &[Task], now: Timestamp) -> Option<Vec<Option<Slot>>> {
    let taken = worker.slots.taken();
    let mut loads = worker.loads(&taken);
    if tasks.len() > loads.iter().map(AgentLoad::free).sum() {
        return None;
    }
    let mut slots = Vec::with_capacity(tasks.len());
    for task in tasks {
        if task.status != TaskStatus::Pending || task.run_at > now || task.unique_key.is_some() {
            slots.push(None);
            continue;
        }
        let needs_model = task.needs_model();
        // A probe is the dispatcher's to make.
        let has_room = |load: &AgentLoad<'_>| load.model_room == usize::MAX;
        if needs_model && !loads.iter().any(has_room) {
            slots.push(None);
            continue;
        }
        let route = route(task.agent.as_deref(), &task.capabilities, needs_model, &loads);
        let Route::To(agent) = route else { return None };
        if needs_model && !has_room(&loads[agent]) {
            return None;
        }
        loads[agent].in_flight += 1;
        slots.push(Some(worker.slots.reserve(agent)?.keyed(task.concurrency_key.as_deref())));
    }
    Some(slots)
}

fn claim(worker: &Worker, tasks: &mut [Task], slots: Vec<Option<Slot>>, now: Timestamp) -> Vec<Option<Slot>> {
    let claim = Claim { token: Uuid::now_v7().to_string(), owner: worker.replica_id.clone() };
    let claimed = TaskEvent::Claimed(claim);
    let take = |(task, slot): (&mut Task, Option<Slot>)| {
        let slot = slot?;
        *task = task.apply(&claimed, now).ok()?;
        Some(slot)
    };
    tasks.iter_mut().zip(slots).map(take).collect()
}

impl Drop for Ahead {
    /// When the insert failed: it is not known what it stored, and a search may have found no place free meanwhile.
    fn drop(&mut self) {
        if !self.slots.is_empty() {
            self.slots.clear();
            self.worker.unsettled.store(true, Ordering::Release);
            self.worker.signals.found();
        }
    }
}

impl Ahead {
    /// Starts those of `tasks`, in the order of [`Runner::take_ahead`], that were taken on and `created`. Whether some
    /// were created that must be looked for.
    pub fn start(mut self, tasks: &[Task], created: impl IntoIterator<Item = bool>) -> bool {
        let mut slots = std::mem::take(&mut self.slots).into_iter();
        let mut others = false;
        for (task, created) in tasks.iter().zip(created) {
            let slot = slots.next().flatten();
            match slot {
                Some(slot) if created => {
                    metrics::TASKS_CLAIMED.inc([]);
                    note(&self.worker, task, &slot);
                    self.worker.start(task.clone(), slot);
                }
                _ => others |= created,
            }
        }
        others
    }
}
