//! Delegation: a step that needs a capability which the agent of the run lacks becomes a task for an agent that has it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::failure::Failure;
use super::handover::hand_over_step;
use super::id::TaskId;
use super::plan::{Outputs, PlanStep, Unresolved, with_references};
use super::replica::AgentPresence;
use super::step_origin::StepOrigin;
use super::time::Timestamp;
use super::tree::Rights;

/// Most characters of the goal of a task that carries out a step. Its plan holds the step whole.
const GOAL_CHARS: usize = 4_000;

/// A step that shall become a task, or has become one.
#[derive(Clone, Debug, PartialEq)]
pub struct StepOrder {
    /// Name of the step.
    pub step: String,
    /// The same for every repetition of this order, different for any other of the run.
    pub key: String,
    /// What the agent of the task must be able to do.
    pub capability: String,
    /// Priority of the task; that of the parent when `None`.
    pub priority: Option<u8>,
    /// What to do; `None` when the task was made before and only its state is wanted.
    pub work: Option<StepWork>,
}

/// What the task of a delegated step does.
#[derive(Clone, Debug, PartialEq)]
pub struct StepWork {
    /// Its goal. Outputs stand in it as the names of their references, which refer to nothing there.
    pub goal: String,
    /// The only step of its plan, with references to `values`.
    pub plan: PlanStep,
    /// The outputs that the step refers to.
    pub values: Map<String, Value>,
    /// Where the step came from.
    pub origin: StepOrigin,
}

impl StepWork {
    /// What the task for `step`, which came from `origin`, does. Its references point into `outputs`.
    ///
    /// # Errors
    /// The first reference that points at nothing.
    pub fn new(step: &PlanStep, outputs: &impl Outputs, origin: StepOrigin) -> Result<Self, Unresolved> {
        let (plan, values) = hand_over_step(step, outputs)?;
        Ok(Self { goal: goal_of(step), plan, values, origin })
    }

    /// Whether the agent that carries it out can send nothing that a model composed: it is a call of a tool, with arguments that
    /// come from people.
    #[must_use]
    pub fn sends_nothing_composed(&self) -> bool {
        self.plan.tool.is_some() && self.origin.provenance.is_trusted()
    }
}

fn goal_of(step: &PlanStep) -> String {
    let what = match (&step.instruction, &step.tool) {
        (Some(instruction), _) => with_references(instruction, "${", |name| format!("[{name}]")),
        (None, tool) => format!("call {}", tool.as_deref().unwrap_or_default()),
    };
    let goal = format!("Step {:?}: {what}", step.id);
    match goal.char_indices().nth(GOAL_CHARS) {
        Some((end, _)) => format!("{}…", &goal[..end]),
        None => goal,
    }
}

/// What has become of a [`StepOrder`].
#[derive(Clone, Debug, PartialEq)]
pub enum OrderState {
    /// Its task has not ended.
    UnderWay(UnderWay),
    /// Its task completed with this output.
    Done(Value),
    /// Its task ended otherwise.
    Failed(Failure),
    /// Its task was taken back before an agent began it, or stopped with an earlier run of the parent, and this is why: the step
    /// is ordered anew, unless what the task may have done must not be done twice.
    Withdrawn {
        /// Why.
        reason: String,
        /// Whether an agent had begun the task.
        had_begun: bool,
    },
    /// There is no task, and this is why: the agent of the run carries out the step itself.
    Refused(String),
}

/// A task that carries out a step and has not ended.
#[derive(Clone, Debug, PartialEq)]
pub struct UnderWay {
    /// The task.
    pub task: TaskId,
    /// When its parent looks at it again, although it has not ended.
    pub look_at: Timestamp,
}

/// The tasks that a run waits for, because they carry out its steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awaited {
    /// The tasks.
    pub tasks: Vec<TaskId>,
    /// When the run goes on to look at them, although none has ended.
    pub look_at: Timestamp,
}

/// Who gets a delegated step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// Whichever agent with the capability has room first: when one is busy or gone, another takes the task.
    Capable,
    /// The agent of this name, because the rights of the parent list those that it may give work to.
    Named(String),
}

/// Who gets a step that needs `capability`, from a task with these `rights`: the least loaded agent of the `fleet` that has it,
/// one that works before one that cannot now. `None` when no agent that may get it has it.
#[must_use]
pub fn recipient(capability: &str, fleet: &[AgentPresence], rights: &Rights) -> Option<Recipient> {
    let has = |agent: &&AgentPresence| agent.capabilities.iter().any(|word| word.eq_ignore_ascii_case(capability));
    let able = fleet.iter().filter(has).filter(|agent| rights.allows_agent(&agent.name));
    let least = able.reduce(|best, agent| if is_freer(agent, best) { agent } else { best })?;
    Some(if rights.allows_any_agent() { Recipient::Capable } else { Recipient::Named(least.name.clone()) })
}

/// Whether `one` can sooner take a task than `other`.
fn is_freer(one: &AgentPresence, other: &AgentPresence) -> bool {
    let is_away = |agent: &AgentPresence| agent.paused || agent.model_away.is_some();
    // a/b < c/d without division.
    let is_less_loaded = one.in_flight.saturating_mul(other.capacity) < other.in_flight.saturating_mul(one.capacity);
    match (is_away(one), is_away(other)) {
        (false, true) => true,
        (true, false) => false,
        _ => is_less_loaded,
    }
}

