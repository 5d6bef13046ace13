//! Which agent takes which due task, and which tasks cannot be taken here now. Pure.

use std::collections::BTreeSet;

use crate::domain::agent::{AgentLoad, Route, route};
use crate::store::{DueExclusions, DueTask};

/// Most words and combinations remembered as not offered here.
const MAX_STRANGE: usize = 1_000;

/// Names of agents and capabilities seen in due tasks that no agent of this replica has, or spells otherwise, or not all
/// of them. Told to the store so that such tasks do not fill the window and hide others.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnmatchedRequirements {
    agents: BTreeSet<String>,
    capabilities: BTreeSet<String>,
    combinations: BTreeSet<Vec<String>>,
}

impl UnmatchedRequirements {
    /// How much has been learnt.
    pub(crate) fn len(&self) -> usize {
        self.agents.len() + self.capabilities.len() + self.combinations.len()
    }

    fn learn(&mut self, task: &DueTask) {
        if self.len() >= MAX_STRANGE {
            return;
        }
        if let Some(agent) = &task.agent {
            self.agents.insert(agent.clone());
            return;
        }
        self.capabilities.extend(task.capabilities.iter().cloned());
        if task.capabilities.len() > 1 {
            let mut words = task.capabilities.clone();
            words.sort();
            self.combinations.insert(words);
        }
    }

