//! Fires schedules. Every replica does, and none leads: ids of firings are derived from schedule and time and inserted
//! only if absent, so that a firing becomes one task whoever inserts it and whoever dies. How far a schedule is stands
//! in the store and is moved on after its firings are inserted, so that none is lost either.
//!
//! [`Desk`](desk::Desk) is where people ask for something.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::guard::guarded;
use crate::clock;
use crate::domain::approval::ApprovalPolicy;
use crate::domain::event::{Event, Level};
use crate::domain::id::{TaskId, derived};
use crate::domain::schedule::due::{Alive, Look, Round, Skip, Start, decide, look};
use crate::domain::schedule::{Announced, Overlap, Progress, Schedule, fire_time};
use crate::domain::task::{Task, TaskEvent, TaskStatus};
use crate::domain::time::Timestamp;
use crate::store::{Inserted, Store, StoreError, TaskFilter, TransitionError};
use crate::telemetry::metrics;
use crate::worker::execute::Worker;
use crate::worker::{MaybeTransient as _, STORE_RETRY};
use history::summary_event;

pub mod backfill;
pub mod desk;
mod history;
mod outcome;

/// Schedules handled at once.
const PARALLEL: usize = 16;
/// How often all schedules are read, for those that other replicas made or changed.
const REFRESH: Duration = Duration::from_secs(10);
/// Longest sleep. The clock of timers stands still while a computer sleeps, and the clock on the wall may be set, so a
/// long sleep cannot be trusted to end in time.
const NAP_MS: u64 = 1_000;
/// How often a schedule with firings that wait is looked at, in milliseconds.
const QUEUE_LOOK_MS: i64 = 500;
/// When a schedule that cannot be fired is looked at again, in milliseconds.
const TROUBLE_MS: i64 = 60_000;
/// Schedules read at once.
const PAGE: u32 = 256;
/// How long a task that was announced counts as alive without being there, in milliseconds.
const ANNOUNCED_MS: u64 = 10_000;
/// Most tasks of a schedule that are looked at as alive.
const MAX_ALIVE: u32 = 1_000;
/// Statuses of tasks that have not ended.
const ALIVE: [TaskStatus; 4] =
    [TaskStatus::Waiting, TaskStatus::Pending, TaskStatus::Running, TaskStatus::AwaitingApproval];

/// Fires schedules.
pub(crate) struct Recurring {
    worker: Arc<Worker>,
    /// Somebody changed a schedule through this replica.
    changed: Arc<Notify>,
    missed_after_ms: u64,
    /// When each schedule is to be looked at, as far as it will ever fire.
    looks: HashMap<String, Timestamp>,
    read_at: Option<Instant>,
}

impl Recurring {
    pub(crate) fn new(worker: Arc<Worker>, changed: Arc<Notify>, missed_after_ms: u64) -> Self {
        Self { worker, changed, missed_after_ms, looks: HashMap::new(), read_at: None }
    }

