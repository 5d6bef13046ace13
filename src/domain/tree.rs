//! Trees of tasks: a root that a person, a schedule or a program created, and all its descendants.
//!
//! A tree has one budget, and a task has at most the rights of its parent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::agent::AgentProfile;
use super::budget::Spent;
use super::failure::{BudgetLimit, Failure};
use super::handover::Handover;
use super::host;
use super::id::TaskId;
use super::step_origin::StepOrigin;

/// Wildcard for all names.
pub(super) const ALL: &str = "*";

/// Section `[tree]` of the configuration: limits of a task and all its descendants together, for as long as one of them has
/// not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeBudget {
    /// Tasks, the first one included.
    pub max_tasks: u64,
    /// Calls to the model.
    pub max_model_calls: u64,
    /// Prompt and completion tokens together.
    pub max_tokens: u64,
    /// Cost in US dollars; priced only where the configuration has prices.
    pub max_cost_usd: f64,
    /// Time at work, summed over the tasks, in seconds.
    pub max_duration_s: u64,
}

impl Default for TreeBudget {
    fn default() -> Self {
        Self { max_tasks: 100, max_model_calls: 500, max_tokens: 5_000_000, max_cost_usd: 50.0, max_duration_s: 86_400 }
    }
}

/// Most tasks that a tree may be allowed.
pub const MAX_TREE_TASKS: u64 = 10_000;

impl TreeBudget {
    /// Most descendants of the root.
    #[must_use]
    pub const fn places(&self) -> u64 {
        self.max_tasks.saturating_sub(1)
    }
}

/// Sum of what the tasks of a tree have spent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TreeSpent {
    /// Calls to the model.
    pub model_calls: u64,
    /// Tokens.
    pub tokens: u64,
    /// Cost in US dollars.
    pub cost_usd: f64,
    /// Time at work, in milliseconds.
    pub active_ms: u64,
}

impl TreeSpent {
    /// What one run has spent: `spent` without `carried`, which earlier runs had spent.
    #[must_use]
    pub fn of_run(spent: &Spent, carried: &Spent) -> Self {
        Self {
            model_calls: u64::from(spent.model_calls.saturating_sub(carried.model_calls)),
            tokens: spent.usage.total().saturating_sub(carried.usage.total()),
            cost_usd: (spent.cost_usd - carried.cost_usd).max(0.0),
            active_ms: spent.active_ms.saturating_sub(carried.active_ms),
        }
    }

    /// Sum over `runs`: of each its task, what it counts, and what earlier runs had spent of that. The last is `None`
    /// for runs of older versions; such runs of one task include what earlier ones spent, so the largest of them
    /// counts for all.
    #[must_use]
    pub fn of_runs<'a>(runs: impl IntoIterator<Item = (TaskId, &'a Spent, Option<&'a Spent>)>) -> Self {
        let mut total = Self::default();
        let mut older: BTreeMap<TaskId, Self> = BTreeMap::new();
        for (task, spent, carried) in runs {
            if let Some(carried) = carried {
                total = total.and(Self::of_run(spent, carried));
            } else {
                let most = older.entry(task).or_default();
                *most = most.max_of_each(Self::of_run(spent, &Spent::default()));
            }
        }
        older.into_values().fold(total, Self::and)
    }

    /// The larger value of each field.
    fn max_of_each(self, other: Self) -> Self {
        Self {
            model_calls: self.model_calls.max(other.model_calls),
            tokens: self.tokens.max(other.tokens),
            cost_usd: self.cost_usd.max(other.cost_usd),
            active_ms: self.active_ms.max(other.active_ms),
        }
    }

    /// The sum of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            model_calls: self.model_calls.saturating_add(other.model_calls),
            tokens: self.tokens.saturating_add(other.tokens),
            cost_usd: self.cost_usd + other.cost_usd,
            active_ms: self.active_ms.saturating_add(other.active_ms),
        }
    }
}

