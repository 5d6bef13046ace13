//! Gives due tasks to the agents of this replica: scan, route, reserve, and begin a claim, which starts what it wins.
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

use super::assign::{Assignment, UnmatchedRequirements, assign};
use super::claims::{Claimed, Claims};
use super::contention::ClaimSampler;
use super::fairness::{self, KeyedSearchBackoff, applies, take_turns};
use super::limits::{Enforcer, keys_filling_window};
use super::models::Probes;
use super::scan::Scan;
use crate::background::{guarded, sleep_or_forever};
use crate::clock;
use crate::domain::agent::AgentLoad;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::TaskId;
use crate::domain::limit::Limits;
use crate::domain::time::Timestamp;
use crate::scheduler::Settings;
use crate::store::{DueExclusions, DueTask, StoreError};
use crate::telemetry::metrics;
use crate::worker::STORE_RETRY;
use crate::worker::context::ReplicaContext;
use crate::worker::slots::Slot;

/// Longest scan, in tasks, however many of them cannot go here.
const MAX_SCAN: u32 = 16_384;
/// How far ahead the next due time is looked for, in milliseconds.
const HORIZON_MS: i64 = 24 * 3_600_000;
/// Claims in a row that win nothing after which others are given a moment.
const FRUITLESS_CLAIMS: u32 = 3;
/// That moment, in milliseconds.
const OUTRUN_PAUSE_MS: i64 = 500;
/// Claims that share the places: while the tasks of one run and end, the next is on its way, so that neither the store
/// nor this replica waits for the other. A claim is begun beside another only for its whole share, because many small
/// ones cost more than they bring.
const SHARES: usize = 2;
/// Places from which on they are shared.
const WORTH_SHARING: usize = 64;
/// Claims for which one scan finds enough, as long as others do not take it first.
const CLAIMS_PER_SCAN: usize = 4;
/// Further looks at what is behind the keys that fill a window.
const LOOKS_BEHIND: usize = 3;
/// Most tasks remembered as told why they stay where they are.
const MAX_REPORTED: usize = 10_000;

/// When to search again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// When something becomes due: all that is due is taken care of.
    WhenDue,
    /// When capacity is freed: due tasks may have been left for want of it.
    WhenFree,
    /// At once: others were faster to claim.
    Now,
    /// In a moment: others were faster several times in a row.
    Later,
}

/// Finds due tasks and begins to claim them.
pub(crate) struct Dispatcher {
    context: Arc<ReplicaContext>,
    settings: Settings,
    drain: CancellationToken,
    claims: Claims,
    limits: Arc<Enforcer>,
    sampler: ClaimSampler,
    unmatched: UnmatchedRequirements,
    reported: HashSet<TaskId>,
    keyed_search: KeyedSearchBackoff,
    probes: Probes,
    /// What the last scan found and no claim went after.
    rest: Option<Scan>,
    /// Claims in a row that won nothing.
    fruitless: u32,
}

impl Dispatcher {
    pub(crate) fn new(
        context: Arc<ReplicaContext>,
        settings: Settings,
        limits: Limits,
        drain: CancellationToken,
    ) -> Self {
        let limits = Arc::new(Enforcer::new(limits));
        Self {
            claims: Claims::new(Arc::clone(&context), Arc::clone(&limits)),
            limits,
            sampler: ClaimSampler::new(context.queue.replica_id()),
            unmatched: UnmatchedRequirements::default(),
            reported: HashSet::new(),
            keyed_search: KeyedSearchBackoff::default(),
            probes: Probes::default(),
            rest: None,
            fruitless: 0,
            context,
            settings,
            drain,
        }
    }

