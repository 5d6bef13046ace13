//! What is wrong with a plan that a model made, found before anything runs: all of it, so that one repair can mend it.

use std::collections::HashMap;
use std::sync::Arc;

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value};

use crate::domain::plan::{Plan, PlanError, PlanStep, referenced, resolve};
use crate::domain::tool::{ToolSpec, kept_apart, meant};

/// Mistakes told at once.
const MAX_MISTAKES: usize = 8;
/// Fields of an output that was too long for the run.
const OFFLOADED: [&str; 3] = ["artifact", "bytes", "preview"];

/// Sets the names of tools right that are nearly right.
pub(super) fn set_names(steps: &mut [PlanStep], tools: &[&str]) {
    for name in steps.iter_mut().filter_map(|step| step.tool.as_mut()) {
        if let Some(tool) = meant(name, tools) {
            tool.clone_into(name);
        }
    }
}

/// Everything wrong with the new `steps` of `whole`, which has the done ones too; `outputs` are those of the done ones.
///
/// # Errors
/// The mistakes, in words for the model.
pub(super) fn check(
    whole: &Plan,
    steps: &[PlanStep],
    outputs: &HashMap<String, Value>,
    tools: &[Arc<ToolSpec>],
) -> Result<(), String> {
    let known: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
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
        mistakes.extend(bad_references(step, steps, outputs, tools));
    }
    // Unknown tools are told already, and would hide what else is wrong.
    let named = whole.steps.iter().filter_map(|step| step.tool.as_deref());
    let all: Vec<&str> = known.iter().copied().chain(named).collect();
    if let Err(error) = whole.validate(&all) {
        mistakes.insert(0, error.to_string());
    }
    mistakes.truncate(MAX_MISTAKES);
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes.join("; ")) }
}

fn find<'a>(tools: &'a [Arc<ToolSpec>], name: &str) -> Option<&'a ToolSpec> {
    tools.iter().map(Arc::as_ref).find(|tool| tool.name == name)
}

/// Arguments that the tool will refuse, whatever the references in them turn out to be.
fn bad_arguments(step: &PlanStep, tool: &ToolSpec) -> Vec<String> {
    let mut given = match &step.arguments {
        Value::Null => Value::Object(Map::new()),
        Value::Object(_) => step.arguments.clone(),
        // Told as a fault of the plan itself.
        _ => return Vec::new(),
    };
    // As the call will be made.
    as_text(&mut given, &tool.parameters);
    let Ok(validator) = jsonschema::validator_for(&tool.parameters) else { return Vec::new() };
    let told = |error: ValidationError<'_>| {
        let path = error.instance_path().as_str().trim_start_matches('/').replace('/', ".");
        let place = if path.is_empty() { "arguments".to_owned() } else { format!("argument {path:?}") };
        format!("step {:?}, {place} of {}: {error}", step.id, tool.name)
    };
    let mut mistakes: Vec<String> = validator.iter_errors(&given).filter(|error| !is_open(error)).map(told).collect();
    if let (Some(last), Some(properties)) = (mistakes.last_mut(), tool.parameters["properties"].as_object()) {
        let names: Vec<&str> = properties.keys().map(String::as_str).collect();
        *last = format!("{last} (arguments of {}: {})", tool.name, names.join(", "));
    }
    mistakes
}

/// Whether what is wrong may be right once the references are replaced.
fn is_open(error: &ValidationError<'_>) -> bool {
    let value = error.instance().as_ref();
    match error.kind() {
        ValidationErrorKind::Required { .. } | ValidationErrorKind::AdditionalProperties { .. } => false,
        ValidationErrorKind::Type { .. } => is_one_reference(value),
        _ => has_reference(value),
    }
}

/// Whether `value` is a reference and nothing else, which stands for any value.
fn is_one_reference(value: &Value) -> bool {
    let is_whole = |text: &str| referenced(text).first().is_some_and(|inner| text.len() == inner.len() + "${}".len());
    value.as_str().is_some_and(is_whole)
}

fn has_reference(value: &Value) -> bool {
    match value {
        Value::String(text) => !referenced(text).is_empty(),
        Value::Array(items) => items.iter().any(has_reference),
        Value::Object(fields) => fields.values().any(has_reference),
        _ => false,
    }
}