/// What a tree may spend and has spent, as a run of one of its tasks sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct TreeAccount {
    /// The first task of the tree.
    pub root: TaskId,
    /// The limits.
    pub budget: TreeBudget,
    /// What all other runs of the tree have spent.
    pub elsewhere: TreeSpent,
    /// What earlier runs of the task had spent when this run began. It is part of the run's own count and of
    /// `elsewhere`.
    pub carried: Spent,
}

impl TreeAccount {
    /// What the tree has spent when the run counts `spent`.
    #[must_use]
    pub fn total(&self, spent: &Spent) -> TreeSpent {
        self.elsewhere.and(TreeSpent::of_run(spent, &self.carried))
    }

    /// The first limit that is reached when the run counts `spent` and has `in_flight` model calls under way; `None` while
    /// there is room for one more call.
    #[must_use]
    pub fn exhausted_by(&self, spent: &Spent, in_flight: u64) -> Option<Failure> {
        let (budget, total) = (&self.budget, self.total(spent));
        let reached = if total.model_calls.saturating_add(in_flight) >= budget.max_model_calls {
            format!("tree.max_model_calls of {} ({} made)", budget.max_model_calls, total.model_calls)
        } else if total.tokens >= budget.max_tokens {
            format!("tree.max_tokens of {} ({} used)", budget.max_tokens, total.tokens)
        } else if total.cost_usd >= budget.max_cost_usd {
            format!("tree.max_cost_usd of {} ({:.4} used)", budget.max_cost_usd, total.cost_usd)
        } else if total.active_ms >= budget.max_duration_s.saturating_mul(1_000) {
            format!("tree.max_duration_s of {} reached", budget.max_duration_s)
        } else {
            return None;
        };
        Some(self.over(&reached))
    }

    /// Tokens and US dollars that are left of the budget when the run counts `spent`.
    #[must_use]
    pub fn left(&self, spent: &Spent) -> (u64, f64) {
        let total = self.total(spent);
        (self.budget.max_tokens.saturating_sub(total.tokens), self.budget.max_cost_usd - total.cost_usd)
    }

    /// The failure of a task whose tree has reached a limit; `reached` names the limit.
    #[must_use]
    pub fn over(&self, reached: &str) -> Failure {
        let message = format!("task {} and its descendants together have reached {reached}", self.root);
        Failure::over_budget(BudgetLimit::Tree, message)
    }
}

/// Rights of a task: the most it may do, whichever agent runs it. Rights only narrow what the agent may do; rights
/// that another client writes into a point add nothing. A client with the key of the store can still replace or
/// remove the rights of a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rights {
    /// Tools that it may use; `*` for all that its agent may.
    #[serde(default = "all")]
    pub tools: Vec<String>,
    /// Tools whose calls a person must approve, whatever the agent's profile says; `*` for all.
    #[serde(default)]
    pub needs_approval: Vec<String>,
    /// Agents that may run the task and that it may create tasks for; `*` for all.
    #[serde(default = "all")]
    pub delegates_to: Vec<String>,
    /// Hosts that its tools may reach; `*` for all that those of its agent may.
    // Left out when there is nothing to say, so that replicas of older versions can read it.
    #[serde(default = "all", skip_serializing_if = "is_all")]
    pub egress: Vec<String>,
}

fn is_all(names: &[String]) -> bool {
    is_in(names, ALL)
}

fn all() -> Vec<String> {
    vec![ALL.to_owned()]
}

impl Default for Rights {
    fn default() -> Self {
        Self { tools: all(), needs_approval: Vec::new(), delegates_to: all(), egress: all() }
    }
}

impl Rights {
    /// No rights, for rights that cannot be read.
    #[must_use]
    pub fn none() -> Self {
        Self { tools: Vec::new(), needs_approval: all(), delegates_to: Vec::new(), egress: Vec::new() }
    }

