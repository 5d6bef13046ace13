//! Checks a plan of a model before anything runs, and reports all its mistakes, so that one repair can fix them.

use std::collections::HashSet;
use std::sync::Arc;

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value};

use super::prompts::clipped;
use crate::domain::json::Size;
use crate::domain::plan::{Outputs, Plan, PlanError, PlanStep, has_references, is_one_reference, referenced, target};
use crate::domain::tool::{ToolSpec, as_artifact_output, resolve_name};

/// Most mistakes in one report.
const MAX_MISTAKES: usize = 8;
/// Most bytes of each.
const MISTAKE_BYTES: usize = 1_000;
/// Longest JSON, in bytes, that becomes text with line breaks.
const PRETTY_BYTES: usize = 64 * 1024;
/// Fields of a reference to an artifact, which replaces an output that was too long.
const OFFLOADED: [&str; 3] = ["artifact", "bytes", "preview"];

/// Corrects tool names that differ from a known name in spelling only.
pub(super) fn correct_tool_names(steps: &mut [PlanStep], tools: &[&str]) {
    for name in steps.iter_mut().filter_map(|step| step.tool.as_mut()) {
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
            Some((_, Some(tool))) => mistakes.extend(bad_arguments(step, tool)),
            None => {}
        }
        mistakes.extend(bad_braces(step, &ids));
        mistakes.extend(bad_references(step, steps, outputs, tools));
    }
    // Unknown tools are reported already, and would hide other mistakes.
    let named = whole.steps.iter().filter_map(|step| step.tool.as_deref());
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

/// Mistakes in arguments that no value of a reference can correct.
fn bad_arguments(step: &PlanStep, tool: &ToolSpec) -> Vec<String> {
    let mut given = match &step.arguments {
        Value::Null => Value::Object(Map::new()),
        Value::Object(_) => step.arguments.clone(),
        // Reported as a fault of the plan itself.
        _ => return Vec::new(),
    };
    // As the call will be made.
    stringify_for(&mut given, &tool.parameters);
    let Ok(validator) = jsonschema::validator_for(&tool.parameters) else { return Vec::new() };
    let describe = |error: ValidationError<'_>| {
        let path = error.instance_path().as_str().trim_start_matches('/').replace('/', ".");
        let place = if path.is_empty() { "arguments".to_owned() } else { format!("argument {path:?}") };
        format!("step {:?}, {place} of {}: {error}", step.id, tool.name)
    };
    let closed = validator.iter_errors(&given).filter(|error| !is_open(error));
    let mut mistakes: Vec<String> = closed.take(MAX_MISTAKES).map(describe).collect();
    if let (Some(last), Some(properties)) = (mistakes.last_mut(), tool.parameters["properties"].as_object()) {
        let names: Vec<&str> = properties.keys().map(String::as_str).collect();
        *last = format!("{last} (arguments of {}: {})", tool.name, names.join(", "));
    }
    mistakes
}

/// Whether the error may disappear once the references are resolved.
fn is_open(error: &ValidationError<'_>) -> bool {
    let value = error.instance().as_ref();
    match error.kind() {
        ValidationErrorKind::Required { .. } | ValidationErrorKind::AdditionalProperties { .. } => false,
        ValidationErrorKind::Type { .. } => is_reference(value),
        _ => has_reference(value),
    }
}

/// Whether `value` is a reference and nothing else, which stands for any value.
fn is_reference(value: &Value) -> bool {
    value.as_str().is_some_and(is_one_reference)
}

fn has_reference(value: &Value) -> bool {
    match value {
        Value::String(text) => has_references(text),
        Value::Array(items) => items.iter().any(has_reference),
        Value::Object(fields) => fields.values().any(has_reference),
        _ => false,
    }
}

/// Mistakes: references in the spelling of template languages.
fn bad_braces(step: &PlanStep, ids: &HashSet<&str>) -> Vec<String> {
    let texts = texts_of(step).into_iter();
    let inner = texts.flat_map(|text| in_braces(text, ids)).take(MAX_MISTAKES);
    inner
        .map(|inner| format!("step {:?}: {{{{{inner}}}}} is no reference; write ${{{}}}", step.id, inner.trim()))
        .collect()
}

