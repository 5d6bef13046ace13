//! Fires schedules. Every replica does, and none leads: ids of firings are derived from schedule and time and inserted
//! only if absent, so that a firing becomes one task whoever inserts it and whoever dies. How far a schedule is stands
//! in the store and is moved on after its firings are inserted, so that none is lost either. What must start alone is
//! announced there before, so that of all who want to start something at the same time one does.
//!
//! This file knows when to look at which schedule, and `advance` what to do then. People change schedules through
//! [`ScheduleService`](super::service::ScheduleService).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::background::guarded;
use crate::clock;
use crate::domain::approval::ApprovalPolicy;
use crate::domain::event::{Event, EventKind, Level};
use crate::domain::id::derived;
use crate::domain::schedule::Schedule;
use crate::domain::schedule::due::{NextCheck, next_check};
use crate::domain::time::Timestamp;
use crate::queue::Queue;
use crate::store::{STORE_RETRY, StoreError};
use crate::telemetry::metrics;

/// Schedules handled at once.
pub(super) const PARALLEL: usize = 16;
/// How often all schedules are read, for those that other replicas made or changed.
const REFRESH: Duration = Duration::from_secs(10);
/// Longest sleep. The clock of timers stands still while a computer sleeps, and the clock on the wall may be set, so a
/// long sleep cannot be trusted to end in time.
const NAP_MS: u64 = 1_000;
/// How often a schedule with firings that wait is looked at, in milliseconds.
const QUEUE_LOOK_MS: i64 = 500;
/// When a schedule that cannot be fired is looked at again, in milliseconds.
pub(super) const TROUBLE_MS: i64 = 60_000;
/// Schedules read at once.
const PAGE: u32 = 256;

/// Fires schedules.
pub(crate) struct ScheduleRunner {
    pub(super) queue: Queue,
    pub(super) approvals: ApprovalPolicy,
    /// A person changed a schedule through this replica.
    changed: Arc<Notify>,
    pub(super) missed_after_ms: u64,
    /// When each schedule is to be looked at, as far as it will ever fire.
    looks: HashMap<String, Timestamp>,
    read_at: Option<Instant>,
}

impl ScheduleRunner {
    pub(crate) fn new(queue: Queue, approvals: ApprovalPolicy, changed: Arc<Notify>, missed_after_ms: u64) -> Self {
        Self { queue, approvals, changed, missed_after_ms, looks: HashMap::new(), read_at: None }
    }

    /// Fires what is due, until the drain begins.
    pub(crate) async fn run(mut self, drain: CancellationToken) {
        let mut failures = 0;
        loop {
            // A run that has begun is carried through, so that what it fires is also counted.
            if drain.is_cancelled() {
                return;
            }
            let outcome = guarded("recurring", self.run_once(clock::now())).await;
            if let Some(Ok(())) = outcome {
                failures = 0;
            } else {
                if let Some(Err(error)) = outcome {
                    tracing::warn!(%error, "the schedules could not be read or fired; trying again");
                }
                failures += 1;
                self.read_at = None;
                let pause = Duration::from_millis(STORE_RETRY.delay(failures));
                tokio::select! {
                    () = drain.cancelled() => return,
                    () = tokio::time::sleep(pause) => continue,
                }
            }
            tokio::select! {
                () = drain.cancelled() => return,
                () = self.changed.notified() => self.read_at = None,
                () = self.nap() => {}
            }
        }
    }

    /// Returns when the next schedule is due, or it is time to read all of them.
    async fn nap(&self) {
        let next = self.looks.values().min().copied();
        loop {
            let now = clock::now();
            let until_next = next.map_or(NAP_MS, |next| next.millis_since(now));
            if until_next == 0 || self.is_stale() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(until_next.min(NAP_MS))).await;
        }
    }

    fn is_stale(&self) -> bool {
        self.read_at.is_none_or(|at| at.elapsed() >= REFRESH)
    }

    /// Fires what is due at `now`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; what was fired is fired, and the rest is due still.
    pub(crate) async fn run_once(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if self.is_stale() {
            let began = Instant::now();
            self.looks = self.read_all(now).await?;
            self.read_at = Some(began);
        }
        let mut due: Vec<String> = self.looks.iter().filter(|(_, at)| **at <= now).map(|(id, _)| id.clone()).collect();
        // Replicas begin at different ends, so that each fires a part of what falls due at the same time.
        due.sort_by_cached_key(|id| derived(&[self.queue.replica_id(), id]));
        let mut answer = Ok(());
        for ids in due.chunks(PARALLEL) {
            answer = self.fire(ids, now).await.and(answer);
        }
        answer
    }

    /// When each schedule is to be looked at. They are read page by page, so that memory holds no more than that of all.
    async fn read_all(&self, now: Timestamp) -> Result<HashMap<String, Timestamp>, StoreError> {
        let (mut looks, mut active, mut paused, mut after) = (HashMap::new(), 0_usize, 0_usize, None);
        loop {
            let page = self.queue.store().schedules(PAGE, after.as_deref()).await?;
            for schedule in &page.items {
                *(if schedule.paused { &mut paused } else { &mut active }) += 1;
                looks.extend(look_at(schedule, now).map(|at| (schedule.id.clone(), at)));
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        metrics::SCHEDULES.set(active, ["active"]);
        metrics::SCHEDULES.set(paused, ["paused"]);
        Ok(looks)
    }

    /// Fires those of the schedules `ids` that are due still.
    async fn fire(&mut self, ids: &[String], now: Timestamp) -> Result<(), StoreError> {
        // Read anew: they may have been paused, changed or fired through another replica.
        let schedules = self.queue.store().schedules_by_id(ids).await?;
        let this = &*self;
        let fired = schedules.iter().map(|schedule| async { (&schedule.id, this.advance(schedule, now).await) });
        let fired = join_all(fired).await;
        for id in ids {
            self.looks.remove(id);
        }
        let mut answer = Ok(());
        for (id, outcome) in fired {
            match outcome {
                Ok(next) => self.looks.extend(next.map(|at| (id.clone(), at))),
                Err(error) if error.is_transient() => {
                    self.looks.insert(id.clone(), now);
                    answer = Err(error);
                }
                // One that the store will not have must not keep the others from firing.
                Err(error) => {
                    tracing::error!(schedule = %id, %error, "a schedule cannot fire");
                    let event =
                        Event::new(EventKind::ScheduleFailed, format!("the schedule cannot fire: {error}"), now);
                    self.queue.history().note(event.level(Level::Error).with("schedule", id.clone()));
                    self.looks.insert(id.clone(), now.plus_millis(TROUBLE_MS));
                }
            }
        }
        answer
    }
}

/// When `schedule` is to be looked at; `None` when nothing is to come of it.
pub(super) fn look_at(schedule: &Schedule, now: Timestamp) -> Option<Timestamp> {
    match next_check(schedule, now) {
        Ok(NextCheck::Never) => None,
        Ok(NextCheck::At(next)) => Some(next),
        // It has just been looked at, so what is left waits for tasks to end.
        Ok(NextCheck::Queue) => Some(now.plus_millis(QUEUE_LOOK_MS)),
        Ok(NextCheck::Now) => Some(now),
        Err(_) => Some(now.plus_millis(TROUBLE_MS)),
    }
}
