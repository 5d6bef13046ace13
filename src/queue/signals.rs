//! What wakes the parts of this replica: new tasks, free capacity, met dependencies, due times.
//!
//! Signals carry no data that could be lost: the part that wakes looks at the store. The list of ended tasks is a hint that
//! saves looking at all waiting tasks; the sweep looks at all of them regardless.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Notify, watch};

use crate::domain::id::TaskId;
use crate::domain::time::Timestamp;

/// Most due times remembered; later ones are found by the sweep.
const MAX_ALARMS: usize = 10_000;
/// Most ended tasks remembered; beyond that, all waiting tasks are looked at instead.
const MAX_ENDED: usize = 20_000;

/// What happened to dependencies since somebody last asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Tasks that ended, and whether they completed.
    pub(crate) tasks: Vec<(TaskId, bool)>,
    /// Waiting tasks that were inserted.
    pub(crate) inserted: Vec<TaskId>,
    /// Whether there may be others: then every waiting task is worth a look.
    pub(crate) others: bool,
}

/// The signals of one replica.
pub(crate) struct Signals {
    /// Look for due tasks.
    pub(crate) work: Notify,
    /// Look whether waiting tasks have what they wait for.
    pub(crate) dependencies: Notify,
    /// The same, and not only because a task ended: there may be waiting tasks where there were none.
    pub(crate) waiting: Notify,
    /// Due tasks may have been left for want of capacity, so freed capacity is worth a look. Set before a search
    /// begins and cleared by one that left nothing, so that capacity freed in between is never missed.
    pub(crate) backlog: AtomicBool,
    /// How often there may have been more due tasks than before, for whichever replica; see [`Signals::found`].
    pub(crate) nudges: watch::Sender<u64>,
    /// Sweep now instead of at the next time of the cron job.
    pub(crate) sweep: Notify,
    ended: Mutex<Ended>,
    alarms: Mutex<BTreeSet<Timestamp>>,
}

impl Signals {
    /// Signals of a replica that has looked at nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            work: Notify::new(),
            dependencies: Notify::new(),
            waiting: Notify::new(),
            backlog: AtomicBool::new(true),
            nudges: watch::Sender::new(0),
            sweep: Notify::new(),
            ended: Mutex::new(Ended { others: true, ..Ended::default() }),
            alarms: Mutex::new(BTreeSet::new()),
        }
    }

    /// There may be more due tasks than before, which nobody else has been told: they are looked for here, and once the next
    /// heartbeat tells it, by every other replica, since none of the agents here may fit or have room.
    pub(crate) fn found(&self) {
        self.nudge_others();
        self.work.notify_one();
    }

    /// [`Signals::found`], but for who looks for due tasks here anyway.
    pub(crate) fn nudge_others(&self) {
        self.nudges.send_modify(|count| *count += 1);
    }

    /// Tasks were inserted: some may be due, some may wait for what is completed already.
    pub(crate) fn inserted(&self) {
        self.found();
        self.look_at_all();
    }

    /// A sweep is wanted now, here and, as far as its tasks may be due, elsewhere.
    pub(crate) fn sweep_now(&self) {
        self.nudge_others();
        self.sweep.notify_one();
    }

    /// Any waiting task may have what it waits for.
    pub(crate) fn look_at_all(&self) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).others = true;
        self.waiting.notify_one();
        self.dependencies.notify_one();
    }

    /// These tasks were inserted and wait, perhaps for what has ended already.
    pub(crate) fn inserted_waiting(&self, tasks: &[TaskId]) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.inserted.len() + tasks.len() <= MAX_ENDED {
            ended.inserted.extend_from_slice(tasks);
        } else {
            ended.others = true;
        }
        drop(ended);
        self.waiting.notify_one();
        self.dependencies.notify_one();
    }

    /// Capacity became free.
    pub(crate) fn freed(&self) {
        if self.backlog.load(Ordering::Acquire) {
            self.work.notify_one();
        }
    }

    /// A task ended, which others may have waited for.
    pub(crate) fn ended(&self, task: TaskId, completed: bool) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.tasks.len() < MAX_ENDED {
            ended.tasks.push((task, completed));
        } else {
            ended.others = true;
        }
        drop(ended);
        self.dependencies.notify_one();
    }

    /// What has ended since the last call.
    pub(crate) fn take_ended(&self) -> Ended {
        std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A task falls due at `at`, before the next sweep perhaps.
    pub(crate) fn due_at(&self, at: Timestamp) {
        let mut alarms = self.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = alarms.first().is_none_or(|first| at < *first);
        alarms.insert(at);
        if alarms.len() > MAX_ALARMS {
            alarms.pop_last();
        }
        drop(alarms);
        self.nudge_others();
        // The dispatcher sleeps until the earliest one; it has to hear of an earlier one.
        if earlier {
            self.work.notify_one();
        }
    }

    /// The earliest known due time after `now`; earlier ones are forgotten, since a search at `now` covers them.
    pub(crate) fn next_alarm(&self, now: Timestamp) -> Option<Timestamp> {
        let mut alarms = self.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        while alarms.first().is_some_and(|first| *first <= now) {
            alarms.pop_first();
        }
        alarms.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_due_time_after_now_is_next() {
        let signals = Signals::new();
        for ms in [30, 10, 20] {
            signals.due_at(Timestamp::from_millis(ms));
        }
        assert_eq!(signals.next_alarm(Timestamp::from_millis(5)), Some(Timestamp::from_millis(10)));
        assert_eq!(signals.next_alarm(Timestamp::from_millis(10)), Some(Timestamp::from_millis(20)));
        assert_eq!(signals.next_alarm(Timestamp::from_millis(30)), None);
    }

    #[test]
    fn of_too_many_ended_tasks_it_is_known_that_there_are_others() {
        let signals = Signals::new();
        assert_eq!(signals.take_ended(), Ended { others: true, ..Ended::default() }, "nothing has been looked at yet");
        signals.ended(TaskId::Number(1), true);
        signals.ended(TaskId::Number(2), false);
        let tasks = vec![(TaskId::Number(1), true), (TaskId::Number(2), false)];
        assert_eq!(signals.take_ended(), Ended { tasks, ..Ended::default() });
        for id in 0..=20_000 {
            signals.ended(TaskId::Number(id), true);
        }
        let ended = signals.take_ended();
        assert_eq!((ended.tasks.len(), ended.others), (20_000, true));
    }

    #[test]
    fn of_too_many_inserted_tasks_it_is_known_that_there_are_others() {
        let signals = Signals::new();
        signals.take_ended();
        let batch: Vec<TaskId> = (0..15_000).map(TaskId::Number).collect();
        signals.inserted_waiting(&batch);
        assert_eq!(signals.take_ended(), Ended { inserted: batch.clone(), ..Ended::default() });
        signals.inserted_waiting(&batch);
        signals.inserted_waiting(&batch);
        let ended = signals.take_ended();
        assert_eq!((ended.inserted.len(), ended.others), (15_000, true), "no part of a batch is remembered");
    }

    #[test]
    fn alarms_are_bounded_and_keep_the_earliest() {
        let signals = Signals::new();
        for ms in (0..20_000).rev() {
            signals.due_at(Timestamp::from_millis(ms));
        }
        assert_eq!(signals.next_alarm(Timestamp::from_millis(-1)), Some(Timestamp::from_millis(0)));
        assert_eq!(signals.next_alarm(Timestamp::from_millis(9_999)), None);
    }
}