/// Mistakes: references to fields that their target does not have.
fn bad_references(step: &PlanStep, steps: &[PlanStep], outputs: &impl Outputs, tools: &[Arc<ToolSpec>]) -> Vec<String> {
    let mut mistakes = Vec::new();
    for text in texts_of(step) {
        for reference in referenced(text) {
            let (id, field) =
                reference.split_once('.').map_or((reference, None), |(id, path)| (id, path.split('.').next()));
            if let Some(output) = outputs.output(id) {
                // An artifact is read before the step starts.
                if as_artifact_output(output).is_none() && target(reference, outputs).is_none() {
                    mistakes
                        .push(format!("step {:?}: ${{{reference}}} points at nothing in the output of {id}", step.id));
                }
                continue;
            }
            let made_by = steps.iter().find(|step| step.id == id).and_then(|step| find(tools, step.tool.as_deref()?));
            let Some((tool, field)) = made_by.zip(field) else { continue };
            let Some(fields) = output_fields(&tool.description).filter(|fields| !fields.contains(&field)) else {
                continue;
            };
            if !OFFLOADED.contains(&field) {
                let fields = fields.join(", ");
                mistakes.push(format!("step {:?}: ${{{reference}}}: {} answers only {fields}", step.id, tool.name));
            }
        }
    }
    mistakes
}

fn texts_of(step: &PlanStep) -> Vec<&str> {
    let mut texts = Vec::new();
    collect(&step.arguments, &mut texts);
    texts.extend(step.instruction.as_deref());
    texts
}

fn collect<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => into.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, into)),
        _ => {}
    }
}

/// Texts in double braces in `text` that begin with the id of a step.
fn in_braces<'a>(text: &'a str, ids: &HashSet<&str>) -> impl Iterator<Item = &'a str> {
    let inner = text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}").map(|(inner, _)| inner));
    inner.filter(|inner| inner.trim().split('.').next().is_some_and(|id| ids.contains(id)))
}

/// The output fields of a tool, as its description names them; `None` when it names none.
fn output_fields(description: &str) -> Option<Vec<&str>> {
    let (_, object) = description.split_once("Answers {")?;
    if !object.starts_with('"') {
        return None;
    }
    let mut fields = Vec::new();
    let (mut depth, mut rest) = (1_u32, object);
    while let Some(at) = rest.find(['"', '{', '[', '}', ']']) {
        let (mark, after) = rest[at..].split_at(1);
        rest = after;
        match mark {
            "\"" => {
                let (name, after) = rest.split_once('"')?;
                if depth == 1 {
                    fields.push(name);
                }
                rest = after;
            }
            "{" | "[" => depth += 1,
            _ => depth -= 1,
        }
        if depth == 0 {
            return Some(fields);
        }
    }
    None
}

