//! Limits of concurrency keys and agents, for the whole fleet.
//!
//! What is guaranteed: never more tasks of a limited key or agent are *started* than `max_running` allows, however many
//! replicas claim at the same moment. A replica claims first, then counts what runs, its own claims included, and starts
//! only as much of it as keeps the count within the limit; the rest it hands back. Of all that are started and not ended,
//! consider the one claimed last: whoever started it counted after its claim, and so counted all of them. Replicas that
//! claim at the same moment may both hand back; they look at what is free first, so that this is rare. Starts in a
//! stretch of time come off one account that all replicas share, by conditional writes.
//!
//! Tasks held by a replica that died count as running until they are rescued.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use crate::clock;
use crate::domain::limit::{Limit, Limits};
use crate::domain::task::{Task, TaskEvent};
use crate::domain::time::Timestamp;
use crate::queue::Actor;
use crate::store::{DueTask, Store, StoreError, TransitionError};
use crate::telemetry::metrics;
use crate::worker::context::ReplicaContext;
use crate::worker::slots::Slot;

/// Time until a limit that was reached is checked again. The end of a task in this replica is noticed at once.
const LOOK: Duration = Duration::from_millis(250);
/// Limits that are checked at a time.
const CHECKS: usize = 16;
/// Most limits remembered as reached.
const MAX_REACHED: usize = 4_096;

/// What a limit holds for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum LimitScope {
    Key(String),
    Agent(String),
}

impl LimitScope {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Agent(_) => "agent",
        }
    }

    fn account(&self) -> String {
        match self {
            Self::Key(name) => format!("key {name}"),
            Self::Agent(name) => format!("agent {name}"),
        }
    }
}

/// The limits, and what is known of them.
pub(super) struct Enforcer {
    limits: Limits,
    state: Mutex<State>,
}

struct State {
    /// When the last search began. One moment for all of it: a limit that it finds reached is one that it comes back to.
    searched: Instant,
    /// Limits that are reached: until when they are left alone, and what ran here then.
    reached: HashMap<LimitScope, (Instant, usize)>,
    /// Claims under way, which the store may not count yet.
    claiming: HashMap<LimitScope, u32>,
}

impl Enforcer {
    pub(super) fn new(limits: Limits) -> Self {
        let state = State { searched: Instant::now(), reached: HashMap::new(), claiming: HashMap::new() };
        Self { limits, state: Mutex::new(state) }
    }

