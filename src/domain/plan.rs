//! A plan: steps, what each needs, and the references between them.

use std::collections::HashSet;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::approval::requirement::ApprovalRequirement;
use super::files::FILES;
pub use each::ITEM;
use references::references;
pub use references::{
    MAX_EXPANDED_BYTES, MAX_EXPANDED_MEMORY, Outputs, Unresolved, check_targets, collect_texts, filled, has_references,
    is_one_reference, referenced, resolve, target, targets_of, unescaped, with_references,
};
pub use size::{MAX_NESTING, MAX_PLAN_BYTES, MAX_PLAN_MEMORY, MAX_REFERENCES, MAX_STEP_REFERENCES, MAX_STEPS};

mod cycle;
mod each;
mod references;
mod size;

/// First part of a reference to the result of another task: `${deps.ID.result}`. No step may have this id.
pub const DEPS: &str = "deps";
/// Highest priority of a task, and of a step that becomes one.
pub const MAX_PRIORITY: u8 = 10;
/// Characters of a name or reference that an error shows.
const SHOWN_CHARS: usize = 100;

/// Steps that together reach a goal. They run as a graph, as parallel as their dependencies allow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Plan {
    /// The steps, in any order.
    pub steps: Vec<PlanStep>,
    /// The step whose output is the result of the whole; without one, the outputs that no other step uses are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

impl<'de> Deserialize<'de> for Plan {
    /// Reads an object with `steps`, or the list of the steps alone.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Steps;

        impl<'de> Visitor<'de> for Steps {
            type Value = Plan;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object with steps, or a list of steps")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Plan, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(list)).map(|steps| Plan { steps, answer: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Plan, A::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Whole {
                    steps: Vec<PlanStep>,
                    #[serde(default)]
                    answer: Option<String>,
                }
                Whole::deserialize(MapAccessDeserializer::new(map))
                    .map(|Whole { steps, answer }| Plan { steps, answer })
            }
        }

        deserializer.deserialize_any(Steps)
    }
}

/// One step: a call of a tool, or an instruction that needs judgement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanStep {
    /// Name of the step, unique in the plan: letters, digits, `_` and `-`.
    pub id: String,
    /// Tool to call; without one, `instruction` is carried out by the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Arguments of the tool. Text may hold references to outputs of other steps: `${s1}`, `${s1.field.0}`, and to results
    /// of tasks that this one depends on: `${deps.ID.result}`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub arguments: Value,
    /// Instruction for the model; may hold references.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// The only tools that the model may call for `instruction`; all that the agent may use when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// A reference to a list, such as `${page.rows}`: the step is carried out once for each element, which is `${item}` in it, and
    /// its output is the list of the outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<String>,
    /// Steps that must succeed first. References count as dependencies by themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// Capability that the step needs. When the agent of the run lacks it, an agent that has it carries out the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
    /// Priority of the task that the step becomes for another agent, 0 to 10; that of the task when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Estimated duration, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_s: Option<u32>,
    /// Whether a person must approve its calls, each one.
    #[serde(default, skip_serializing_if = "ApprovalRequirement::is_none")]
    pub approval: ApprovalRequirement,
}

impl Plan {
    /// Whether a step is an instruction, which only a model can carry out.
    #[must_use]
    pub fn needs_judgement(&self) -> bool {
        self.steps.iter().any(|step| step.instruction.is_some())
    }
}