/// Turns values in `value` into text where `schema` requires text: JSON, indented unless it is too long.
pub(super) fn stringify_for(value: &mut Value, schema: &Value) {
    if schema["type"] == "string" && !matches!(value, Value::Null | Value::String(_)) {
        // Indentation makes text of many small values many times as long.
        let is_short = Size::of(value).text <= PRETTY_BYTES;
        let pretty = is_short.then(|| serde_json::to_string_pretty(value).ok()).flatten();
        *value = Value::String(pretty.unwrap_or_else(|| value.to_string()));
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                stringify_for(field, &schema["properties"][name.as_str()]);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| stringify_for(item, &schema["items"])),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::json;

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
        check(&plan, &plan.steps, &HashMap::<String, Value>::new(), &tools())
    }

    #[test]
    fn arguments_are_held_against_the_schema_with_references_as_wildcards() {
        for arguments in [
            json!({"expression": "1+1"}),
            json!({"expression": "${l}"}),
            json!({"expression": "${l.x} + 1", "digits": "${l.n}"}),
            json!({"expression": "1+1", "mode": "${l}"}),
            json!({"expression": 1000}),
            json!({"expression": {"a": 1}}),
            json!({"expression": ["${l}"], "digits": 3}),
        ] {
            let steps = json!([{"id": "l", "tool": "look"}, {"id": "c", "tool": "calculate", "arguments": arguments}]);
            assert_eq!(checked(&steps), Ok(()), "{arguments}");
        }
        for (arguments, expected) in [
            (json!({"expr": "10!"}), "\"expression\" is a required property"),
            (json!({"expr": "10!"}), "'expr' was unexpected"),
            (json!({}), "(arguments of calculate: "),
            (json!({"expression": 10}), "argument \"expression\" of calculate"),
            (json!({"expression": null}), "argument \"expression\" of calculate"),
            (json!({"expression": "1+1", "digits": "${l} or so"}), "argument \"digits\""),
            (json!({"expression": "1+1", "mode": "c"}), "argument \"mode\""),
        ] {
            let steps = json!([{"id": "l", "tool": "look"}, {"id": "c", "tool": "calculate", "arguments": arguments}]);
            let mistakes = checked(&steps).expect_err("mistakes");
            assert!(mistakes.contains(expected), "{arguments}: {mistakes}");
        }
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
            "\"expression\" is a required property",
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
        let whole = Plan { steps: [PlanStep { id: "a".to_owned(), ..steps[0].clone() }, steps[0].clone()].to_vec() };
        let whole =
            Plan { steps: whole.steps.into_iter().map(|step| PlanStep { arguments: Value::Null, ..step }).collect() };
        let outputs = HashMap::from([("a".to_owned(), json!({"n": 1}))]);
        let mistakes = check(&whole, &steps, &outputs, &tools()).expect_err("a mistake");
        assert!(mistakes.contains("${a.m} points at nothing") && !mistakes.contains("${a.n}"), "{mistakes}");
    }

    #[test]
    fn a_reference_into_an_output_that_became_an_artifact_is_right_until_it_is_read_back() {
        let steps: Vec<PlanStep> = serde_json::from_value(json!([
            {"id": "b", "tool": "look", "arguments": {"x": "${page.body}", "y": "${page.rows.0.id}", "z": "${near.body}"}}]))
        .expect("steps");
        let done = |id: &str| PlanStep { id: id.to_owned(), arguments: Value::Null, ..steps[0].clone() };
        let whole = Plan { steps: vec![done("page"), done("near"), done("b")] };
        let apart = artifact_output("look-1.json", 50_000, "{");
        let outputs = HashMap::from([("page".to_owned(), apart), ("near".to_owned(), json!({"n": 1}))]);
        let mistakes = check(&whole, &steps, &outputs, &tools()).expect_err("a mistake");
        assert!(mistakes.contains("${near.body} points at nothing") && !mistakes.contains("page"), "{mistakes}");
    }

    #[test]
    fn the_fields_of_an_answer_are_read_from_a_description() {
        let description = "Lists. Answers {\"files\": [{\"path\", \"kind\"}], \"truncated\"}. More.";
        assert_eq!(output_fields(description), Some(vec!["files", "truncated"]));
        for none in ["Looks.", "Answers {whatever}", "Answers {\"a\""] {
            assert_eq!(output_fields(none), None, "{none}");
        }
    }

    #[test]
    fn values_become_text_where_text_is_wanted() {
        let schema = json!({"properties": {"content": {"type": "string"}, "value": {}, "n": {"type": "integer"},
            "list": {"type": "array", "items": {"type": "string"}}}});
        let mut arguments = json!({"content": {"a": [1]}, "value": {"b": 2}, "n": 3, "list": [1, "x", null]});
        stringify_for(&mut arguments, &schema);
        let content = "{\n  \"a\": [\n    1\n  ]\n}";
        assert_eq!(arguments, json!({"content": content, "value": {"b": 2}, "n": 3, "list": ["1", "x", null]}));
    }
}
