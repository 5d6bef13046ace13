//! Capacity of the agents of this replica. A [`Slot`] is the right to run one task; dropping it gives it back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::agent::{AgentLoad, AgentProfile};
use crate::domain::replica::AgentPresence;
use crate::telemetry::metrics;

/// The agents of this replica and what they have in flight.
pub(crate) struct Slots {
    profiles: Vec<Arc<AgentProfile>>,
    in_flight: Mutex<Vec<usize>>,
    /// What is in flight for each concurrency key.
    by_key: Mutex<HashMap<String, usize>>,
    /// Those that take on nothing, because a person has put them on hold.
    paused: Vec<AtomicBool>,
}

/// A reserved place of one agent.
pub(crate) struct Slot {
    slots: Arc<Slots>,
    index: usize,
    key: Option<String>,
}

impl Slots {
    /// All agents, idle.
    pub(crate) fn new(profiles: Vec<AgentProfile>) -> Self {
        for profile in &profiles {
            metrics::AGENT_CAPACITY.set(profile.capacity, [&profile.name]);
            metrics::TASKS_IN_FLIGHT.set(0_u64, [&profile.name]);
            metrics::AGENT_PAUSED.set(0_u64, [&profile.name]);
            metrics::TASKS_COMPLETED.add(0, [&profile.name]);
            for outcome in ["completed", "failed"] {
                metrics::RUN_SECONDS.begin([&profile.name, outcome]);
            }
        }
        let in_flight = Mutex::new(vec![0; profiles.len()]);
        let paused = profiles.iter().map(|_| AtomicBool::new(false)).collect();
        Self { profiles: profiles.into_iter().map(Arc::new).collect(), in_flight, by_key: Mutex::default(), paused }
    }

    /// Puts those agents on hold that `is_paused` names, and no others; gives back whether some may work again. What
    /// they have in flight goes on.
    pub(crate) fn hold_back(&self, is_paused: impl Fn(&str) -> bool) -> bool {
        let mut freed = false;
        for (profile, paused) in self.profiles.iter().zip(&self.paused) {
            let now = is_paused(&profile.name);
            metrics::AGENT_PAUSED.set(u64::from(now), [&profile.name]);
            freed |= paused.swap(now, Ordering::AcqRel) && !now;
        }
        freed
    }

    fn is_paused(&self, index: usize) -> bool {
        self.paused.get(index).is_some_and(|paused| paused.load(Ordering::Acquire))
    }

    /// What each agent has in flight now, in the order they were given in.
    pub(crate) fn in_flight(&self) -> Vec<usize> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The agents with their load, for [`crate::domain::agent::route`].
    pub(crate) fn loads<'a>(&'a self, in_flight: &[usize]) -> Vec<AgentLoad<'a>> {
        self.profiles
            .iter()
            .zip(in_flight)
            .enumerate()
            .map(|(index, (profile, in_flight))| {
                let paused = self.is_paused(index);
                AgentLoad { profile, in_flight: *in_flight, paused }
            })
            .collect()
    }

    /// The agents with their load, for people and other replicas.
    pub(crate) fn presence(&self) -> Vec<AgentPresence> {
        self.profiles
            .iter()
            .zip(self.in_flight())
            .enumerate()
            .map(|(index, (profile, in_flight))| AgentPresence {
                name: profile.name.clone(),
                capabilities: profile.capabilities.clone(),
                in_flight,
                capacity: profile.capacity,
                paused: self.is_paused(index),
            })
            .collect()
    }

    /// Takes a place of the agent at `index`; `None` when it has none free or is on hold.
    pub(crate) fn reserve(self: &Arc<Self>, index: usize) -> Option<Slot> {
        if self.is_paused(index) {
            return None;
        }
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        let profile = self.profiles.get(index)?;
        let count = in_flight.get_mut(index).filter(|count| **count < profile.capacity)?;
        *count += 1;
        metrics::TASKS_IN_FLIGHT.set(*count, [&profile.name]);
        drop(in_flight);
        Some(Slot { slots: Arc::clone(self), index, key: None })
    }
}

impl Slots {
    /// What is in flight for each concurrency key, and, last, for tasks without.
    pub(crate) fn by_key(&self) -> HashMap<Option<String>, usize> {
        let total: usize = self.in_flight().iter().sum();
        let by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let keyed: usize = by_key.values().sum();
        let keys = by_key.iter().map(|(key, count)| (Some(key.clone()), *count));
        keys.chain([(None, total.saturating_sub(keyed))]).collect()
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

    /// The concurrency key of its task.
    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The agent whose place it is.
    pub(crate) fn profile(&self) -> &Arc<AgentProfile> {
        &self.slots.profiles[self.index]
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let mut by_key = self.slots.by_key.lock().unwrap_or_else(PoisonError::into_inner);
            let left = by_key.get_mut(&key).map_or(0, |count| {
                *count = count.saturating_sub(1);
                *count
            });
            if left == 0 {
                by_key.remove(&key);
            }
        }
        let mut in_flight = self.slots.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = in_flight.get_mut(self.index) {
            *count = count.saturating_sub(1);
            metrics::TASKS_IN_FLIGHT.set(*count, [&self.slots.profiles[self.index].name]);
        }
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
        assert_eq!(slots.in_flight(), [2, 1]);
        assert!(slots.reserve(7).is_none());
    }

    #[test]
    fn an_agent_on_hold_takes_nothing_and_keeps_what_it_has() {
        let slots = slots(&[2, 2]);
        let held = slots.reserve(0);
        assert!(!slots.hold_back(|name| name == "agent0"));
        assert!(slots.reserve(0).is_none());
        assert!(slots.reserve(1).is_some());
        let loads = slots.loads(&slots.in_flight());
        assert_eq!([loads[0].free(), loads[0].in_flight, loads[1].free()], [0, 1, 2]);
        assert!(slots.hold_back(|_| false), "it may work again");
        assert!(slots.reserve(0).is_some());
        drop(held);
    }

    #[test]
    fn a_dropped_slot_is_free_again() {
        let slots = slots(&[1]);
        drop(slots.reserve(0));
        assert_eq!(slots.in_flight(), [0]);
        assert!(slots.reserve(0).is_some());
    }
}