/// References in a spelling of templates, and to fields that their target does not have.
fn bad_references(
    step: &PlanStep,
    steps: &[PlanStep],
    outputs: &HashMap<String, Value>,
    tools: &[Arc<ToolSpec>],
) -> Vec<String> {
    let mut texts = Vec::new();
    collect(&step.arguments, &mut texts);
    texts.extend(step.instruction.as_deref());
    let mut mistakes = Vec::new();
    for text in texts {
        mistakes.extend(
            in_braces(text, steps).map(|inner| {
                format!("step {:?}: {{{{{inner}}}}} is no reference; write ${{{}}}", step.id, inner.trim())
            }),
        );
        for reference in referenced(text) {
            let (target, field) =
                reference.split_once('.').map_or((reference, None), |(id, path)| (id, path.split('.').next()));
            if let Some(output) = outputs.get(target) {
                // What became an artifact is read back before the step begins.
                if kept_apart(output).is_none()
                    && resolve(&Value::String(format!("${{{reference}}}")), outputs).is_err()
                {
                    mistakes.push(format!(
                        "step {:?}: ${{{reference}}} points at nothing in the output of {target}",
                        step.id
                    ));
                }
                continue;
            }
            let made_by =
                steps.iter().find(|step| step.id == target).and_then(|step| find(tools, step.tool.as_deref()?));
            let Some((tool, field)) = made_by.zip(field) else { continue };
            let Some(fields) = answered(&tool.description).filter(|fields| !fields.contains(&field)) else { continue };
            if !OFFLOADED.contains(&field) {
                let fields = fields.join(", ");
                mistakes.push(format!("step {:?}: ${{{reference}}}: {} answers only {fields}", step.id, tool.name));
            }
        }
    }
    mistakes
}

fn collect<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => into.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, into)),
        _ => {}
    }
}

/// What stands in double braces in `text` and begins with the name of a step.
fn in_braces<'a>(text: &'a str, steps: &[PlanStep]) -> impl Iterator<Item = &'a str> {
    let inner = text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}").map(|(inner, _)| inner));
    inner.filter(|inner| steps.iter().any(|step| inner.trim().split('.').next() == Some(step.id.as_str())))
}

/// The fields of the outputs of a tool, as its description names them; `None` when it names none.
fn answered(description: &str) -> Option<Vec<&str>> {
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

/// Puts values in `value` into text where `schema` wants text: JSON as its text.
pub(super) fn as_text(value: &mut Value, schema: &Value) {
    if schema["type"] == "string" && !matches!(value, Value::Null | Value::String(_)) {
        let pretty = serde_json::to_string_pretty(value);
        *value = Value::String(pretty.unwrap_or_else(|_| value.to_string()));
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                as_text(field, &schema["properties"][name.as_str()]);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| as_text(item, &schema["items"])),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::tool::{Effect, keep_apart};

    fn tools() -> Vec<Arc<ToolSpec>> {
        let calculate = ToolSpec {
            name: "calculate".to_owned(),
            description: "Computes. Answers {\"value\": text, \"exact\": whether nothing was rounded}.".to_owned(),
            parameters: json!({"type": "object", "additionalProperties": false, "required": ["expression"], "properties": {
                "expression": {"type": "string", "minLength": 3}, "digits": {"type": "integer"},
                "mode": {"type": "string", "enum": ["a", "b"]}}}),
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
        check(&plan, &plan.steps, &HashMap::new(), &tools())
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
        for (arguments, told) in [
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
            assert!(mistakes.contains(told), "{arguments}: {mistakes}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let mistakes = checked(&json!([
            {"id": "a", "tool": "calculate", "arguments": {"expr": "10!"}},
            {"id": "b", "tool": "fly"},
            {"id": "c", "tool": "look", "arguments": {"x": "${a.result}", "y": "{{ a.value }}", "z": "${a.value}"}},
            {"id": "d", "tool": "look", "depends_on": ["nowhere"]},
        ]))
        .expect_err("mistakes");
        for told in [
            "\"expression\" is a required property",
            "unknown tool \"fly\"",
            "${a.result}: calculate answers only value, exact",
            "{{ a.value }} is no reference; write ${a.value}",
            "unknown step \"nowhere\"",
        ] {
            assert!(mistakes.contains(told), "{told}: {mistakes}");
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
        let apart = keep_apart("look-1.json", 50_000, "{");
        let outputs = HashMap::from([("page".to_owned(), apart), ("near".to_owned(), json!({"n": 1}))]);
        let mistakes = check(&whole, &steps, &outputs, &tools()).expect_err("a mistake");
        assert!(mistakes.contains("${near.body} points at nothing") && !mistakes.contains("page"), "{mistakes}");
    }

    #[test]
    fn the_fields_of_an_answer_are_read_from_a_description() {
        let description = "Lists. Answers {\"files\": [{\"path\", \"kind\"}], \"truncated\"}. More.";
        assert_eq!(answered(description), Some(vec!["files", "truncated"]));
        for none in ["Looks.", "Answers {whatever}", "Answers {\"a\""] {
            assert_eq!(answered(none), None, "{none}");
        }
    }

    #[test]
    fn values_become_text_where_text_is_wanted() {
        let schema = json!({"properties": {"content": {"type": "string"}, "value": {}, "n": {"type": "integer"},
            "list": {"type": "array", "items": {"type": "string"}}}});
        let mut arguments = json!({"content": {"a": [1]}, "value": {"b": 2}, "n": 3, "list": [1, "x", null]});
        as_text(&mut arguments, &schema);
        let content = "{\n  \"a\": [\n    1\n  ]\n}";
        assert_eq!(arguments, json!({"content": content, "value": {"b": 2}, "n": 3, "list": ["1", "x", null]}));
    }
}
