//! Checks a plan of a model before anything runs, and reports all its mistakes, so that one repair can fix them.

use std::collections::HashSet;
use std::sync::Arc;

use super::prompts::clipped;
use crate::domain::files::{FILES, TaskFile};
use crate::domain::plan::{Outputs, Plan, PlanError, PlanStep, referenced, target};
pub(super) use crate::domain::plan_faults::stringify_for;
use crate::domain::plan_faults::{argument_faults, missing_field, missing_files};
use crate::domain::tool::{ToolSpec, as_artifact_output, resolve_name};

/// Most mistakes in one report.
const MAX_MISTAKES: usize = 8;
/// Most bytes of each.
const MISTAKE_BYTES: usize = 1_000;

/// Corrects tool names that differ from a known name in spelling only.
pub(super) fn correct_tool_names(steps: &mut [PlanStep], tools: &[&str]) {
    for name in steps.iter_mut().flat_map(|step| step.tool.iter_mut().chain(step.tools.iter_mut().flatten())) {
        if let Some(tool) = resolve_name(name, tools) {
            tool.clone_into(name);
        }
    }
}

/// Checks the new `steps` of `whole`, which has the done steps, too; `outputs` are the outputs of the done steps.
///
/// # Errors
/// The mistakes, in sentences for the model.
pub(super) fn check(
    whole: &Plan,
    steps: &[PlanStep],
    outputs: &impl Outputs,
    tools: &[Arc<ToolSpec>],
    files: &[TaskFile],
) -> Result<(), String> {
    // A plan that is too large is not checked any further.
    whole.check_size().map_err(|error| error.to_string())?;
    let known: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    let ids: HashSet<&str> = steps.iter().map(|step| step.id.as_str()).collect();
    let mut mistakes: Vec<String> = Vec::new();
    for step in steps {
        match step.tool.as_deref().map(|name| (name, find(tools, name))) {
            Some((name, None)) => {
                let (step, tool, known) = (step.id.clone(), name.to_owned(), known.join(", "));
                mistakes.push(PlanError::UnknownTool { step, tool, known }.to_string());
            }
            Some((_, Some(tool))) => mistakes.extend(argument_faults(step, tool)),
            None => {
                let unknown = step.tools.iter().flatten().filter(|name| !known.contains(&name.as_str()));
                mistakes.extend(unknown.map(|name| {
                    let (step, tool, known) = (step.id.clone(), name.clone(), known.join(", "));
                    PlanError::UnknownTool { step, tool, known }.to_string()
                }));
            }
        }
        mistakes.extend(bad_braces(step, &ids));
        mistakes.extend(bad_references(step, steps, outputs, tools));
    }
    if whole.steps.iter().all(|step| step.id != FILES) {
        mistakes.extend(missing_files(steps, files));
    }
    // Unknown tools are reported already, and would hide other mistakes.
    let named = whole.steps.iter().flat_map(|step| step.tool.iter().chain(step.tools.iter().flatten()));
    let named = named.map(String::as_str);
    let all: Vec<&str> = known.iter().copied().chain(named).collect();
    if let Err(error) = whole.validate(&all) {
        mistakes.insert(0, error.to_string());
    }
    let shown: Vec<&str> = mistakes.iter().take(MAX_MISTAKES).map(|mistake| clipped(mistake, MISTAKE_BYTES)).collect();
    if shown.is_empty() { Ok(()) } else { Err(shown.join("; ")) }
}

fn find<'a>(tools: &'a [Arc<ToolSpec>], name: &str) -> Option<&'a ToolSpec> {
    tools.iter().map(Arc::as_ref).find(|tool| tool.name == name)
}

/// Mistakes: references in the spelling of template languages.
fn bad_braces(step: &PlanStep, ids: &HashSet<&str>) -> Vec<String> {
    let texts = step.texts().into_iter();
    let inner = texts.flat_map(|text| in_braces(text, ids)).take(MAX_MISTAKES);
    inner
        .map(|inner| format!("step {:?}: {{{{{inner}}}}} is no reference; write ${{{}}}", step.id, inner.trim()))
        .collect()
}

/// Mistakes: references to fields that their target does not have.
fn bad_references(step: &PlanStep, steps: &[PlanStep], outputs: &impl Outputs, tools: &[Arc<ToolSpec>]) -> Vec<String> {
    let (mut mistakes, known) = (Vec::new(), tools.iter().map(Arc::as_ref).collect::<Vec<_>>());
    for text in step.texts() {
        for reference in referenced(text) {
            let id = reference.split('.').next().unwrap_or_default();
            if let Some(output) = outputs.output(id) {
                // An artifact is read before the step starts.
                if as_artifact_output(output).is_none() && target(reference, outputs).is_none() {
                    mistakes
                        .push(format!("step {:?}: ${{{reference}}} points at nothing in the output of {id}", step.id));
                }
                continue;
            }
            mistakes.extend(missing_field(step, reference, steps, &known));
        }
    }
    mistakes
}