/// Capabilities that agents of the `fleet` have, that may get work from a task with these `rights`, and that an agent with
/// `own` capabilities lacks: each once, sorted.
#[must_use]
pub fn offered(own: &[String], fleet: &[AgentPresence], rights: &Rights) -> Vec<String> {
    let able = fleet.iter().filter(|agent| rights.allows_agent(&agent.name));
    let mut words: Vec<String> = able.flat_map(|agent| &agent.capabilities).map(|word| word.to_lowercase()).collect();
    words.retain(|word| !own.iter().any(|owned| owned.eq_ignore_ascii_case(word)));
    words.sort();
    words.dedup();
    words
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::json;

    use super::*;
    use crate::domain::plan::resolve;
    use crate::domain::replica::ModelAway;

    fn agent(name: &str, capabilities: &[&str], in_flight: usize, capacity: usize) -> AgentPresence {
        AgentPresence {
            name: name.to_owned(),
            capabilities: capabilities.iter().map(ToString::to_string).collect(),
            in_flight,
            capacity,
            paused: false,
            model_away: None,
        }
    }

    fn to_some(names: &[&str]) -> Rights {
        Rights { delegates_to: names.iter().map(ToString::to_string).collect(), ..Rights::default() }
    }

    #[test]
    fn a_step_goes_to_the_least_loaded_agent_that_may_get_it() {
        let mut fleet = vec![agent("a", &["web"], 0, 9), agent("b", &["SQL"], 3, 4), agent("c", &["sql", "web"], 1, 2)];
        let named = |fleet: &[AgentPresence], names: &[&str]| recipient("sql", fleet, &to_some(names));
        assert_eq!(recipient("sql", &fleet, &Rights::default()), Some(Recipient::Capable));
        assert_eq!(named(&fleet, &["a", "b", "c"]), Some(Recipient::Named("c".to_owned())));
        assert_eq!(named(&fleet, &["a", "b"]), Some(Recipient::Named("b".to_owned())));
        assert_eq!(named(&fleet, &["a"]), None);
        assert_eq!(recipient("fly", &fleet, &Rights::default()), None);
        fleet[2].paused = true;
        assert_eq!(named(&fleet, &["b", "c"]), Some(Recipient::Named("b".to_owned())));
        fleet[1].model_away = Some(ModelAway { model: "m".into(), since: None, cause: "gone".into() });
        assert_eq!(named(&fleet, &["b", "c"]), Some(Recipient::Named("c".to_owned())), "one of two that cannot now");
    }

    #[test]
    fn only_what_others_can_do_is_offered() {
        let fleet = [agent("a", &["web", "Sql"], 0, 1), agent("b", &["sql", "fly"], 0, 1)];
        let own = ["WEB".to_owned()];
        assert_eq!(offered(&own, &fleet, &Rights::default()), ["fly", "sql"]);
        assert_eq!(offered(&own, &fleet, &to_some(&["a"])), ["sql"]);
        assert!(offered(&own, &fleet[..1], &to_some(&["b"])).is_empty());
    }

    #[test]
    fn outputs_are_handed_over_as_values_and_never_become_text_of_the_step() {
        let hostile = json!({"name": "${deps.parent.secret} $${x}", "rows": [1, 2]});
        let outputs = HashMap::from([("a".to_owned(), hostile.clone()), ("b".to_owned(), json!("done"))]);
        let step: PlanStep = serde_json::from_value(json!({
            "id": "s", "instruction": "Greet ${a.name}, keep $${this}", "depends_on": ["b"], "capability": "write",
            "priority": 9, "tools": [],
        }))
        .expect("a step");
        let StepWork { goal, plan, values, .. } =
            StepWork::new(&step, &outputs, StepOrigin::unknown()).expect("resolvable");
        assert_eq!(plan.instruction.as_deref(), Some("Greet ${deps.parent.a.name}, keep $${this}"));
        assert_eq!((plan.capability.clone(), plan.priority, plan.depends_on.len()), (None, None, 0));
        assert_eq!(plan.tools, Some(Vec::new()));
        assert_eq!(json!(values), json!({"a": {"name": hostile["name"]}, "b": "done"}));
        assert_eq!(goal, "Step \"s\": Greet [a.name], keep ${this}");
        let gone: PlanStep = serde_json::from_value(json!({"id": "s", "instruction": "${z.y}"})).expect("a step");
        assert!(StepWork::new(&gone, &outputs, StepOrigin::unknown()).is_err());
    }

    #[test]
    fn a_tool_step_has_the_same_arguments_as_at_home() {
        let outputs = HashMap::from([("a".to_owned(), json!({"rows": [{"n": 7}], "t": "x"}))]);
        let step: PlanStep = serde_json::from_value(json!({
            "id": "s", "tool": "t", "arguments": {"n": "${a.rows.0.n}", "text": ["$${a} is ${a.t}"]}, "depends_on": ["a"],
        }))
        .expect("a step");
        let StepWork { plan, values, .. } = StepWork::new(&step, &outputs, StepOrigin::unknown()).expect("resolvable");
        let child = HashMap::from([("deps".to_owned(), json!({ "parent": values }))]);
        assert_eq!(resolve(&plan.arguments, &child), resolve(&step.arguments, &outputs));
    }

    #[test]
    fn a_long_instruction_makes_no_long_goal() {
        let step: PlanStep =
            serde_json::from_value(json!({"id": "s", "instruction": "ü".repeat(60_000)})).expect("a step");
        assert_eq!(goal_of(&step).chars().count(), 4_001);
    }
}
