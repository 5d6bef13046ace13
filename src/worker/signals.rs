//! What workers tell the scheduler: capacity is free, a dependency may be met, a retry falls due.
//!
//! Signals carry no data that could be lost: whoever is woken looks at the store.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::domain::time::Timestamp;

/// Most due times remembered; later ones are found by the sweep.
const MAX_ALARMS: usize = 10_000;

/// The signals of one replica.
pub(crate) struct Signals {
    /// Look for due tasks.
    pub(crate) work: Notify,
    /// Look whether waiting tasks have what they wait for.
    pub(crate) dependencies: Notify,
    /// Due tasks may have been left for want of capacity, so freed capacity is worth a look. Set before a search
    /// begins and cleared by one that left nothing, so that capacity freed in between is never missed.
    pub(crate) backlog: AtomicBool,
    /// Tasks were waiting for others when last looked at, so a completion is worth a look.
    pub(crate) waiting: AtomicBool,
    alarms: Mutex<BTreeSet<Timestamp>>,
}

impl Signals {
    /// Signals of a replica that has looked at nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            work: Notify::new(),
            dependencies: Notify::new(),
            backlog: AtomicBool::new(true),
            waiting: AtomicBool::new(true),
            alarms: Mutex::new(BTreeSet::new()),
        }
    }

    /// Tasks were inserted: some may be due, some may wait for what is completed already.
    pub(crate) fn inserted(&self) {
        self.work.notify_one();
        self.dependencies.notify_one();
    }

    /// Capacity became free.
    pub(crate) fn freed(&self) {
        if self.backlog.load(Ordering::Acquire) {
            self.work.notify_one();
        }
    }

    /// A task ended, which others may have waited for.
    pub(crate) fn ended(&self) {
        if self.waiting.load(Ordering::Acquire) {
            self.dependencies.notify_one();
        }
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
    fn alarms_are_bounded_and_keep_the_earliest() {
        let signals = Signals::new();
        for ms in (0..20_000).rev() {
            signals.due_at(Timestamp::from_millis(ms));
        }
        assert_eq!(signals.next_alarm(Timestamp::from_millis(-1)), Some(Timestamp::from_millis(0)));
        assert_eq!(signals.next_alarm(Timestamp::from_millis(9_999)), None);
    }
}
