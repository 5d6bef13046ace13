//! Capacity of the agents of this replica. A [`Slot`] is the right to run one task; dropping it gives it back.
//!
//! A run that has ended leaves its place to the next one while its outcome is being stored, so that work does not wait
//! for the store; as many outcomes as an agent has places may be on their way, then it does.
//!
//! Suspects, whom one more death of their process would end, run one at a time: otherwise the one that is deadly would
//! take the others along.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::agent::{AgentLoad, AgentProfile};
use crate::domain::replica::AgentPresence;
use crate::telemetry::{known_labels, log_lines, metrics};

/// How long a suspect has to run without harm for the next one to start beside it.
const PROBATION: Duration = Duration::from_mins(1);

/// The agents of this replica and what they have in flight.
pub(crate) struct Slots {
    profiles: Vec<Arc<AgentProfile>>,
    held: Mutex<Vec<Held>>,
    /// What is in flight for each concurrency key.
    by_key: Mutex<HashMap<String, usize>>,
    suspects: Mutex<Suspects>,
    /// Those that take on nothing, because a person has put them on hold.
    paused: Vec<AtomicBool>,
    /// Whether `paused` tells what people have paused, and not only that it is unknown.
    pauses_are_known: AtomicBool,
}

/// What one agent has taken on.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    running: usize,
    /// Runs that ended, whose outcome is not stored yet.
    ended: usize,
}

impl Held {
    /// Places of `capacity` that are taken.
    const fn taken(self, capacity: usize) -> usize {
        self.running + self.ended.saturating_sub(capacity)
    }
}

/// Suspects in flight.
#[derive(Clone, Copy, Debug, Default)]
struct Suspects {
    running: usize,
    /// When the last of them got its place.
    latest: Option<Instant>,
}

/// A reserved place of one agent.
pub(crate) struct Slot {
    slots: Arc<Slots>,
    index: usize,
    key: Option<String>,
    is_suspect: bool,
    /// Whether its run has ended.
    ended: bool,
}

impl Slots {
    /// All agents, idle.
    pub(crate) fn new(profiles: Vec<AgentProfile>) -> Self {
        for profile in &profiles {
            metrics::AGENT_CAPACITY.set(profile.capacity, [&profile.name]);
            metrics::TASKS_IN_FLIGHT.set(0_u64, [&profile.name]);
            metrics::AGENT_PAUSED.set(0_u64, [&profile.name]);
            known_labels::begin_agent(&profile.name);
        }
        let held = Mutex::new(vec![Held::default(); profiles.len()]);
        let paused = profiles.iter().map(|_| AtomicBool::new(false)).collect();
        Self {
            profiles: profiles.into_iter().map(Arc::new).collect(),
            held,
            by_key: Mutex::default(),
            suspects: Mutex::default(),
            paused,
            pauses_are_known: AtomicBool::new(true),
        }
    }

    /// Holds all agents back until the first [`Self::hold_back`]: nobody has paused them, so that nothing is logged.
    pub(crate) fn hold_until_pauses_are_known(&self) {
        self.pauses_are_known.store(false, Ordering::Release);
        self.paused.iter().for_each(|paused| paused.store(true, Ordering::Release));
    }

    /// Puts those agents on hold that `is_paused` names, and no others; gives back whether some may work again. What
    /// they have in flight goes on.
    pub(crate) fn hold_back(&self, is_paused: impl Fn(&str) -> bool) -> bool {
        let was_known = self.pauses_are_known.swap(true, Ordering::AcqRel);
        let mut freed = false;
        for (profile, paused) in self.profiles.iter().zip(&self.paused) {
            let now = is_paused(&profile.name);
            metrics::AGENT_PAUSED.set(u64::from(now), [&profile.name]);
            let before = paused.swap(now, Ordering::AcqRel);
            if (before && was_known) != now {
                log_lines::agent_paused(&profile.name, now);
            }
            freed |= before && !now;
        }
        freed
    }

    fn is_paused(&self, index: usize) -> bool {
        self.paused.get(index).is_some_and(|paused| paused.load(Ordering::Acquire))
    }

    fn held(&self) -> MutexGuard<'_, Vec<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many places of each agent are taken, in the order they were given in.
    pub(crate) fn taken(&self) -> Vec<usize> {
        self.profiles.iter().zip(&*self.held()).map(|(profile, held)| held.taken(profile.capacity)).collect()
    }