    fn limit(&self, scope: &LimitScope) -> Option<&Limit> {
        match scope {
            LimitScope::Key(key) => self.limits.of_key(key),
            LimitScope::Agent(name) => self.limits.of_agent(name),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        !self.limits.can_hold_tasks_back()
    }

    /// Whether claims say as which agent a task runs.
    pub(super) fn counts_agents(&self) -> bool {
        !self.limits.agents.is_empty()
    }

    /// The agent, if there is a limit for it.
    pub(super) fn limited<'a>(&self, agent: &'a str) -> Option<&'a str> {
        self.limits.of_agent(agent).map(|_| agent)
    }

    /// A search begins.
    pub(super) fn begin_search(&self) {
        self.state().searched = Instant::now();
    }

    /// Keys whose limit is reached, as far as is known; one of which a task has ended here counts as open again.
    pub(super) fn closed_keys(&self, here: &HashMap<Option<String>, usize>) -> Vec<String> {
        let mut state = self.state();
        let now = state.searched;
        state.reached.retain(|scope, (until, then)| {
            let now_here = if let LimitScope::Key(key) = scope {
                here.get(&Some(key.clone())).copied().unwrap_or(0)
            } else {
                *then
            };
            *until > now && now_here >= *then
        });
        for kind in ["key", "agent"] {
            let reached = state.reached.keys().filter(|scope| scope.kind() == kind).count();
            metrics::LIMITS_REACHED.set(reached, [kind]);
        }
        state
            .reached
            .keys()
            .filter_map(|scope| if let LimitScope::Key(key) = scope { Some(key.clone()) } else { None })
            .collect()
    }

    /// When, by a clock that says `now`, a limit that is reached is to be looked at again. One whose time had come when the
    /// last search began is no reason for another: all places may be taken.
    pub(super) fn next_look(&self, now: Timestamp) -> Option<Timestamp> {
        let state = self.state();
        let until = state.reached.values().map(|(until, _)| *until).filter(|until| *until > state.searched).min()?;
        let left = until.duration_since(Instant::now());
        Some(now.plus_millis(i64::try_from(left.as_millis()).unwrap_or(i64::MAX).saturating_add(1)))
    }

    /// How many tasks of each limited key among `due` may be claimed now.
    pub(super) async fn room(&self, store: &Store, due: &[DueTask]) -> Result<HashMap<String, u32>, StoreError> {
        let mut room = HashMap::new();
        if self.limits.keys.is_empty() {
            return Ok(room);
        }
        let mut counted = Vec::new();
        for key in super::fairness::keys(due) {
            match self.limits.of_key(&key) {
                Some(Limit { max_running: Some(_), .. }) => counted.push(key),
                // The account tells how many may start; more than it holds at most need not be claimed.
                Some(Limit { starts: Some(starts), .. }) => {
                    room.insert(key, *starts);
                }
                _ => {}
            }
        }
        let running = store.running_by_key(&counted).await?;
        let state = self.state();
        for key in counted {
            let Some(limit) = self.limits.of_key(&key) else { continue };
            let claiming = state.claiming.get(&LimitScope::Key(key.clone())).copied().unwrap_or(0);
            let used = running.get(&key).copied().unwrap_or(0).saturating_add(claiming);
            let free = limit.max_running.unwrap_or(u32::MAX).saturating_sub(used);
            room.insert(key, free.min(limit.starts.unwrap_or(u32::MAX)));
        }
        Ok(room)
    }

    /// Raises each limited agent's count in `in_flight` by what other replicas already run for it, so that its free capacity
    /// is what the limit of the fleet still allows. `agents` has the name and the capacity of each, in the same order.
    pub(super) async fn add_remote_load<'a>(
        &self,
        store: &Store,
        agents: impl Iterator<Item = (&'a str, usize)>,
        in_flight: &mut [usize],
    ) -> Result<(), StoreError> {
        for ((name, capacity), in_flight) in agents.zip(in_flight) {
            let Some(limit) = self.limits.of_agent(name) else { continue };
            let scope = LimitScope::Agent(name.to_owned());
            let waits = {
                let state = self.state();
                state.reached.get(&scope).is_some_and(|(until, then)| *until > state.searched && *in_flight >= *then)
            };
            let mut room = if waits { 0 } else { limit.starts.unwrap_or(u32::MAX) };
            if let (Some(max), true) = (limit.max_running, room > 0) {
                let used = store.running_as(name).await?;
                let claiming = self.state().claiming.get(&scope).copied().unwrap_or(0);
                room = room.min(max.saturating_sub(used.saturating_add(claiming)));
                if room == 0 {
                    self.reached(scope, LOOK, *in_flight);
                }
            }
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            *in_flight = (*in_flight).max(capacity.saturating_sub(room));
        }
        Ok(())
    }

    /// Remembers that nothing more of this may start for this time.
    fn reached(&self, scope: LimitScope, wait: Duration, here: usize) {
        let mut state = self.state();
        if state.reached.len() >= MAX_REACHED {
            state.reached.clear();
        }
        state.reached.insert(scope, (Instant::now() + wait, here));
    }

    /// Remembers keys of `due` that have no room left.
    pub(super) fn close(
        &self,
        room: &HashMap<String, u32>,
        picked: &HashMap<String, u32>,
        here: &HashMap<Option<String>, usize>,
    ) {
        for (key, room) in room {
            let picked = picked.get(key).copied().unwrap_or(0);
            if picked >= *room {
                let here = here.get(&Some(key.clone())).copied().unwrap_or(0) + picked as usize;
                self.reached(LimitScope::Key(key.clone()), LOOK, here);
            }
        }
    }

    /// The limits that tasks which are about to be claimed fall under; see [`Enforcer::done`].
    pub(super) fn begin(&self, picks: &[(Option<&str>, &str)]) -> Vec<LimitScope> {
        let scopes: Vec<LimitScope> = picks.iter().flat_map(|(key, agent)| self.limits_of(*key, agent)).collect();
        let mut state = self.state();
        for scope in &scopes {
            *state.claiming.entry(scope.clone()).or_default() += 1;
        }
        scopes
    }

    /// The claim of these has ended.
    pub(super) fn done(&self, scopes: &[LimitScope]) {
        let mut state = self.state();
        for scope in scopes {
            if let Some(count) = state.claiming.get_mut(scope) {
                *count = count.saturating_sub(1);
            }
        }
        state.claiming.retain(|_, count| *count > 0);
    }

    fn limits_of(&self, key: Option<&str>, agent: &str) -> impl Iterator<Item = LimitScope> + use<> {
        let key = key.filter(|key| self.limits.of_key(key).is_some()).map(|key| LimitScope::Key(key.to_owned()));
        let agent = self.limited(agent).map(|agent| LimitScope::Agent(agent.to_owned()));
        key.into_iter().chain(agent)
    }

    /// Of tasks that were won, the most urgent first, those that may start; the others are handed back.
    pub(super) async fn admit(&self, context: &ReplicaContext, won: Vec<(Task, Slot)>) -> Vec<(Task, Slot)> {
        let mut keys: HashMap<LimitScope, Vec<usize>> = HashMap::new();
        let mut agents: HashMap<LimitScope, Vec<usize>> = HashMap::new();
        for (index, (task, slot)) in won.iter().enumerate() {
            for scope in self.limits_of(task.spec.concurrency_key.as_deref(), &slot.profile().name) {
                let limits = if matches!(scope, LimitScope::Key(_)) { &mut keys } else { &mut agents };
                limits.entry(scope).or_default().push(index);
            }
        }
        // What its key refuses does not count against its agent.
        let mut refused = self.refused(context.queue.store(), keys).await;
        agents.retain(|_, indexes| {
            indexes.retain(|index| !refused.contains_key(index));
            !indexes.is_empty()
        });
        refused.extend(self.refused(context.queue.store(), agents).await);
        let (mut admitted, mut back) = (Vec::new(), Vec::new());
        for (index, (task, slot)) in won.into_iter().enumerate() {
            match refused.get(&index) {
                None => admitted.push((task, slot)),
                Some(kind) => back.push((task, *kind)),
            }
        }
        hand_back(context, back).await;
        admitted
    }

    /// What is over the limits of tasks that were won: their indexes, each with the kind of its limit.
    async fn refused(&self, store: &Store, won: HashMap<LimitScope, Vec<usize>>) -> HashMap<usize, &'static str> {
        let checks = won.into_iter().map(async |(scope, indexes)| {
            let allowed = self.allowed_or_none(store, &scope, indexes.len()).await;
            // The last ones, which are the least urgent.
            indexes.into_iter().skip(allowed).map(|index| (index, scope.kind())).collect::<Vec<_>>()
        });
        let over: Vec<Vec<_>> = stream::iter(checks.collect::<Vec<_>>()).buffer_unordered(CHECKS).collect().await;
        over.into_iter().flatten().collect()
    }

    /// [`Enforcer::allowed`]; none when the store does not tell.
    async fn allowed_or_none(&self, store: &Store, scope: &LimitScope, won: usize) -> usize {
        match self.allowed(store, scope, won).await {
            Ok(allowed) => allowed,
            Err(error) => {
                tracing::warn!(%error, "a limit could not be checked, so its claimed tasks are handed back");
                self.reached(scope.clone(), LOOK, 0);
                0
            }
        }
    }

    /// How many of `won` tasks that were claimed under a limit may start.
    async fn allowed(&self, store: &Store, scope: &LimitScope, won: usize) -> Result<usize, StoreError> {
        let Some(limit) = self.limit(scope) else { return Ok(won) };
        let mut allowed = won;
        if let Some(max) = limit.max_running {
            let running = match scope {
                LimitScope::Key(key) => {
                    store.running_by_key(std::slice::from_ref(key)).await?.get(key).copied().unwrap_or(0)
                }
                LimitScope::Agent(name) => store.running_as(name).await?,
            };
            allowed = allowed.saturating_sub(running.saturating_sub(max) as usize);
            if allowed < won {
                // Others handed back at this moment, too; not all of them shall come again at the same one.
                let jitter = u64::try_from(uuid::Uuid::new_v4().as_u128() % 250).unwrap_or(0);
                self.reached(scope.clone(), LOOK + Duration::from_millis(jitter), 0);
            }
        }
        if let (Some(starts), true) = (limit.starts, allowed > 0) {
            let wanted = u32::try_from(allowed).unwrap_or(u32::MAX);
            let now = clock::now();
            let taken = store.take_starts(&scope.account(), wanted, (starts, limit.per_s), now).await?;
            allowed = taken.starts as usize;
            if allowed < won {
                // Never longer than that, unless the clock was set back, and then it may be set right before.
                let longest = Duration::from_secs(limit.per_s.into());
                self.reached(scope.clone(), Duration::from_millis(taken.next.millis_since(now)).min(longest), 0);
            }
        }
        Ok(allowed)
    }
}