/// Why a plan is invalid. Each error names the step at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// More steps than [`MAX_STEPS`].
    #[error("the plan has {0} steps; at most {MAX_STEPS} are allowed")]
    TooLong(usize),
    /// More bytes than [`MAX_PLAN_BYTES`].
    #[error("the plan has {0} bytes; at most {MAX_PLAN_BYTES} are allowed: put long texts into artifacts or files")]
    TooLarge(usize),
    /// Arguments that take more memory than [`MAX_PLAN_MEMORY`].
    #[error(
        "the values in the plan take {0} bytes of memory; at most {MAX_PLAN_MEMORY} are allowed: use fewer of them"
    )]
    TooManyValues(usize),
    /// Nested deeper than [`MAX_NESTING`].
    #[error("the plan is nested deeper than {MAX_NESTING} levels: flatten the arguments of its steps")]
    TooDeep,
    /// A step with more references than [`MAX_STEP_REFERENCES`].
    #[error("step {step:?} has {count} references and dependencies; at most {MAX_STEP_REFERENCES} are allowed")]
    TooManyStepReferences {
        /// The step.
        step: String,
        /// How many it has.
        count: usize,
    },
    /// More references than [`MAX_REFERENCES`].
    #[error("the plan has {0} references and dependencies; at most {MAX_REFERENCES} are allowed")]
    TooManyReferences(usize),
    /// A name that references could not express.
    #[error("step id {0:?} is not allowed: use 1 to 64 letters, digits, _ and -")]
    BadId(String),
    /// A name that means something else in references.
    #[error("step id {DEPS:?} is not allowed: ${{{DEPS}.ID.result}} refers to tasks that this one depends on")]
    Reserved,
    /// Two steps of one name.
    #[error("step {0:?} appears twice")]
    Duplicate(String),
    /// Neither or both of `tool` and `instruction`.
    #[error("step {0:?} must have exactly one of tool and instruction")]
    NoAction(String),
    /// Arguments that are no object.
    #[error("step {0:?}: arguments must be a JSON object")]
    BadArguments(String),
    /// A priority that no task can have.
    #[error("step {step:?}: priority {priority} is out of range: use 0 to {MAX_PRIORITY}")]
    BadPriority {
        /// The step.
        step: String,
        /// Its priority.
        priority: u8,
    },
    /// A capability that no agent can have.
    #[error("step {0:?}: capability must have 1 to 200 characters")]
    BadCapability(String),
    /// A tool that does not exist or is not allowed here.
    #[error("step {step:?} uses unknown tool {tool:?}; known are: {known}")]
    UnknownTool {
        /// The step.
        step: String,
        /// The tool it names.
        tool: String,
        /// Tools there are.
        known: String,
    },
    /// A dependency on, or reference to, a step that is not in the plan.
    #[error("step {step:?} depends on unknown step {dependency:?}")]
    UnknownStep {
        /// The step.
        step: String,
        /// What it names.
        dependency: String,
    },
    /// An `answer` that names no step.
    #[error("answer names step {answer:?}, which the plan does not have; its steps are: {known}")]
    UnknownAnswer {
        /// What it names.
        answer: String,
        /// The steps.
        known: String,
    },
    /// An `each` that is not one reference.
    #[error("step {0:?}: each must be one reference to a list and nothing else, such as ${{page.rows}}")]
    BadEach(String),
    /// A step with `each` that says nothing of the element.
    #[error("step {0:?} runs once for each element of a list, but does not refer to the element: write ${{{ITEM}}}")]
    NoItem(String),
    /// A step whose name means the element of a list.
    #[error("step id {ITEM:?} is not allowed in a plan with each: ${{{ITEM}}} refers to the element")]
    ReservedItem,
    /// Steps that wait for each other.
    #[error("the plan has a cycle: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
}

impl Plan {
    /// Checks that the plan can be carried out with the tools named in `tools`.
    ///
    /// # Errors
    /// The first [`PlanError`] found.
    pub fn validate(&self, tools: &[&str]) -> Result<(), PlanError> {
        self.faults(tools).into_iter().next().map_or(Ok(()), Err)
    }

    /// Everything for which the plan cannot be carried out with the tools named in `tools`. A plan that exceeds a bound is not
    /// checked any further.
    #[must_use]
    pub fn faults(&self, tools: &[&str]) -> Vec<PlanError> {
        if let Err(error) = self.check_size() {
            return vec![error];
        }
        let (mut faults, mut ids) = (Vec::new(), HashSet::new());
        for step in &self.steps {
            faults.extend(step.validate(tools).err());
            if !ids.insert(step.id.as_str()) {
                faults.push(PlanError::Duplicate(step.id.clone()));
            }
        }
        for step in &self.steps {
            let unknown = step.dependencies().into_iter().filter(|id| !ids.contains(id) && *id != FILES);
            faults.extend(
                unknown.map(|dependency| PlanError::UnknownStep {
                    step: step.id.clone(),
                    dependency: clipped(dependency),
                }),
            );
        }
        if ids.contains(ITEM) && self.steps.iter().any(|step| step.each.is_some()) {
            faults.push(PlanError::ReservedItem);
        }
        if let Some(answer) = self.answer.as_deref().filter(|answer| !ids.contains(answer)) {
            let known: Vec<&str> = self.steps.iter().map(|step| step.id.as_str()).collect();
            faults.push(PlanError::UnknownAnswer { answer: clipped(answer), known: known.join(", ") });
        }
        if faults.is_empty() {
            faults.extend(self.find_cycle().map(PlanError::Cycle));
        }
        faults
    }
}

