//! Profiles of agents, and the routing of a task to one of them.

use serde::{Deserialize, Serialize};

use super::budget::Budget;
use super::plan::Plan;

/// A specialist: its role, what it may use, and how much it does at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentProfile {
    /// Name, unique; the key of its section in the configuration.
    #[serde(default)]
    pub name: String,
    /// Role in one line, for the prompt.
    #[serde(default)]
    pub role: String,
    /// Standing instructions, for the prompt.
    #[serde(default)]
    pub instructions: String,
    /// What the agent can do, in free words. A task that lists a capability goes only to an agent that has it.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Names of the tools it may use; `["*"]` for all.
    #[serde(default = "all_names")]
    pub tools: Vec<String>,
    /// Names of the tools whose calls a person must approve, each one; `["*"]` for all.
    #[serde(default)]
    pub needs_approval: Vec<String>,
    /// Names of the agents that it may create tasks for; `["*"]` for all.
    #[serde(default = "all_names")]
    pub delegates_to: Vec<String>,
    /// Hosts that its tools may reach; `["*"]` for all, `*.example.org` for all below `example.org`.
    #[serde(default = "all_names")]
    pub egress: Vec<String>,
    /// Model that the agent prefers; `None` for the configured models in their order.
    #[serde(default)]
    pub model: Option<String>,
    /// Most tasks in flight in one replica; 16 by default.
    #[serde(default = "default_capacity")]
    pub capacity: usize,
    /// Limits of one task, all its attempts together.
    #[serde(default)]
    pub budget: Budget,
}

fn all_names() -> Vec<String> {
    vec!["*".to_owned()]
}

const fn default_capacity() -> usize {
    16
}

impl AgentProfile {
    /// Whether policy lets this agent use `tool`.
    #[must_use]
    pub fn allows(&self, tool: &str) -> bool {
        self.tools.iter().any(|allowed| allowed == "*" || allowed == tool)
    }

    /// Whether it has every one of `capabilities`.
    #[must_use]
    pub fn offers(&self, capabilities: &[String]) -> bool {
        capabilities.iter().all(|wanted| self.capabilities.iter().any(|offered| offered.eq_ignore_ascii_case(wanted)))
    }
}

/// Load of an agent of this replica.
#[derive(Clone, Copy, Debug)]
pub struct AgentLoad<'a> {
    /// The agent.
    pub profile: &'a AgentProfile,
    /// Tasks it has in flight.
    pub in_flight: usize,
    /// Whether a person has put it on hold.
    pub paused: bool,
    /// Tasks that need a model and can start now; 0 while the agent's models are away.
    pub model_room: usize,
}

impl AgentLoad<'_> {
    /// Tasks the agent can start now; 0 while it is paused.
    #[must_use]
    pub fn free(&self) -> usize {
        if self.paused { 0 } else { self.profile.capacity.saturating_sub(self.in_flight) }
    }
}

/// Result of routing a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The agent at this index of the loads takes the task.
    To(usize),
    /// Every agent that could run the task is at its capacity.
    Busy,
    /// No agent that could run the task has a usable model now.
    ModelAway,
    /// No agent of this replica has the name, or the capabilities, that the task requires.
    NoneFits,
}

