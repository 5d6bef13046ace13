//! Gives due tasks to the agents of this replica: scan, route, reserve, claim, start.
//!
//! Woken by an insert, the sweep, freed capacity, and the next known due time. That time is the earliest of the
//! retries this replica has scheduled and of the pending tasks in the store, so that a retry after seconds and a
//! task due in seconds do not wait for the sweep. Nothing is claimed that has no reserved slot.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Settings;
use super::assign::{Strange, assign};
use super::guard::guarded;
use super::spread::Spread;
use crate::clock;
use crate::domain::agent::AgentLoad;
use crate::domain::event::{Event, Level};
use crate::domain::id::TaskId;
use crate::domain::task::{Claim, Task};
use crate::domain::time::Timestamp;
use crate::store::{DueTask, StoreError};
use crate::telemetry::metrics;
use crate::worker::STORE_RETRY;
use crate::worker::execute::Worker;
use crate::worker::slots::Slot;

/// Longest scan, in tasks, however many of them cannot go here.
const MAX_SCAN: u32 = 16_384;
/// How far ahead the next due time is looked for, in milliseconds.
const HORIZON_MS: i64 = 24 * 3_600_000;
/// Tries of a claim that the store refuses rather than leaves unanswered.
const REFUSED_TRIES: u32 = 3;
/// Rounds in a row that win nothing after which others are given a moment.
const FRUITLESS_ROUNDS: u32 = 3;
/// That moment, in milliseconds.
const FRUITLESS_PAUSE_MS: i64 = 500;
/// Longest time that freed capacity gathers before it is filled.
const MAX_GATHER: Duration = Duration::from_millis(25);
/// Most tasks remembered as told that they fit no agent.
const MAX_TOLD: usize = 10_000;

/// Claims and starts due tasks.
pub(crate) struct Dispatcher {
    worker: Arc<Worker>,
    settings: Settings,
    drain: CancellationToken,
    spread: Spread,
    strange: Strange,
    told: HashSet<TaskId>,
    /// How long the last claim took.
    claim_took: Duration,
}

/// What a search for due tasks came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dispatched {
    /// Tasks won and started.
    pub(crate) started: usize,
    /// Tasks that others were faster to claim.
    pub(crate) lost: usize,
    /// Whether due tasks may have been left for want of capacity.
    pub(crate) backlog: bool,
    /// Whether others were faster to claim several rounds in a row, so that it ended early.
    pub(crate) outrun: bool,
}

impl Dispatcher {
    pub(crate) fn new(worker: Arc<Worker>, settings: Settings, drain: CancellationToken) -> Self {
        let spread = Spread::new(&worker.replica_id);
        let (strange, told) = (Strange::default(), HashSet::new());
        Self { worker, settings, drain, spread, strange, told, claim_took: Duration::ZERO }
    }

    /// Searches whenever there may be something to find, until the drain begins.
    pub(crate) async fn run(mut self, swept: Arc<AtomicBool>) {
        let mut failures = 0;
        let mut next: Option<Timestamp> = None;
        loop {
            let alarm = next.map(|at| Duration::from_millis(at.millis_since(clock::now())));
            tokio::select! {
                biased;
                () = self.drain.cancelled() => return,
                () = self.worker.signals.work.notified() => {}
                () = sleep_or_forever(alarm) => {}
            }
            if self.worker.signals.backlog.load(Ordering::Acquire) {
                self.gather().await;
            }
            if swept.swap(false, Ordering::AcqRel) {
                // Agents' words are learnt anew, so that nothing is hidden for longer than a sweep.
                self.strange = Strange::default();
            }
            let now = clock::now();
            if let Some(Ok(found)) = guarded("dispatch", self.search(now)).await {
                failures = 0;
                next = found;
            } else {
                failures += 1;
                let wait = i64::try_from(STORE_RETRY.delay(failures)).unwrap_or(1_000);
                next = Some(clock::now().plus_millis(wait));
            }
        }
    }