impl PlanStep {
    fn validate(&self, tools: &[&str]) -> Result<(), PlanError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if self.id.is_empty() || self.id.len() > 64 || !self.id.chars().all(allowed) {
            return Err(PlanError::BadId(clipped(&self.id)));
        }
        if self.id == DEPS {
            return Err(PlanError::Reserved);
        }
        if self.tool.is_some() == self.instruction.is_some() {
            return Err(PlanError::NoAction(self.id.clone()));
        }
        if !self.arguments.is_null() && !self.arguments.is_object() {
            return Err(PlanError::BadArguments(self.id.clone()));
        }
        if let Some(priority) = self.priority.filter(|priority| *priority > MAX_PRIORITY) {
            return Err(PlanError::BadPriority { step: self.id.clone(), priority });
        }
        if self.capability.as_deref().is_some_and(|name| name.trim().is_empty() || name.chars().count() > 200) {
            return Err(PlanError::BadCapability(self.id.clone()));
        }
        self.check_each()?;
        let mut named = self.tool.iter().chain(self.tools.iter().flatten());
        named.find(|tool| !tools.contains(&tool.as_str())).map_or(Ok(()), |tool| {
            Err(PlanError::UnknownTool { step: self.id.clone(), tool: clipped(tool), known: tools.join(", ") })
        })
    }

    /// Every step that this step depends on: by name or by reference, each once. `files` stands for the files of the task where
    /// no step is called so.
    #[must_use]
    pub fn dependencies(&self) -> Vec<&str> {
        let mut found: Vec<&str> = self.depends_on.iter().map(String::as_str).collect();
        let used = self.texts().into_iter().flat_map(|text| references(text).map(|reference| reference.step()));
        found.extend(used.filter(|step| self.each.is_none() || *step != ITEM));
        found.retain(|step| *step != DEPS);
        let mut seen = HashSet::new();
        found.retain(|step| seen.insert(*step));
        found
    }
}