    /// The agents with their load, for [`crate::domain::agent::route`].
    pub(crate) fn loads<'a>(&'a self, in_flight: &[usize]) -> Vec<AgentLoad<'a>> {
        self.profiles
            .iter()
            .zip(in_flight)
            .enumerate()
            .map(|(index, (profile, in_flight))| {
                let paused = self.is_paused(index);
                AgentLoad { profile, in_flight: *in_flight, paused, model_room: usize::MAX }
            })
            .collect()
    }

    /// The agents with their load, for people and other replicas.
    pub(crate) fn presence(&self) -> Vec<AgentPresence> {
        let held = self.held().clone();
        self.profiles
            .iter()
            .zip(held)
            .enumerate()
            .map(|(index, (profile, held))| AgentPresence {
                name: profile.name.clone(),
                capabilities: profile.capabilities.clone(),
                in_flight: held.running,
                capacity: profile.capacity,
                paused: self.is_paused(index),
                model_away: None,
            })
            .collect()
    }

    /// Takes a place of the agent at `index`; `None` when it has none free or is on hold.
    pub(crate) fn reserve(self: &Arc<Self>, index: usize) -> Option<Slot> {
        if self.is_paused(index) {
            return None;
        }
        let mut all = self.held();
        let profile = self.profiles.get(index)?;
        let held = all.get_mut(index).filter(|held| held.taken(profile.capacity) < profile.capacity)?;
        held.running += 1;
        metrics::TASKS_IN_FLIGHT.set(held.running, [&profile.name]);
        drop(all);
        Some(Slot { slots: Arc::clone(self), index, key: None, is_suspect: false, ended: false })
    }
}

impl Slots {
    /// Whether a suspect may be taken on: nothing is in flight that may be deadly, too.
    pub(crate) fn may_take_suspect(&self) -> bool {
        let suspects = *self.suspects();
        suspects.running == 0 || suspects.latest.is_some_and(|latest| latest.elapsed() >= PROBATION)
    }

    fn suspects(&self) -> MutexGuard<'_, Suspects> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in flight for each concurrency key, and, last, for tasks without.
    pub(crate) fn by_key(&self) -> HashMap<Option<String>, usize> {
        let total: usize = self.held().iter().map(|held| held.running).sum();
        let by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let keyed: usize = by_key.values().sum();
        let keys = by_key.iter().map(|(key, count)| (Some(key.clone()), *count));
        keys.chain([(None, total.saturating_sub(keyed))]).collect()
    }

    /// The agents, in the order they were given in.
    pub(crate) fn profiles(&self) -> &[Arc<AgentProfile>] {
        &self.profiles
    }

    /// Names and capacities of the agents, in the order they were given in.
    pub(crate) fn capacities(&self) -> impl Iterator<Item = (&str, usize)> {
        self.profiles.iter().map(|profile| (profile.name.as_str(), profile.capacity))
    }
}

impl Slot {
    /// The slot as that of a task with this concurrency key.
    pub(crate) fn keyed(mut self, key: Option<&str>) -> Self {
        if let Some(key) = key {
            let mut by_key = self.slots.by_key.lock().unwrap_or_else(PoisonError::into_inner);
            *by_key.entry(key.to_owned()).or_default() += 1;
            drop(by_key);
            self.key = Some(key.to_owned());
        }
        self
    }

    /// The slot as that of a suspect, if its task is one.
    pub(crate) fn suspected(mut self, is_suspect: bool) -> Self {
        if is_suspect && !self.is_suspect {
            self.is_suspect = true;
            let mut suspects = self.slots.suspects();
            suspects.running += 1;
            suspects.latest = Some(Instant::now());
        }
        self
    }

    /// The concurrency key of its task.
    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Its run has ended: what is left is to store the outcome.
    pub(crate) fn ended(&mut self) {
        if !self.ended {
            self.ended = true;
            self.leave();
            self.change(|held| {
                held.running -= 1;
                held.ended += 1;
            });
        }
    }

    fn change(&self, change: impl FnOnce(&mut Held)) {
        let mut all = self.slots.held();
        if let Some(held) = all.get_mut(self.index) {
            change(held);
            metrics::TASKS_IN_FLIGHT.set(held.running, [&self.profile().name]);
        }
    }