    /// Reads rights; `None` for a value that is not understood completely.
    #[must_use]
    pub fn read(value: &Value) -> Option<Self> {
        // Serde would read a list, too, and an empty list as all rights.
        if value.is_object() { Self::deserialize(value).ok() } else { None }
    }

    /// The rights of an agent.
    #[must_use]
    pub fn of(profile: &AgentProfile) -> Self {
        Self {
            tools: profile.tools.clone(),
            needs_approval: profile.needs_approval.clone(),
            delegates_to: profile.delegates_to.clone(),
            egress: profile.egress.clone(),
        }
    }

    /// The rights that both grant.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            tools: common(&self.tools, &other.tools),
            needs_approval: either(&self.needs_approval, &other.needs_approval),
            delegates_to: common(&self.delegates_to, &other.delegates_to),
            egress: host::common(&self.egress, &other.egress),
        }
    }

    /// `profile` narrowed to these rights.
    #[must_use]
    pub fn narrow(&self, profile: &AgentProfile) -> AgentProfile {
        let Self { tools, needs_approval, delegates_to, egress } = Self::of(profile).and(self);
        AgentProfile { tools, needs_approval, delegates_to, egress, ..profile.clone() }
    }

    /// Whether `tool` may be used.
    #[must_use]
    pub fn allows_tool(&self, tool: &str) -> bool {
        is_in(&self.tools, tool)
    }

    /// Whether a person must approve each call of `tool`.
    #[must_use]
    pub fn must_ask(&self, tool: &str) -> bool {
        is_in(&self.needs_approval, tool)
    }

    /// Whether tools may reach `host`.
    #[must_use]
    pub fn allows_host(&self, host: &str) -> bool {
        host::is_listed(&self.egress, host)
    }

    /// Whether a task may be given to the agent `name`.
    #[must_use]
    pub fn allows_agent(&self, name: &str) -> bool {
        is_in(&self.delegates_to, name)
    }

    /// Whether a task may be given to any agent.
    #[must_use]
    pub fn allows_any_agent(&self) -> bool {
        is_in(&self.delegates_to, ALL)
    }
}

fn is_in(list: &[String], name: &str) -> bool {
    list.iter().any(|listed| listed == ALL || listed == name)
}

/// The names that both lists hold, `*` standing for all.
fn common(one: &[String], other: &[String]) -> Vec<String> {
    if is_in(one, ALL) {
        return if is_in(other, ALL) { all() } else { other.to_vec() };
    }
    one.iter().filter(|name| is_in(other, name)).cloned().collect()
}

/// The names that one of the lists holds, `*` standing for all.
fn either(one: &[String], other: &[String]) -> Vec<String> {
    if is_in(one, ALL) || is_in(other, ALL) {
        return all();
    }
    let mut names: Vec<String> = one.iter().chain(other).cloned().collect();
    names.sort();
    names.dedup();
    names
}