    /// Searches whenever there may be something to find, until the drain begins; returns once every claim is settled.
    pub(crate) async fn run(mut self, swept: Arc<AtomicBool>) {
        let mut failures = 0;
        let mut next: Option<Timestamp> = None;
        loop {
            let alarm = next.map(|at| Duration::from_millis(at.millis_since(clock::now())));
            tokio::select! {
                biased;
                () = self.drain.cancelled() => break,
                Some(claimed) = self.claims.next() => {
                    let again = match self.settle(&claimed) {
                        Again::Now => Some(clock::now()),
                        Again::Later => Some(in_a_moment()),
                        // Capacity that was freed meanwhile may have waited for it.
                        Again::WhenDue | Again::WhenFree => self.has_backlog().then(clock::now),
                    };
                    // A claim may have found out that a limit is reached, and handed back what it won.
                    let limited = self.limits.next_look(clock::now());
                    next = next.into_iter().chain(again).chain(limited).min();
                    continue;
                }
                () = self.context.queue.woken() => {}
                () = sleep_or_forever(alarm) => {}
            }
            if swept.swap(false, Ordering::AcqRel) {
                // Agents' words are learnt anew, so that nothing is hidden for longer than a sweep.
                self.unmatched = UnmatchedRequirements::default();
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
        while self.claims.next().await.is_some() {}
    }

    /// Learns from a claim that ended.
    fn settle(&mut self, claimed: &Claimed) -> Again {
        let Some(won) = claimed.won else { return Again::Later };
        self.sampler.learn(claimed.tried(), won);
        self.fruitless = if won == 0 { self.fruitless + 1 } else { 0 };
        if won == claimed.tried() {
            return Again::WhenFree;
        }
        if self.fruitless < FRUITLESS_CLAIMS {
            return Again::Now;
        }
        self.fruitless = 0;
        Again::Later
    }

    /// One search with its metrics; gives back when the next one is due by itself.
    async fn search(&mut self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let began = Instant::now();
        self.limits.begin_search();
        let answer = self.run_once(now).await;
        let took = began.elapsed();
        metrics::DUE_SEARCHES.inc([metrics::outcome(&answer)]);
        metrics::DUE_SEARCH_SECONDS.record(took, []);
        metrics::DEPRECATED_SWEEPS.inc([metrics::outcome(&answer)]);
        metrics::DEPRECATED_SWEEP_SECONDS.record(took, []);
        let again = answer.inspect_err(|error| tracing::warn!(%error, "due tasks could not be searched for"))?;
        let ended = clock::now();
        metrics::LAST_DUE_SEARCH.set_time(ended, []);
        metrics::DEPRECATED_LAST_SWEEP.set_time(ended, []);
        self.next_due(now, again).await
    }

    /// When to search again by itself. With a backlog, freed capacity wakes the dispatcher.
    async fn next_due(&self, now: Timestamp, again: Again) -> Result<Option<Timestamp>, StoreError> {
        let model = self.probes.next_look(&self.context, now);
        let alarm = self
            .context
            .queue
            .signals()
            .next_alarm(now)
            .into_iter()
            .chain(self.limits.next_look(now))
            .chain(model)
            .min();
        match again {
            Again::Now => return Ok(Some(now)),
            Again::Later => return Ok(alarm.into_iter().chain([in_a_moment()]).min()),
            Again::WhenFree => return Ok(alarm),
            Again::WhenDue => {}
        }
        // Those that are due already and were left fit no agent here: they are no reason to search again.
        let stored = self.context.queue.store().next_due(now, now.plus_millis(HORIZON_MS)).await?;
        Ok([alarm, stored].into_iter().flatten().min())
    }

    /// Begins to claim what is due at `now`, as far as there is capacity.
    async fn run_once(&mut self, now: Timestamp) -> Result<Again, StoreError> {
        self.context.queue.signals().backlog.store(true, Ordering::Release);
        let context = Arc::clone(&self.context);
        let slots = Arc::clone(&context.slots);
        let mut window = self.settings.window;
        loop {
            if self.is_outrun().await {
                return Ok(Again::Later);
            }
            if self.drain.is_cancelled() || !self.context.lease.is_certain() {
                return Ok(Again::WhenFree);
            }
            let mut in_flight = slots.taken();
            if self.limits.counts_agents() {
                self.limits.add_remote_load(self.context.queue.store(), slots.capacities(), &mut in_flight).await?;
            }
            let loads = self.probes.loads(&context, &in_flight);
            let wanted = self.share(&loads);
            if wanted == 0 {
                return Ok(Again::WhenFree);
            }
            let any_full = loads.iter().any(|load| load.free() == 0 && !load.paused);
            let here = slots.by_key();
            let mut closed = self.unmatched.closed(&loads);
            closed.keys = self.limits.closed_keys(&here);
            let scan = self.scan(window, wanted, closed, now).await?;
            let known = self.unmatched.len();
            let model_room: Vec<usize> = loads.iter().map(|load| load.model_room).collect();
            let Assignment { picks, none_fits, apart, busy, away } =
                self.choose(&scan.due, loads, wanted, &here).await?;
            for (task, agent) in &picks {
                self.probes.picked(scan.due[*task].needs_model, model_room[*agent]);
            }
            let waits = any_full || busy > 0 || !apart.is_empty() || self.limits.next_look(now).is_some();
            self.report_unroutable(&scan.due, &none_fits, now);
            self.report_kept_apart(&scan.due, &apart, now);
            if picks.is_empty() {
                // With what has just been learnt left out, the longest scan reaches further, too.
                let is_longest = scan.limit >= MAX_SCAN && self.unmatched.len() == known;
                if scan.all_seen || is_longest {
                    return Ok(self.ended(waits || !scan.all_seen));
                }
                // The window is full of what cannot go here: look further.
                window = scan.limit.saturating_mul(4).max(window);
                continue;
            }
            let (found, all_seen) = (scan.due.len(), scan.all_seen);
            let begun = self.begin(scan, &picks, now);
            let is_all = all_seen && begun + none_fits.len() + away == found;
            return Ok(if is_all { self.ended(waits) } else { Again::Now });
        }
    }

    /// Waits until one more claim may begin. Whether those before it won nothing again and again.
    async fn is_outrun(&mut self) -> bool {
        if self.claims.have_room() {
            return false;
        }
        let ended = self.claims.next().await;
        ended.is_some_and(|claimed| self.settle(&claimed) == Again::Later)
    }

    /// How many tasks the next claim is after: none without capacity, or with too little for a claim beside another.
    fn share(&self, loads: &[AgentLoad<'_>]) -> usize {
        let places: usize = loads.iter().filter(|load| !load.paused).map(|load| load.profile.capacity).sum();
        let largest = self.settings.claim_batch.max(1);
        let share = (places / SHARES).min(largest);
        let most = if places < WORTH_SHARING { largest } else { share };
        let wanted = loads.iter().map(AgentLoad::free).sum::<usize>().min(most);
        if self.claims.is_under_way() && wanted < share { 0 } else { wanted }
    }

    /// Which of `due` go to which agents: in turns between keys, and within their limits. `here` counts what runs in this
    /// replica of each key.
    async fn choose(
        &mut self,
        due: &[DueTask],
        loads: Vec<AgentLoad<'_>>,
        wanted: usize,
        here: &HashMap<Option<String>, usize>,
    ) -> Result<Assignment, StoreError> {
        let ids: Vec<TaskId> = due.iter().map(|task| task.id).collect();
        let order = self.sampler.order(&ids, wanted);
        let may_take_suspect = self.context.slots.may_take_suspect();
        if !applies(due) {
            return Ok(assign(due, &order, loads, wanted, may_take_suspect, &mut self.unmatched));
        }
        let room = self.limits.room(self.context.queue.store(), due).await?;
        let order = take_turns(due, &order, here, &room);
        let assignment = assign(due, &order, loads, wanted, may_take_suspect, &mut self.unmatched);
        self.limits.close(&room, &picked(due, &assignment.picks), here);
        Ok(assignment)
    }

    /// Reserves places for `picks` and begins to claim them; gives back how many there are.
    fn begin(&mut self, scan: Scan, picks: &[(usize, usize)], now: Timestamp) -> usize {
        let slots = &self.context.slots;
        let picks: Vec<(TaskId, Slot)> = picks
            .iter()
            .filter_map(|(task, agent)| Some((&scan.due[*task], slots.reserve(*agent)?)))
            .map(|(task, slot)| (task.id, slot.keyed(task.key.as_deref()).suspected(task.is_suspect)))
            .collect();
        let begun = picks.len();
        self.claims.begin(picks, now);
        // Whose turn it is between keys, each search decides anew.
        if !applies(&scan.due) {
            self.rest = Some(scan.without(self.claims.wanted()));
        }
        begun
    }

    /// Due tasks to choose from, without those that claims under way are after: what the last scan left, or a new scan
    /// of at least `window` tasks.
    async fn scan(
        &mut self,
        window: u32,
        wanted: usize,
        closed: DueExclusions,
        now: Timestamp,
    ) -> Result<Scan, StoreError> {
        // While others are after the same tasks, what was seen a moment ago is theirs already.
        let is_alone = !self.sampler.is_wide();
        let rest = self.rest.take();
        if is_alone && let Some(rest) = rest.and_then(|rest| rest.go_on(wanted, &closed)) {
            return Ok(rest);
        }
        let stretch = if is_alone { wanted * CLAIMS_PER_SCAN } else { self.sampler.stretch(wanted) };
        let stretch = stretch.saturating_add(self.claims.wanted().len());
        let limit = window.max(u32::try_from(stretch).unwrap_or(MAX_SCAN)).min(MAX_SCAN);
        let made_at = Instant::now();
        let mut due = self.context.queue.store().due(now, limit, &closed).await?;
        let all_seen = due.len() < limit as usize;
        if !all_seen {
            self.look_behind(&mut due, closed.clone(), wanted, now).await?;
        }
        Ok(Scan { due, closed, limit, all_seen, made_at }.without(self.claims.wanted()))
    }

    /// Finds due tasks behind those of the few keys that fill the window, and behind those without a key, so that nobody
    /// noisy hides the others.
    async fn look_behind(
        &mut self,
        due: &mut Vec<DueTask>,
        mut closed: DueExclusions,
        wanted: usize,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let limit = u32::try_from(wanted.max(64)).unwrap_or(MAX_SCAN);
        let mut hides = due.iter().any(|task| task.key.is_none());
        for _ in 0..LOOKS_BEHIND {
            let began = Instant::now();
            let mut without = false;
            match keys_filling_window(due, &closed.keys, wanted) {
                Some(keys) if keys.len() > closed.keys.len() => closed.keys = keys,
                _ if hides && fairness::keys(due).len() < wanted.max(2) && self.keyed_search.is_due() => {
                    without = true;
                    closed.keyless = true;
                }
                _ => return Ok(()),
            }
            let more = self.context.queue.store().due(now, limit, &closed).await?;
            if without {
                self.keyed_search.record(began, !more.is_empty());
            }
            let is_last = more.len() < limit as usize;
            hides = more.iter().any(|task| task.key.is_none());
            let seen: HashSet<TaskId> = due.iter().map(|task| task.id).collect();
            due.extend(more.into_iter().filter(|task| !seen.contains(&task.id)));
            if is_last {
                return Ok(());
            }
        }
        Ok(())
    }

    fn has_backlog(&self) -> bool {
        self.context.queue.signals().backlog.load(Ordering::Acquire)
    }

    /// All that is due was seen; a `backlog` of it waits for capacity, which tells when it is free.
    fn ended(&self, backlog: bool) -> Again {
        self.context.queue.signals().backlog.store(backlog, Ordering::Release);
        // Some agents may be idle, although others are full.
        Again::WhenDue
    }

    /// Those of `due` with these `indexes` of which it has not been told yet why they stay where they are.
    fn news<'a>(&mut self, due: &'a [DueTask], indexes: &[usize]) -> Vec<&'a DueTask> {
        if self.reported.len() >= MAX_REPORTED {
            self.reported.clear();
        }
        indexes.iter().map(|index| &due[*index]).filter(|task| self.reported.insert(task.id)).collect()
    }

    fn report_kept_apart(&mut self, due: &[DueTask], indexes: &[usize], now: Timestamp) {
        for task in self.news(due, indexes) {
            let message = "waits: its process died while it ran, as did that of a task that runs now; such tasks run one at a time";
            self.context.queue.history().note(Event::new(EventKind::KeptApart, message, now).task(task.id));
        }
    }

    fn report_unroutable(&mut self, due: &[DueTask], indexes: &[usize], now: Timestamp) {
        for task in self.news(due, indexes) {
            let why = match &task.agent {
                Some(agent) => format!("no agent of this replica is called {agent:?}"),
                None => format!("no agent of this replica offers all of {:?}", task.capabilities),
            };
            self.context.queue.record_unroutable(task.id, &why, now);
        }
    }
}

/// How many tasks of each key are among `picks`.
fn picked(due: &[DueTask], picks: &[(usize, usize)]) -> HashMap<String, u32> {
    let mut picked = HashMap::new();
    for key in picks.iter().filter_map(|(task, _)| due[*task].key.clone()) {
        *picked.entry(key).or_default() += 1;
    }
    picked
}

fn in_a_moment() -> Timestamp {
    clock::now().plus_millis(OUTRUN_PAUSE_MS)
}