    /// One search with its metrics; gives back when the next one is due by itself.
    async fn search(&mut self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let began = Instant::now();
        let answer = self.run_once(now).await;
        metrics::SWEEPS.inc([metrics::outcome(&answer)]);
        metrics::SWEEP_SECONDS.record(began.elapsed(), []);
        let dispatched = answer.inspect_err(|error| tracing::warn!(%error, "due tasks could not be searched for"))?;
        metrics::LAST_SWEEP.set_time(clock::now(), []);
        self.next_due(now, &dispatched).await
    }

    /// When to search again by itself. With a backlog, freed capacity wakes the dispatcher.
    async fn next_due(&self, now: Timestamp, dispatched: &Dispatched) -> Result<Option<Timestamp>, StoreError> {
        let alarm = self.worker.signals.next_alarm(now);
        if dispatched.outrun {
            let again = clock::now().plus_millis(FRUITLESS_PAUSE_MS);
            return Ok(alarm.into_iter().chain([again]).min());
        }
        if dispatched.backlog || !self.worker.lease.is_certain() {
            return Ok(alarm);
        }
        let stored = self.worker.store.oldest_due(now.plus_millis(HORIZON_MS)).await?;
        // One that is due already and was left fits no agent here: it is no reason to search again.
        Ok([alarm, stored.filter(|at| *at > now)].into_iter().flatten().min())
    }

    /// Claims and starts what is due at `now`, as far as there is capacity.
    pub(crate) async fn run_once(&mut self, now: Timestamp) -> Result<Dispatched, StoreError> {
        let mut total = Dispatched::default();
        self.worker.signals.backlog.store(true, Ordering::Release);
        let mut scan = self.settings.window;
        let mut fruitless = 0;
        loop {
            if self.drain.is_cancelled() || !self.worker.lease.is_certain() {
                return Ok(total);
            }
            let slots = Arc::clone(&self.worker.slots);
            let in_flight = slots.in_flight();
            let loads = slots.loads(&in_flight);
            let wanted = loads.iter().map(AgentLoad::free).sum::<usize>().min(self.settings.claim_batch.max(1));
            if wanted == 0 {
                total.backlog = true;
                return Ok(total);
            }
            let any_full = loads.iter().any(|load| load.free() == 0);
            let stretch = u32::try_from(self.spread.stretch(wanted)).unwrap_or(MAX_SCAN);
            let limit = scan.max(stretch).min(MAX_SCAN);
            let due = self.worker.store.due(now, limit, &self.strange.closed(&loads)).await?;
            let ids: Vec<TaskId> = due.iter().map(|task| task.id).collect();
            let order = self.spread.order(&ids, wanted);
            let assignment = assign(&due, &order, loads, wanted, &mut self.strange);
            self.tell(assignment.none_fits.iter().map(|index| &due[*index]), now);
            let all_seen = due.len() < limit as usize;
            if assignment.picks.is_empty() {
                if all_seen || limit >= MAX_SCAN {
                    return Ok(self.ended(total, any_full || assignment.busy > 0 || !all_seen));
                }
                // The window is full of what cannot go here: look further.
                scan = limit.saturating_mul(4);
                continue;
            }
            let picks: Vec<_> = assignment
                .picks
                .iter()
                .filter_map(|(task, agent)| slots.reserve(*agent).map(|slot| (due[*task].id, slot)))
                .collect();
            let taken_all = all_seen && assignment.picks.len() + assignment.none_fits.len() == due.len();
            let tried = picks.len();
            let started = self.claim(picks, now).await?;
            self.spread.learn(tried, started);
            total.started += started;
            total.lost += tried - started;
            if taken_all {
                return Ok(self.ended(total, any_full));
            }
            self.gather().await;
            fruitless = if started == 0 { fruitless + 1 } else { 0 };
            if fruitless >= FRUITLESS_ROUNDS {
                total.outrun = true;
                return Ok(self.ended(total, true));
            }
        }
    }