    /// Counts no longer for its key, nor as a suspect.
    fn leave(&mut self) {
        if std::mem::take(&mut self.is_suspect) {
            self.slots.suspects().running -= 1;
        }
        let Some(key) = self.key.take() else { return };
        let mut by_key = self.slots.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let left = by_key.get_mut(&key).map_or(0, |count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == 0 {
            by_key.remove(&key);
        }
    }

    /// The agent whose place it is.
    pub(crate) fn profile(&self) -> &Arc<AgentProfile> {
        &self.slots.profiles[self.index]
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.leave();
        let ended = self.ended;
        self.change(|held| if ended { held.ended -= 1 } else { held.running -= 1 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::budget::Budget;

    fn slots(capacities: &[usize]) -> Arc<Slots> {
        let profile = |(index, capacity): (usize, &usize)| AgentProfile {
            name: format!("agent{index}"),
            role: String::new(),
            instructions: String::new(),
            capabilities: Vec::new(),
            tools: Vec::new(),
            delegates_to: Vec::new(),
            egress: Vec::new(),
            needs_approval: Vec::new(),
            model: None,
            capacity: *capacity,
            budget: Budget::default(),
        };
        Arc::new(Slots::new(capacities.iter().enumerate().map(profile).collect()))
    }

    #[test]
    fn no_agent_takes_more_than_its_capacity() {
        let slots = slots(&[2, 1]);
        let held: Vec<_> = [0, 0, 0, 1, 1].into_iter().filter_map(|index| slots.reserve(index)).collect();
        assert_eq!(held.len(), 3);
        assert_eq!(slots.taken(), [2, 1]);
        assert!(slots.reserve(7).is_none());
    }

    #[test]
    fn an_agent_on_hold_takes_nothing_and_keeps_what_it_has() {
        let slots = slots(&[2, 2]);
        let held = slots.reserve(0);
        assert!(!slots.hold_back(|name| name == "agent0"));
        assert!(slots.reserve(0).is_none());
        assert!(slots.reserve(1).is_some());
        let loads = slots.loads(&slots.taken());
        assert_eq!([loads[0].free(), loads[0].in_flight, loads[1].free()], [0, 1, 2]);
        assert!(slots.hold_back(|_| false), "it may work again");
        assert!(slots.reserve(0).is_some());
        drop(held);
    }

    #[test]
    fn outcomes_on_their_way_leave_room_for_as_many_runs_and_no_more() {
        let slots = slots(&[2]);
        let end = |mut slot: Slot| {
            slot.ended();
            slot
        };
        let mut reporting: Vec<Slot> = (0..2).filter_map(|_| slots.reserve(0)).map(end).collect();
        assert_eq!((slots.taken(), slots.presence()[0].in_flight), (vec![0], 0));
        let running: Vec<Slot> = (0..3).filter_map(|_| slots.reserve(0)).collect();
        assert_eq!((running.len(), slots.presence()[0].in_flight), (2, 2));
        reporting.extend(running.into_iter().map(end));
        assert!(slots.reserve(0).is_none(), "the store has fallen behind");
        drop(reporting);
        assert_eq!(slots.taken(), [0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspect_keeps_the_next_one_waiting_until_it_ends_or_has_long_been_harmless() {
        let slots = slots(&[4]);
        let take = || slots.reserve(0).expect("a place").suspected(true);
        assert!(slots.may_take_suspect());
        let ordinary = slots.reserve(0).expect("a place").suspected(false);
        assert!(slots.may_take_suspect());
        let mut first = take();
        assert!(!slots.may_take_suspect());
        first.ended();
        assert!(slots.may_take_suspect(), "its run can do no harm any more");
        let second = take();
        drop(first);
        assert!(!slots.may_take_suspect());
        tokio::time::advance(PROBATION).await;
        assert!(slots.may_take_suspect());
        let third = take();
        drop(second);
        assert!(!slots.may_take_suspect());
        drop(third);
        assert!(slots.may_take_suspect());
        drop(ordinary);
    }

    #[test]
    fn a_dropped_slot_is_free_again() {
        let slots = slots(&[1]);
        drop(slots.reserve(0));
        assert_eq!(slots.taken(), [0]);
        assert!(slots.reserve(0).is_some());
    }
}