/// Hands back tasks that were claimed and may not start, at no charge, together.
async fn hand_back(context: &ReplicaContext, tasks: Vec<(Task, &'static str)>) {
    join_all(tasks.into_iter().map(|(task, kind)| hand_back_one(context, task, kind))).await;
}

async fn hand_back_one(context: &ReplicaContext, task: Task, kind: &'static str) {
    let released =
        context.queue.change_until_known(&task, &TaskEvent::Released, Actor::Limit(kind), "hand back a task");
    let released = tokio::select! {
        biased;
        released = released => released,
        () = context.abandon.cancelled() => {
            tracing::error!(task = %task.id, "the task could not be handed back before the exit: another replica rescues it");
            context.unsettled.store(true, Ordering::Release);
            return;
        }
    };
    // After any other error a person cancelled it, or another replica took it over.
    if let Err(TransitionError::Store(error)) = released {
        tracing::error!(task = %task.id, %error, "a task that may not start could not be handed back");
        context.unsettled.store(true, Ordering::Release);
    }
}

/// Keys that were seen in a window that they fill, so that a second look finds those behind them.
pub(super) fn keys_filling_window(due: &[DueTask], closed: &[String], wanted: usize) -> Option<Vec<String>> {
    let keys = super::fairness::keys(due);
    let crowded = !keys.is_empty() && keys.len() < wanted.max(2);
    crowded.then(|| {
        let mut seen: HashSet<String> = closed.iter().cloned().collect();
        seen.extend(keys);
        seen.into_iter().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_limit_whose_time_has_come_is_no_alarm() {
        let enforcer = Enforcer::new(Limits::default());
        let at = Timestamp::from_millis;
        for (key, ms) in [("acme", 100), ("other", 200)] {
            enforcer.reached(LimitScope::Key(key.to_owned()), Duration::from_millis(ms), 1);
        }
        // Whatever the clock on the wall says.
        assert_eq!(enforcer.next_look(at(5_000)), Some(at(5_101)));
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(enforcer.next_look(at(0)), Some(at(1)), "the last search found it reached");
        enforcer.begin_search();
        assert_eq!(enforcer.next_look(at(0)), Some(at(101)));
        assert_eq!(enforcer.closed_keys(&HashMap::from([(Some("other".to_owned()), 1)])), ["other"]);
        tokio::time::advance(Duration::from_millis(100)).await;
        enforcer.begin_search();
        assert_eq!(enforcer.next_look(at(0)), None);
    }
}