/// The beginning of a text from outside, for an error: the text may be as long as a plan.
fn clipped(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn plan(steps: impl Into<Value>) -> Plan {
        serde_json::from_value(json!({ "steps": steps.into() })).expect("a plan")
    }

    #[test]
    fn the_list_of_the_steps_is_a_plan_too() {
        let steps = json!([{"id": "a", "tool": "calculate"}]);
        assert_eq!(serde_json::from_value::<Plan>(steps.clone()).expect("a plan"), plan(steps));
        let fault = |value| serde_json::from_value::<Plan>(value).expect_err("no plan").to_string();
        assert_eq!(fault(json!("x")), "invalid type: string \"x\", expected an object with steps, or a list of steps");
        assert!(fault(json!({"steps": [], "more": 1})).contains("more"));
        assert!(fault(json!([{"id": "a", "tol": "calculate"}])).contains("tol"));
    }

    #[test]
    fn each_fault_names_its_step() {
        let tools = ["calculate"];
        let fault = |steps| plan(steps).validate(&tools).expect_err("a fault").to_string();
        assert_eq!(plan(json!([])).validate(&tools), Ok(()));
        assert!(fault(json!([{"id": "a b", "tool": "calculate"}])).contains("\"a b\""));
        assert!(fault(json!([{"id": "a", "tool": "fly"}])).contains("unknown tool \"fly\"; known are: calculate"));
        assert!(fault(json!([{"id": "a"}])).contains("exactly one"));
        assert!(fault(json!([{"id": "a", "tool": "calculate", "arguments": [1]}])).contains("object"));
        assert!(fault(json!([{"id": "a", "tool": "calculate", "depends_on": ["z"]}])).contains("unknown step \"z\""));
        assert!(
            fault(json!([{"id": "a", "tool": "calculate", "arguments": {"x": "${q.r}"}}]))
                .contains("unknown step \"q\"")
        );
        assert!(fault(json!([{"id": "a", "instruction": "x", "tools": ["fly"]}])).contains("unknown tool \"fly\""));
        let without =
            serde_json::from_value::<Plan>(json!({"steps": [{"id": "a", "tool": "calculate"}], "answer": "b"}));
        let error = without.expect("a plan").validate(&tools).expect_err("a fault").to_string();
        assert_eq!(error, "answer names step \"b\", which the plan does not have; its steps are: a");
        assert!(
            fault(json!([{"id": "a", "tool": "calculate", "priority": 11}])).contains("priority 11 is out of range")
        );
        assert!(fault(json!([{"id": "a", "tool": "calculate", "capability": " "}])).contains("capability must have 1"));
        let twice = json!([{"id": "a", "tool": "calculate"}, {"id": "a", "tool": "calculate"}]);
        assert!(fault(twice).contains("twice"));
    }

    #[test]
    fn a_cycle_is_named_step_by_step() {
        let circular = plan(json!([
            {"id": "start", "instruction": "go"},
            {"id": "a", "instruction": "use ${c}", "depends_on": ["start"]},
            {"id": "b", "instruction": "x", "depends_on": ["a"]},
            {"id": "c", "instruction": "x", "depends_on": ["b"]},
            {"id": "behind", "instruction": "x", "depends_on": ["c"]},
        ]));
        let Err(PlanError::Cycle(cycle)) = circular.validate(&[]) else { panic!("a cycle") };
        assert_eq!(cycle.first(), cycle.last());
        assert_eq!(cycle.len(), 4, "{cycle:?}");
        let itself = plan(json!([{"id": "a", "instruction": "x", "depends_on": ["a"]}]));
        assert_eq!(itself.validate(&[]), Err(PlanError::Cycle(vec!["a".into(), "a".into()])));
    }

    #[test]
    fn results_of_other_tasks_are_no_steps() {
        let step =
            |id: &str| serde_json::json!({"id": id, "tool": "t", "arguments": {"x": "${deps.7.result.sum} ${b}"}});
        let plan = |steps: Value| serde_json::from_value::<Plan>(json!({"steps": steps})).expect("a plan");
        let fine = plan(json!([step("a"), {"id": "b", "tool": "t"}]));
        assert_eq!(fine.validate(&["t"]), Ok(()));
        assert_eq!(fine.steps[0].dependencies(), ["b"]);
        assert_eq!(plan(json!([{"id": "deps", "tool": "t"}])).validate(&["t"]), Err(PlanError::Reserved));
        let outputs = HashMap::from([("deps".to_owned(), json!({"7": {"result": {"sum": 42}}}))]);
        assert_eq!(resolve(&json!("${deps.7.result.sum}"), &outputs), Ok(json!(42)));
    }

    /// Steps that depend on each other at random.
    fn any_plan() -> impl Strategy<Value = Plan> {
        let id = || proptest::sample::select(vec!["a", "b", "c", "d", "e"]);
        let text = prop_oneof![Just(String::new()), id().prop_map(|id| format!("use ${{{id}.x}}")), "[${}.a-c]{0,8}"];
        let step = (id(), proptest::collection::vec(id(), 0..2), text, any::<bool>()).prop_map(
            |(id, depends_on, text, is_tool)| {
                let action = if is_tool {
                    json!({"tool": "t", "arguments": {"x": [text]}})
                } else {
                    json!({"instruction": text})
                };
                let mut step = json!({"id": id, "depends_on": depends_on});
                step.as_object_mut().expect("an object").extend(action.as_object().expect("an object").clone());
                step
            },
        );
        proptest::collection::vec(step, 0..6).prop_map(|steps| plan(Value::from(steps)))
    }

    /// Whether the steps can be done one after another.
    fn can_be_done(plan: &Plan) -> bool {
        let mut left: Vec<&PlanStep> = plan.steps.iter().collect();
        loop {
            let ids: Vec<&str> = left.iter().map(|step| step.id.as_str()).collect();
            let before = left.len();
            left.retain(|step| step.dependencies().iter().any(|dependency| ids.contains(dependency)));
            if left.is_empty() || left.len() == before {
                return left.is_empty();
            }
        }
    }

    proptest! {
        #[test]
        fn a_plan_is_valid_when_its_steps_can_be_done(plan in any_plan()) {
            let ids: HashSet<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
            let is_known = |step: &PlanStep| step.dependencies().iter().all(|dependency| ids.contains(dependency));
            let is_fine = ids.len() == plan.steps.len() && plan.steps.iter().all(is_known) && can_be_done(&plan);
            let validated = plan.validate(&["t"]);
            prop_assert_eq!(validated.is_ok(), is_fine, "{:?}", validated);
            if let Err(PlanError::Cycle(cycle)) = validated {
                for pair in cycle.windows(2) {
                    let step = plan.steps.iter().find(|step| step.id == pair[0]).expect("a step");
                    prop_assert!(step.dependencies().contains(&pair[1].as_str()), "{cycle:?}");
                }
            }
            let written = serde_json::to_value(&plan).expect("JSON");
            prop_assert_eq!(serde_json::from_value::<Plan>(written).expect("a plan"), plan);
        }
    }
}