    /// What to leave out of a scan under these `loads`.
    pub(crate) fn closed(&self, loads: &[AgentLoad<'_>]) -> DueExclusions {
        let free: Vec<&AgentLoad<'_>> = loads.iter().filter(|load| load.free() > 0).collect();
        let thinking: Vec<&AgentLoad<'_>> = free.iter().copied().filter(|load| load.model_room > 0).collect();
        let (agents, capabilities) = self.beyond(&free, loads);
        let needs_model = thinking.is_empty();
        let mut without_model = if needs_model { (Vec::new(), Vec::new()) } else { self.beyond(&thinking, loads) };
        without_model.0.retain(|name| !agents.contains(name));
        without_model.1.retain(|word| !capabilities.contains(word));
        // One with a word that nobody offers is left out for that word.
        let is_closed = |words: &&Vec<String>| {
            words.iter().all(|word| offers(&free, std::slice::from_ref(word))) && !offers(&free, words)
        };
        DueExclusions {
            agents,
            capabilities,
            combinations: self.combinations.iter().filter(is_closed).cloned().collect(),
            needs_model,
            agents_without_model: without_model.0,
            capabilities_without_model: without_model.1,
            ..DueExclusions::default()
        }
    }

    /// Names of agents and capabilities known here that none of the `open` among `loads` has.
    fn beyond(&self, open: &[&AgentLoad<'_>], loads: &[AgentLoad<'_>]) -> (Vec<String>, Vec<String>) {
        let is_open = |name: &str| open.iter().any(|load| load.profile.name == name);
        let agents: BTreeSet<&String> = loads.iter().map(|load| &load.profile.name).chain(&self.agents).collect();
        let capabilities: BTreeSet<&String> =
            loads.iter().flat_map(|load| &load.profile.capabilities).chain(&self.capabilities).collect();
        let agents = agents.into_iter().filter(|name| !is_open(name)).cloned().collect();
        let capabilities = capabilities.into_iter().filter(|word| !offers(open, std::slice::from_ref(word)));
        (agents, capabilities.cloned().collect())
    }
}

/// Whether one of `loads` has all of `words`.
fn offers(loads: &[&AgentLoad<'_>], words: &[String]) -> bool {
    loads.iter().any(|load| load.profile.offers(words))
}

/// Who takes what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// Index of a due task and of the agent that takes it.
    pub(crate) picks: Vec<(usize, usize)>,
    /// Indexes of due tasks that no agent here fits.
    pub(crate) none_fits: Vec<usize>,
    /// Indexes of suspects that were left because of another one.
    pub(crate) apart: Vec<usize>,
    /// How many tasks were left because the agents that fit are at capacity.
    pub(crate) busy: usize,
    /// How many tasks were left because the agents that fit have no model that can be asked now.
    pub(crate) away: usize,
}

/// Assigns up to `wanted` of `due`, tried in this `order`, to agents that have `in_flight` tasks already.
/// The loads grow as tasks are assigned, so that a batch is shared out like single tasks. At most one of them is a
/// suspect, none unless one `may_take_suspect`.
pub(crate) fn assign(
    due: &[DueTask],
    order: &[usize],
    mut loads: Vec<AgentLoad<'_>>,
    wanted: usize,
    mut may_take_suspect: bool,
    unmatched: &mut UnmatchedRequirements,
) -> Assignment {
    let mut assignment = Assignment::default();
    for index in order {
        if assignment.picks.len() >= wanted {
            break;
        }
        let task = &due[*index];
        if task.is_suspect && !may_take_suspect {
            assignment.apart.push(*index);
            continue;
        }
        match route(task.agent.as_deref(), &task.capabilities, task.needs_model, &loads) {
            Route::To(agent) => {
                may_take_suspect &= !task.is_suspect;
                loads[agent].in_flight += 1;
                if task.needs_model && loads[agent].model_room != usize::MAX {
                    loads[agent].model_room -= 1;
                }
                assignment.picks.push((*index, agent));
            }
            Route::Busy => {
                // Its words may be spelt otherwise than in the profiles; the store compares exactly.
                unmatched.learn(task);
                assignment.busy += 1;
            }
            Route::ModelAway => assignment.away += 1,
            Route::NoneFits => {
                unmatched.learn(task);
                assignment.none_fits.push(*index);
            }
        }
    }
    assignment
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::agent::AgentProfile;
    use crate::domain::budget::Budget;
    use crate::domain::id::TaskId;

    fn agent(name: &str, capabilities: &[&str], capacity: usize) -> AgentProfile {
        AgentProfile {
            name: name.to_owned(),
            role: String::new(),
            instructions: String::new(),
            capabilities: capabilities.iter().map(ToString::to_string).collect(),
            tools: Vec::new(),
            delegates_to: Vec::new(),
            egress: Vec::new(),
            needs_approval: Vec::new(),
            model: None,
            capacity,
            budget: Budget::default(),
        }
    }

    fn due(id: u64, agent: Option<&str>, capabilities: &[&str]) -> DueTask {
        DueTask {
            id: TaskId::Number(id),
            rank: 0,
            agent: agent.map(str::to_owned),
            capabilities: capabilities.iter().map(ToString::to_string).collect(),
            key: None,
            is_suspect: false,
            needs_model: false,
        }
    }

    fn loads<'a>(agents: &'a [AgentProfile], in_flight: &[usize]) -> Vec<AgentLoad<'a>> {
        agents
            .iter()
            .zip(in_flight)
            .map(|(profile, in_flight)| AgentLoad {
                profile,
                in_flight: *in_flight,
                paused: false,
                model_room: usize::MAX,
            })
            .collect()
    }

    fn in_order(due: &[DueTask]) -> Vec<usize> {
        (0..due.len()).collect()
    }

    #[test]
    fn a_batch_never_exceeds_free_capacity_and_is_shared_out_by_load() {
        let agents = [agent("a", &[], 4), agent("b", &[], 4)];
        let tasks: Vec<_> = (0..20).map(|id| due(id, None, &[])).collect();
        let assignment = assign(
            &tasks,
            &in_order(&tasks),
            loads(&agents, &[3, 1]),
            100,
            true,
            &mut UnmatchedRequirements::default(),
        );
        let taken = |agent| assignment.picks.iter().filter(|(_, to)| *to == agent).count();
        assert_eq!((taken(0), taken(1)), (1, 3));
        assert_eq!(assignment.busy, 16);
    }

    #[test]
    fn one_suspect_at_most_is_taken_and_only_when_it_may() {
        let agents = [agent("one", &[], 10)];
        let suspect = |id| DueTask { is_suspect: true, ..due(id, None, &[]) };
        let tasks = [suspect(1), due(2, None, &[]), suspect(3), due(4, None, &[])];
        let picked = |may| {
            let unmatched = &mut UnmatchedRequirements::default();
            let assignment = assign(&tasks, &in_order(&tasks), loads(&agents, &[0]), 10, may, unmatched);
            (assignment.picks.iter().map(|(task, _)| *task).collect::<Vec<_>>(), assignment.apart)
        };
        assert_eq!(picked(true), (vec![0, 1, 3], vec![2]));
        assert_eq!(picked(false), (vec![1, 3], vec![0, 2]));
    }

    #[test]
    fn nothing_that_needs_a_model_is_taken_while_it_is_away_and_one_task_on_probe() {
        let agents = [agent("a", &[], 9), agent("b", &[], 9)];
        let thinks = |id| DueTask { needs_model: true, ..due(id, None, &[]) };
        let tasks = [thinks(1), due(2, None, &[]), thinks(3), due(4, None, &[])];
        for (rooms, picked, away) in [
            ([0, 0], vec![1, 3], 2),
            ([1, 0], vec![0, 1, 3], 1),
            ([1, 1], vec![0, 1, 2, 3], 0),
            ([0, usize::MAX], vec![0, 1, 2, 3], 0),
        ] {
            let mut loads = loads(&agents, &[0, 0]);
            (loads[0].model_room, loads[1].model_room) = (rooms[0], rooms[1]);
            let mut unmatched = UnmatchedRequirements::default();
            assert_eq!(unmatched.closed(&loads).needs_model, rooms == [0, 0], "{rooms:?}");
            let assignment = assign(&tasks, &in_order(&tasks), loads, 10, true, &mut unmatched);
            let tasks: Vec<usize> = assignment.picks.iter().map(|(task, _)| *task).collect();
            assert_eq!((tasks, assignment.away), (picked, away), "{rooms:?}");
        }
    }

    /// In a mixed fleet only some agents have a model: what they cannot take now hides nothing that others can.
    #[test]
    fn tasks_for_a_model_are_left_out_where_no_free_agent_may_ask_one() {
        let agents = [agent("a", &["sql", "web"], 2), agent("b", &["WEB", "fly"], 2)];
        let far = |name: &str| DueExclusions {
            agents_without_model: vec![name.to_owned()],
            capabilities_without_model: if name == "a" { vec!["sql".into()] } else { vec!["fly".into()] },
            ..DueExclusions::default()
        };
        let all = DueExclusions { needs_model: true, ..DueExclusions::default() };
        for (rooms, closed) in [
            ([usize::MAX, usize::MAX], DueExclusions::default()),
            ([1, usize::MAX], DueExclusions::default()),
            ([0, usize::MAX], far("a")),
            ([1, 0], far("b")),
            ([0, 0], all.clone()),
        ] {
            let mut loads = loads(&agents, &[0, 1]);
            (loads[0].model_room, loads[1].model_room) = (rooms[0], rooms[1]);
            assert_eq!(UnmatchedRequirements::default().closed(&loads), closed, "{rooms:?}");
        }
        // The only agent with a model is full, or paused.
        for (in_flight, paused) in [(2, false), (0, true)] {
            let mut loads = loads(&agents, &[in_flight, 0]);
            (loads[0].paused, loads[1].model_room) = (paused, 0);
            let expected = DueExclusions { agents: vec!["a".into()], capabilities: vec!["sql".into()], ..all.clone() };
            assert_eq!(UnmatchedRequirements::default().closed(&loads), expected, "{in_flight} {paused}");
        }
        // Full without a model: left out altogether.
        let mut full = loads(&agents, &[2, 0]);
        full[0].model_room = 0;
        let expected =
            DueExclusions { agents: vec!["a".into()], capabilities: vec!["sql".into()], ..DueExclusions::default() };
        assert_eq!(UnmatchedRequirements::default().closed(&full), expected);
    }

    #[test]
    fn a_full_agent_does_not_hide_tasks_of_another() {
        let agents = [agent("full", &["sql"], 1), agent("free", &["web"], 1)];
        let mut tasks: Vec<_> = (0..5).map(|id| due(id, None, &["SQL"])).collect();
        tasks.push(due(9, Some("free"), &[]));
        let mut unmatched = UnmatchedRequirements::default();
        let assignment = assign(&tasks, &in_order(&tasks), loads(&agents, &[1, 0]), 10, true, &mut unmatched);
        assert_eq!(assignment.picks, [(5, 1)]);
        let closed = unmatched.closed(&loads(&agents, &[1, 0]));
        assert_eq!(closed.agents, ["full"]);
        assert_eq!(closed.capabilities, ["SQL", "sql"]);
        let all_free = unmatched.closed(&loads(&agents, &[0, 0]));
        assert_eq!(all_free, DueExclusions::default());
    }

    #[test]
    fn words_that_only_a_full_agent_has_together_hide_nothing() {
        let agents = [agent("both", &["sql", "web"], 1), agent("one", &["sql"], 1), agent("two", &["web"], 1)];
        let tasks = [due(1, None, &["Web", "sql"]), due(2, None, &["web", "fly"])];
        let mut unmatched = UnmatchedRequirements::default();
        let assignment = assign(&tasks, &in_order(&tasks), loads(&agents, &[1, 0, 0]), 10, true, &mut unmatched);
        assert_eq!((assignment.busy, assignment.none_fits), (1, vec![1]));
        let closed = unmatched.closed(&loads(&agents, &[1, 0, 0]));
        assert_eq!((closed.agents, closed.capabilities), (vec!["both".to_owned()], vec!["fly".to_owned()]));
        assert_eq!(closed.combinations, [["Web", "sql"]]);
        assert!(unmatched.closed(&loads(&agents, &[0, 0, 0])).combinations.is_empty());
    }

    #[test]
    fn what_no_agent_here_can_do_is_left_and_learnt() {
        let agents = [agent("only", &["sql"], 5)];
        let tasks = [due(1, Some("nobody"), &[]), due(2, None, &["fly"]), due(3, None, &["sql"])];
        let mut unmatched = UnmatchedRequirements::default();
        let assignment = assign(&tasks, &in_order(&tasks), loads(&agents, &[0]), 10, true, &mut unmatched);
        assert_eq!(assignment.none_fits, [0, 1]);
        assert_eq!(assignment.picks, [(2, 0)]);
        let closed = unmatched.closed(&loads(&agents, &[0]));
        assert_eq!(
            closed,
            DueExclusions {
                agents: vec!["nobody".into()],
                capabilities: vec!["fly".into()],
                ..DueExclusions::default()
            }
        );
    }
}