    /// Lets freed capacity gather: tasks that started together end together, and one claim for all of their places is
    /// cheaper than one for each.
    async fn gather(&self) {
        tokio::time::sleep((self.claim_took / 2).min(MAX_GATHER)).await;
    }

    fn ended(&self, mut total: Dispatched, backlog: bool) -> Dispatched {
        total.backlog = backlog;
        self.worker.signals.backlog.store(backlog, Ordering::Release);
        total
    }

    /// Claims tasks that have a slot and starts what it won; gives back how many.
    async fn claim(&mut self, picks: Vec<(TaskId, Slot)>, now: Timestamp) -> Result<usize, StoreError> {
        let ids: Vec<TaskId> = picks.iter().map(|(id, _)| *id).collect();
        let claim = Claim { token: Uuid::now_v7().to_string(), owner: self.worker.replica_id.clone() };
        let began = Instant::now();
        let won = self.claim_until_known(&ids, &claim, now).await?;
        self.claim_took = began.elapsed();
        metrics::TASKS_CLAIMED.add(won.len(), []);
        metrics::CLAIM_RACES_LOST.add(ids.len().saturating_sub(won.len()), []);
        let mut slots: HashMap<TaskId, Slot> = picks.into_iter().collect();
        let mut started = 0;
        for task in won {
            let Some(slot) = slots.remove(&task.id) else {
                tracing::error!(task = %task.id, "the store gave a task that was not asked for");
                continue;
            };
            self.note_claim(&task, &slot, now);
            self.worker.start(task, slot);
            started += 1;
        }
        Ok(started)
    }

    fn note_claim(&self, task: &Task, slot: &Slot, now: Timestamp) {
        let since = task.run_at.max(task.created_at);
        metrics::QUEUE_WAIT_SECONDS.record(Duration::from_millis(now.millis_since(since)), []);
        let message = format!("claimed for agent {:?}, run {}", slot.profile().name, task.earlier_runs() + 1);
        self.worker.events.note(Event::new("claimed", message, now).task(task.id).agent(&slot.profile().name));
    }

    /// Repeats a claim until it is known what was won: a claim that took effect without an answer would leave tasks
    /// running in name only. The same token makes the repetition harmless.
    async fn claim_until_known(&self, ids: &[TaskId], claim: &Claim, now: Timestamp) -> Result<Vec<Task>, StoreError> {
        let mut tries = 0;
        loop {
            let error = match self.worker.store.claim(ids, claim, now).await {
                Ok(won) => return Ok(won),
                Err(error) => error,
            };
            tries += 1;
            let give_up = self.worker.cut.is_cancelled() || (!error.is_transient() && tries >= REFUSED_TRIES);
            if give_up {
                tracing::error!(%error, "it is not known which tasks a claim won; they will be rescued");
                self.worker.unsettled.store(true, Ordering::Release);
                return Err(error);
            }
            let wait = Duration::from_millis(STORE_RETRY.delay(tries));
            tracing::warn!(%error, tries, "a claim was not answered; repeating it in {wait:?}");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.worker.cut.cancelled() => {}
            }
        }
    }

    /// Says once of each task why it stays where it is.
    fn tell<'a>(&mut self, tasks: impl Iterator<Item = &'a DueTask>, now: Timestamp) {
        for task in tasks {
            if self.told.len() >= MAX_TOLD {
                self.told.clear();
            }
            if !self.told.insert(task.id) {
                continue;
            }
            metrics::TASKS_UNROUTABLE.inc([]);
            let why = match &task.agent {
                Some(agent) => format!("no agent of this replica is called {agent:?}"),
                None => format!("no agent of this replica offers all of {:?}", task.capabilities),
            };
            tracing::warn!(task = %task.id, "a due task stays pending: {why}");
            let event = Event::new("unroutable", format!("stays pending: {why}"), now).level(Level::Warn);
            self.worker.events.note(event.task(task.id));
        }
    }
}

async fn sleep_or_forever(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