/// Origin of a task and what follows from it. Only the tool `create_task` and delegated steps write it; it is empty for a
/// task of a person, a schedule or a program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lineage {
    /// Root of the tree; `None` when the task is the root.
    pub root: Option<TaskId>,
    /// Generations above it.
    pub generation: u32,
    /// The most it may do.
    pub rights: Rights,
    /// What its parent handed over.
    pub handover: Option<Handover>,
    /// Where the step came from that the task carries out; `None` for a task that is no step.
    pub step: Option<StepOrigin>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::conversation::Usage;

    fn rights(tools: &[&str], needs_approval: &[&str], delegates_to: &[&str]) -> Rights {
        let list = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Rights {
            tools: list(tools),
            needs_approval: list(needs_approval),
            delegates_to: list(delegates_to),
            egress: all(),
        }
    }

    #[test]
    fn rights_only_ever_narrow() {
        let all = Rights::default();
        let some = rights(&["a", "b"], &["a"], &["x", "y"]);
        let other = rights(&["b", "c"], &["b"], &["y"]);
        assert_eq!(all.and(&all), all);
        assert_eq!((all.and(&some), some.and(&all)), (some.clone(), some.clone()));
        assert_eq!(some.and(&other), rights(&["b"], &["a", "b"], &["y"]));
        assert_eq!(some.and(&rights(&[], &["*"], &[])), rights(&[], &["*"], &[]));
        for (one, two) in [(&all, &some), (&some, &other), (&other, &all)] {
            let both = one.and(two);
            for name in ["a", "b", "c", "x", "y"] {
                assert_eq!(both.allows_tool(name), one.allows_tool(name) && two.allows_tool(name), "{name}");
                assert_eq!(both.allows_agent(name), one.allows_agent(name) && two.allows_agent(name), "{name}");
            }
        }
    }

    #[test]
    fn rights_that_are_not_understood_whole_are_not_read_in_part() {
        for wrong in [json!({"tool": ["a"]}), json!({"tools": ["a"], "more": 1}), json!({"tools": "a"}), json!([])] {
            assert_eq!(Rights::read(&wrong), None, "{wrong}");
        }
        let (none, some) = (Rights::none(), rights(&["a"], &[], &["x"]));
        assert_eq!((none.and(&some), none.and(&Rights::default())), (none.clone(), none.clone()));
        assert!(!none.allows_tool("a") && !none.allows_agent("x"));
    }

    #[test]
    fn runs_of_an_older_version_count_once_for_each_task() {
        let spent = |calls: u32| Spent { model_calls: calls, active_ms: u64::from(calls) * 10, ..Spent::default() };
        let (one, two) = (TaskId::Number(1), TaskId::Number(2));
        let runs =
            [(one, spent(2), None), (one, spent(5), None), (two, spent(1), None), (one, spent(9), Some(spent(5)))];
        let total = TreeSpent::of_runs(runs.iter().map(|(task, spent, carried)| (*task, spent, carried.as_ref())));
        assert_eq!((total.model_calls, total.active_ms), (10, 100));
    }

    #[test]
    fn a_run_counts_beside_the_others_what_it_spends_itself() {
        let spent = |calls: u32, tokens: u64, cost_usd: f64, active_ms: u64| Spent {
            model_calls: calls,
            usage: Usage { prompt_tokens: tokens, completion_tokens: 0 },
            cost_usd,
            active_ms,
            ..Spent::default()
        };
        let budget =
            TreeBudget { max_tasks: 9, max_model_calls: 10, max_tokens: 1_000, max_cost_usd: 2.0, max_duration_s: 5 };
        let elsewhere = TreeSpent { model_calls: 6, tokens: 500, cost_usd: 1.0, active_ms: 2_000 };
        let carried = spent(2, 100, 0.5, 1_000);
        let account = TreeAccount { root: TaskId::Number(1), budget, elsewhere, carried };
        assert_eq!(account.exhausted_by(&spent(5, 599, 1.4, 3_999), 0), None);
        for (spent, in_flight, expected) in [
            (spent(6, 100, 0.5, 1_000), 0, "tree.max_model_calls of 10 (10 made)"),
            (spent(5, 100, 0.5, 1_000), 1, "tree.max_model_calls of 10 (9 made)"),
            (spent(2, 600, 0.5, 1_000), 0, "tree.max_tokens of 1000 (1000 used)"),
            (spent(2, 100, 1.5, 1_000), 0, "tree.max_cost_usd of 2 (2.0000 used)"),
            (spent(2, 100, 0.5, 4_000), 0, "tree.max_duration_s of 5"),
        ] {
            let failure = account.exhausted_by(&spent, in_flight).expect("a limit");
            assert_eq!(failure.budget, Some(BudgetLimit::Tree));
            assert!(failure.message.starts_with("task 1 and its descendants"), "{failure}");
            assert!(failure.message.contains(expected), "{failure}");
        }
    }
}