/// Texts in double braces in `text` that begin with the id of a step.
fn in_braces<'a>(text: &'a str, ids: &HashSet<&str>) -> impl Iterator<Item = &'a str> {
    let inner = text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}").map(|(inner, _)| inner));
    inner.filter(|inner| inner.trim().split('.').next().is_some_and(|id| ids.contains(id)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::domain::tool::{Effect, artifact_output};

    fn tools() -> Vec<Arc<ToolSpec>> {
        let calculate = ToolSpec {
            name: "calculate".to_owned(),
            description: "Computes. Answers {\"value\": text, \"exact\": whether nothing was rounded}.".to_owned(),
            parameters: json!({"type": "object", "additionalProperties": false, "required": ["expression"], "properties": {
                "expression": {"type": "string", "minLength": 3}, "digits": {"type": "integer"},
                "mode": {"type": "string", "enum": ["a", "b"]}}}),
            output: json!(true),
            effect: Effect::Read,
            idempotent: true,
            untrusted: false,
        };
        let look = ToolSpec {
            name: "look".to_owned(),
            description: "Looks.".to_owned(),
            parameters: json!({}),
            ..calculate.clone()
        };
        vec![Arc::new(calculate), Arc::new(look)]
    }

    fn checked(steps: &Value) -> Result<(), String> {
        let plan: Plan = serde_json::from_value(json!({"steps": steps})).expect("a plan");
        check(&plan, &plan.steps, &HashMap::<String, Value>::new(), &tools(), &[])
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let mistakes = checked(&json!([
            {"id": "a", "tool": "calculate", "arguments": {"expr": "10!"}},
            {"id": "b", "tool": "fly"},
            {"id": "c", "tool": "look", "arguments": {"x": "${a.result}", "y": "{{ a.value }}", "z": "${a.value}"}},
            {"id": "d", "tool": "look", "depends_on": ["nowhere"]},
        ]))
        .expect_err("mistakes");
        for expected in [
            "requires the argument \"expression\"",
            "unknown tool \"fly\"",
            "${a.result}: calculate answers only value, exact",
            "{{ a.value }} is no reference; write ${a.value}",
            "unknown step \"nowhere\"",
        ] {
            assert!(mistakes.contains(expected), "{expected}: {mistakes}");
        }
        assert!(!mistakes.contains("${a.value}: "), "{mistakes}");
    }

    #[test]
    fn a_reference_to_a_done_step_must_point_at_something() {
        let steps: Vec<PlanStep> = serde_json::from_value(json!([
            {"id": "b", "tool": "look", "arguments": {"x": "${a.n}", "y": "${a.m}"}}]))
        .expect("steps");
        let whole = Plan {
            steps: [PlanStep { id: "a".to_owned(), ..steps[0].clone() }, steps[0].clone()].to_vec(),
            answer: None,
        };
        let whole = Plan {
            steps: whole.steps.into_iter().map(|step| PlanStep { arguments: Value::Null, ..step }).collect(),
            answer: None,
        };
        let outputs = HashMap::from([("a".to_owned(), json!({"n": 1}))]);
        let mistakes = check(&whole, &steps, &outputs, &tools(), &[]).expect_err("a mistake");
        assert!(mistakes.contains("${a.m} points at nothing") && !mistakes.contains("${a.n}"), "{mistakes}");
    }

    #[test]
    fn a_reference_into_an_output_that_became_an_artifact_is_right_until_it_is_read_back() {
        let steps: Vec<PlanStep> = serde_json::from_value(json!([
            {"id": "b", "tool": "look", "arguments": {"x": "${page.body}", "y": "${page.rows.0.id}", "z": "${near.body}"}}]))
        .expect("steps");
        let done = |id: &str| PlanStep { id: id.to_owned(), arguments: Value::Null, ..steps[0].clone() };
        let whole = Plan { steps: vec![done("page"), done("near"), done("b")], answer: None };
        let apart = artifact_output("look-1.json", 50_000, "{");
        let outputs = HashMap::from([("page".to_owned(), apart), ("near".to_owned(), json!({"n": 1}))]);
        let mistakes = check(&whole, &steps, &outputs, &tools(), &[]).expect_err("a mistake");
        assert!(mistakes.contains("${near.body} points at nothing") && !mistakes.contains("page"), "{mistakes}");
    }
}