    /// Fires what is due, until the drain begins.
    pub(crate) async fn run(mut self, drain: CancellationToken) {
        let mut failures = 0;
        loop {
            // A round that has begun is carried through, so that what it fires is also counted.
            if drain.is_cancelled() {
                return;
            }
            let round = guarded("recurring", self.run_once(clock::now())).await;
            if let Some(Ok(())) = round {
                failures = 0;
            } else {
                if let Some(Err(error)) = round {
                    tracing::warn!(%error, "schedules could not be fired; trying again");
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
        let mut due: Vec<String> =
            self.looks.iter().filter(|(_, look)| **look <= now).map(|(id, _)| id.clone()).collect();
        // Replicas begin at different ends, so that each fires a part of what falls due at the same time.
        due.sort_by_cached_key(|id| derived(&[&self.worker.replica_id, id]));
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
            let page = self.worker.store.schedules(PAGE, after.as_deref()).await?;
            for schedule in &page.items {
                *(if schedule.paused { &mut paused } else { &mut active }) += 1;
                looks.extend(look_at(schedule, now).map(|look| (schedule.id.clone(), look)));
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
        let schedules = self.worker.store.schedules_by_id(ids).await?;
        let this = &*self;
        let fired = schedules.iter().map(|schedule| async { (&schedule.id, this.advance(schedule, now).await) });
        let fired = join_all(fired).await;
        for id in ids {
            self.looks.remove(id);
        }
        let mut answer = Ok(());
        for (id, look) in fired {
            match look {
                Ok(look) => self.looks.extend(look.map(|look| (id.clone(), look))),
                Err(error) if error.is_transient() => {
                    self.looks.insert(id.clone(), now);
                    answer = Err(error);
                }
                // One that the store will not have must not keep the others from firing.
                Err(error) => {
                    tracing::error!(schedule = %id, %error, "a schedule cannot be fired");
                    let event = Event::new("schedule_failed", format!("cannot be fired: {error}"), now);
                    self.worker.events.note(event.level(Level::Error).with("schedule", id.clone()));
                    self.looks.insert(id.clone(), now.plus_millis(TROUBLE_MS));
                }
            }
        }
        answer
    }

    /// Decides and does what is due of one schedule; gives back when to look at it again.
    async fn advance(&self, schedule: &Schedule, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        match look(schedule, now) {
            Ok(Look::At(next)) => return Ok(Some(next)),
            Ok(Look::Never) => return Ok(None),
            Ok(Look::Now | Look::Queue) | Err(_) => {}
        }
        let alive = self.in_the_way(schedule).await?;
        let mut others: Vec<Alive> = alive.iter().map(Alive::of).collect();
        if schedule.definition.overlap != Overlap::Allow {
            let announced = announced(&self.worker.store, schedule, now).await?;
            others.extend(announced.map(|id| Alive { id, makes_up: false }));
        }
        let mut round = match decide(schedule, now, self.missed_after_ms, &others) {
            Ok(round) => round,
            Err(error) => {
                tracing::warn!(schedule = %schedule.id, %error, "a schedule cannot be read: another version made it");
                return Ok(Some(now.plus_millis(TROUBLE_MS)));
            }
        };
        if let Some(before) = round.cancel_before {
            self.cancel(&alive, before, now).await?;
        }
        if round.progress == schedule.progress && round.starts.is_empty() && round.skips.is_empty() {
            return Ok(look_at(schedule, now));
        }
        if round.set_back {
            tracing::warn!(schedule = %schedule.id, "its last firing is far ahead of this clock");
        }
        // Whoever was faster may have decided otherwise, so the next look is at what is stored then.
        let Some(schedule) = self.announce(schedule, &mut round, &others, now).await? else { return Ok(Some(now)) };
        let progress = self.carry_out(&schedule, &round, now).await?;
        let after = Schedule { progress, ..schedule.clone() };
        let written = self.worker.store.replace_schedule(&schedule, &after).await?;
        if written.is_some()
            && let Some(summary) = round.summary
        {
            metrics::FIRINGS.add(summary.count, ["missed"]);
        }
        Ok(written.map_or(Some(now), |written| look_at(&written, now)))
    }

    /// The tasks of a schedule that may keep its firings from starting. Where firings run side by side it is only those
    /// before one that was asked to wait, so that later ones do not hold that one up.
    async fn in_the_way(&self, schedule: &Schedule) -> Result<Vec<Task>, StoreError> {
        let mut asked_to_wait = schedule.progress.queue.iter().filter(|waiting| waiting.overlap.is_some());
        match (schedule.definition.overlap, asked_to_wait.next()) {
            (Overlap::Allow, None) => Ok(Vec::new()),
            (Overlap::Allow, Some(first)) => {
                let mut tasks = alive(&self.worker.store, &schedule.id).await?;
                tasks.retain(|task| fire_time(task).is_some_and(|at| at < first.at));
                Ok(tasks)
            }
            _ => alive(&self.worker.store, &schedule.id).await,
        }
    }

    /// Names the task that must start alone in the schedule, before it is inserted: of all who have read that none is
    /// alive, one starts one. Gives back the schedule as it is then; `None` when it has changed since it was read.
    async fn announce(
        &self,
        schedule: &Schedule,
        round: &mut Round,
        others: &[Alive],
        now: Timestamp,
    ) -> Result<Option<Schedule>, StoreError> {
        let begun = |start: &&Start| others.iter().any(|other| other.id == start.id);
        let first = round.starts.iter().find(|start| !begun(start));
        let Some(first) = first.filter(|_| schedule.definition.overlap != Overlap::Allow) else {
            return Ok(Some(schedule.clone()));
        };
        round.progress.announced = Some(Announced { at: now, task: first.id });
        let progress = Progress { announced: round.progress.announced, ..schedule.progress.clone() };
        self.worker.store.replace_schedule(schedule, &Schedule { progress, ..schedule.clone() }).await
    }

    /// Inserts the tasks of a round and gives back how far the schedule is, with what was counted.
    async fn carry_out(&self, schedule: &Schedule, round: &Round, now: Timestamp) -> Result<Progress, StoreError> {
        let starts = round.starts.iter().map(|start| task_of(schedule, *start, &self.worker.approvals, now));
        let tasks: Vec<Task> = starts.chain(skipped_tasks(schedule, &round.skips, now)).collect();
        let inserted = self.worker.store.insert(&tasks).await?;
        if let Some(summary) = round.summary {
            self.worker.store.record(&[summary_event(schedule, summary, now)]).await?;
        }
        self.tell(schedule, round, &tasks, &inserted, now);
        self.count(round, &tasks, &inserted).await
    }

    /// Counts firings by what they became, which another replica may have settled first.
    async fn count(&self, round: &Round, tasks: &[Task], inserted: &[Inserted]) -> Result<Progress, StoreError> {
        let settled: Vec<TaskId> = inserted.iter().filter(|one| !one.created).map(|one| one.id).collect();
        let settled = self.worker.store.task_statuses(&settled).await?;
        let mut progress = round.progress.clone();
        progress.skipped += round.summary.map_or(0, |summary| summary.count as u64);
        for task in tasks {
            if settled.get(&task.id).copied().unwrap_or(task.status) == TaskStatus::Skipped {
                progress.skipped += 1;
                continue;
            }
            progress.count_fired(fire_time(task), task.id);
        }
        Ok(progress)
    }

    /// Asks the tasks of firings before `before` to stop.
    async fn cancel(&self, alive: &[Task], before: Timestamp, now: Timestamp) -> Result<(), StoreError> {
        let earlier = alive.iter().filter(|task| fire_time(task).is_some_and(|at| at < before));
        for task in earlier.filter(|task| !task.cancel_requested) {
            match self.worker.store.transition(task, &TaskEvent::CancelRequested, now).await {
                Ok(_) => {
                    self.worker.running.stop(task.id);
                    let message = "cancelled: a later firing of its schedule takes its place";
                    self.worker.events.note(Event::new("cancel_requested", message, now).task(task.id));
                }
                Err(TransitionError::Store(error)) if error.may_pass() => return Err(error),
                // It has just ended or been moved on; the next look tells.
                Err(error) => tracing::debug!(task = %task.id, %error, "not cancelled"),
            }
        }
        Ok(())
    }
}

/// When `schedule` is to be looked at; `None` when nothing is to come of it.
fn look_at(schedule: &Schedule, now: Timestamp) -> Option<Timestamp> {
    match look(schedule, now) {
        Ok(Look::Never) => None,
        Ok(Look::At(next)) => Some(next),
        // It has just been looked at, so what is left waits for tasks to end.
        Ok(Look::Queue) => Some(now.plus_millis(QUEUE_LOOK_MS)),
        Ok(Look::Now) => Some(now),
        Err(_) => Some(now.plus_millis(TROUBLE_MS)),
    }
}

/// The tasks of a schedule that have not ended.
async fn alive(store: &Store, schedule: &str) -> Result<Vec<Task>, StoreError> {
    let filter =
        TaskFilter { statuses: ALIVE.to_vec(), schedule_id: Some(schedule.to_owned()), ..TaskFilter::default() };
    Ok(store.tasks(&filter, MAX_ALIVE, None).await?.items)
}

/// The task of a firing that started a moment ago, unless it has ended: the schedule names it before it is inserted, and
/// it is in the way of others from then on.
async fn announced(store: &Store, schedule: &Schedule, now: Timestamp) -> Result<Option<TaskId>, StoreError> {
    let Some(Announced { at, task }) = schedule.progress.announced else { return Ok(None) };
    if now.millis_since(at).max(at.millis_since(now)) > ANNOUNCED_MS {
        return Ok(None);
    }
    let statuses = store.statuses(&[task]).await?;
    let ended = statuses.get(&task).is_some_and(|status| status.is_none_or(|status| !ALIVE.contains(&status)));
    Ok((!ended).then_some(task))
}

/// The records of firings that do not run.
fn skipped_tasks(schedule: &Schedule, skips: &[Skip], now: Timestamp) -> impl Iterator<Item = Task> {
    skips.iter().map(move |skip| schedule.skipped_task(skip.id, skip.at, skip.reason.explain(), now))
}

/// Counts those of these new tasks that wait for a person.
fn count_asked(tasks: &[Task]) {
    let asked = tasks.iter().filter(|task| task.status == TaskStatus::AwaitingApproval).count();
    metrics::APPROVALS_ASKED.add(asked, []);
}

/// The task of a firing; a skipped one with the reason when the template makes none.
fn task_of(schedule: &Schedule, start: Start, approvals: &ApprovalPolicy, now: Timestamp) -> Task {
    schedule.task(start, approvals, now).unwrap_or_else(|reason| {
        let reason = format!("the schedule makes no task: {reason}");
        schedule.skipped_task(start.id, start.at, &reason, now)
    })
}