/// Chooses the agent for a task that names `agent` or requires `capabilities`: among the agents that fit, the one
/// with the smallest share of its capacity in use, and the earlier one when two are equal. When the task
/// `needs_model`, agents without a usable model are left out.
#[must_use]
pub fn route(agent: Option<&str>, capabilities: &[String], needs_model: bool, loads: &[AgentLoad<'_>]) -> Route {
    let fits = |load: &AgentLoad<'_>| match agent {
        Some(name) => load.profile.name == name,
        None => load.profile.offers(capabilities),
    };
    let mut best: Option<(usize, &AgentLoad<'_>)> = None;
    let (mut any_fits, mut any_busy) = (false, false);
    for (index, load) in loads.iter().enumerate().filter(|(_, load)| fits(load)) {
        any_fits = true;
        let has_model = !needs_model || load.model_room > 0;
        if load.free() == 0 || !has_model {
            any_busy |= has_model;
            continue;
        }
        // a/b < c/d without division; capacities are positive here, since something is free.
        let less_loaded = best
            .is_none_or(|(_, other)| load.in_flight * other.profile.capacity < other.in_flight * load.profile.capacity);
        if less_loaded {
            best = Some((index, load));
        }
    }
    match best {
        Some((index, _)) => Route::To(index),
        None if any_busy => Route::Busy,
        None if any_fits => Route::ModelAway,
        None => Route::NoneFits,
    }
}

/// Explains why no agent may carry out `plan`: every agent that fits (by the name `agent`, otherwise by
/// `capabilities`) has a budget of fewer steps. `None` when one of them may, or when no agent fits at all.
#[must_use]
pub fn plan_over_budget(
    plan: &Plan,
    agent: Option<&str>,
    capabilities: &[String],
    profiles: &[AgentProfile],
) -> Option<String> {
    let fits = |profile: &&AgentProfile| match agent {
        Some(name) => profile.name == name,
        None => profile.offers(capabilities),
    };
    let roomiest = profiles.iter().filter(fits).max_by_key(|profile| profile.budget.max_steps)?;
    let (steps, most) = (plan.steps.len(), roomiest.budget.max_steps);
    (u32::try_from(steps).unwrap_or(u32::MAX) > most).then(|| {
        let name = &roomiest.name;
        format!(
            "the plan has {steps} steps, and the budget of agent {name:?} allows {most}: split the plan into several \
             tasks, or raise agents.{name}.budget.max_steps"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(name: &str, capabilities: &[&str], capacity: usize) -> AgentProfile {
        AgentProfile {
            name: name.to_owned(),
            role: String::new(),
            instructions: String::new(),
            capabilities: capabilities.iter().map(ToString::to_string).collect(),
            tools: all_names(),
            needs_approval: Vec::new(),
            delegates_to: all_names(),
            egress: all_names(),
            model: None,
            capacity,
            budget: Budget::default(),
        }
    }

    fn wants(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_least_loaded_capable_agent_gets_the_task() {
        let (small, large, other) = (agent("s", &["sql"], 2), agent("l", &["SQL", "web"], 10), agent("o", &[], 10));
        let loads = [
            AgentLoad { profile: &small, in_flight: 1, paused: false, model_room: usize::MAX },
            AgentLoad { profile: &large, in_flight: 4, paused: false, model_room: usize::MAX },
            AgentLoad { profile: &other, in_flight: 0, paused: false, model_room: usize::MAX },
        ];
        assert_eq!(route(None, &wants(&["sql"]), false, &loads), Route::To(1));
        assert_eq!(route(None, &[], true, &loads), Route::To(2));
        assert_eq!(route(Some("s"), &wants(&["web"]), false, &loads), Route::To(0));
        assert_eq!(route(None, &wants(&["sql", "fly"]), false, &loads), Route::NoneFits);
        assert_eq!(route(Some("nobody"), &[], false, &loads), Route::NoneFits);
    }

    #[test]
    fn a_plan_must_fit_the_budget_of_one_agent_that_could_take_it() {
        let steps = |count: usize| {
            let steps = (0..count).map(|step| serde_json::json!({"id": format!("s{step}"), "tool": "t"})).collect();
            serde_json::from_value::<Plan>(serde_json::Value::Array(steps)).expect("a plan")
        };
        let with = |name: &str, capability: &str, max_steps| {
            let budget = Budget { max_steps, ..Budget::default() };
            AgentProfile { budget, ..agent(name, &[capability], 1) }
        };
        let profiles = [with("small", "sql", 2), with("large", "sql", 5), with("other", "web", 9)];
        for (count, name, words, expected) in [
            (2, Some("small"), vec![], None),
            (3, Some("small"), vec![], Some("3 steps, and the budget of agent \"small\" allows 2")),
            (5, None, vec!["sql"], None),
            (6, None, vec!["sql"], Some("allows 5")),
            (9, None, vec![], None),
            (10, None, vec![], Some("agents.other.budget.max_steps")),
            (99, Some("elsewhere"), vec![], None),
            (99, None, vec!["fly"], None),
        ] {
            let found = plan_over_budget(&steps(count), name, &wants(&words), &profiles);
            match (&found, expected) {
                (Some(found), Some(expected)) => assert!(found.contains(expected), "{found}"),
                _ => assert_eq!(found.is_none(), expected.is_none(), "{count} {name:?} {words:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_full_agent_means_wait_not_refuse() {
        let only = agent("only", &["sql"], 1);
        let loads = [AgentLoad { profile: &only, in_flight: 1, paused: false, model_room: usize::MAX }];
        assert_eq!(route(None, &wants(&["sql"]), false, &loads), Route::Busy);
    }

    #[test]
    fn a_task_that_needs_a_model_goes_where_there_is_one() {
        let (without, with) = (agent("without", &[], 9), agent("with", &[], 1));
        let load = |profile, in_flight, model_room| AgentLoad { profile, in_flight, paused: false, model_room };
        let loads = [load(&without, 0, 0), load(&with, 0, 1)];
        assert_eq!(route(None, &[], true, &loads), Route::To(1));
        assert_eq!(route(None, &[], false, &loads), Route::To(0));
        assert_eq!(route(Some("without"), &[], true, &loads), Route::ModelAway);
        assert_eq!(route(None, &[], true, &[loads[0], load(&with, 1, 1)]), Route::Busy);
    }
}
