//! Schemas of the model's answers: strict in requests, tolerant in reading.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::json_text::{inner_json, text_or_json};
use super::{statement, wire_arguments};
use crate::domain::approval::ApprovalRequirement;
use crate::domain::conversation::ResponseSchema;
use crate::domain::json::read;
use crate::domain::plan::{MAX_PRIORITY, Plan, PlanStep};
use crate::domain::tool::ToolSpec;

/// Most tools whose arguments a schema describes: endpoints limit the size of schemas.
const MAX_DESCRIBED_TOOLS: usize = 32;

const PLAN_FORM: &str = r#"{"analysis": "what the goal requires", "steps": [
  {"id": "a", "tool": "name of a tool", "arguments": {"name": "value"}, "depends_on": []},
  {"id": "b", "instruction": "what to do with ${a}", "tools": [], "depends_on": []}], "answer": "b"}"#;
const ANSWER_FORM: &str =
    r#"{"outcome": "done, more or impossible", "answer": "the result", "reason": "why the outcome is what it is"}"#;

/// Schema of a plan for `tools`: a step is a call of one of them with its arguments, or an instruction, so that a decoder
/// that is held to the schema can invent neither a tool nor an argument.
///
/// A step names a capability out of `offered`, which other agents have; when there are none, the schema has no word of it.
pub(super) fn plan(tools: &[Arc<ToolSpec>], offered: &[String]) -> ResponseSchema {
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    let plain = plan_of(&plain_step(&names, offered));
    let is_described = (1..=MAX_DESCRIBED_TOOLS).contains(&tools.len());
    let calls = tools.iter().filter(|_| is_described).map(|tool| call_step(tool, offered));
    let kinds: Vec<Value> = calls.chain([instruction_step(&names, offered)]).collect();
    let tolerated = json!({
        "type": ["object", "array"],
        "required": ["steps"],
        "properties": {"steps": {"type": "array", "items": {"type": "object"}}},
        "minItems": 1,
        "items": {"type": "object", "anyOf": [{"required": ["tool"]}, {"required": ["instruction"]}]},
    });
    let union = is_described.then(|| plan_of(&json!({ "anyOf": kinds })));
    let (schema, plain) = union.map_or((plain.clone(), None), |union| (union, Some(plain)));
    ResponseSchema { name: "plan", schema, plain, form: Some(PLAN_FORM), tolerated: Some(tolerated) }
}

fn plan_of(step: &Value) -> Value {
    object(&json!({
        "analysis": {"type": "string", "description": "what the goal requires, in a few sentences"},
        "steps": {"type": "array", "items": step},
        "answer": {"type": ["string", "null"], "description": "instruction step whose output is the result; null for none"},
    }))
}

/// A step of every kind with the properties of all. Without unions there are no free-form objects, so `arguments` is JSON as
/// text.
fn plain_step(tools: &[&str], offered: &[String]) -> Value {
    let names: Vec<Option<&str>> = tools.iter().copied().map(Some).chain([None]).collect();
    let step = json!({
        "tool": {"type": ["string", "null"], "enum": names, "description": "tool to call; null for an instruction step"},
        "arguments": {
            "type": "string",
            "description": "arguments of the tool as the text of a JSON object; \"{}\" for an instruction step",
        },
        "instruction": {"type": ["string", "null"], "description": "what to do with judgement; null for a tool step"},
        "tools": tools_of_step(tools),
    });
    step_with(&step, offered)
}

fn call_step(tool: &ToolSpec, offered: &[String]) -> Value {
    let step = json!({
        "tool": {"type": "string", "enum": [tool.name]},
        "arguments": wire_arguments::schema_of(&tool.parameters),
    });
    step_with(&step, offered)
}

fn instruction_step(tools: &[&str], offered: &[String]) -> Value {
    step_with(&json!({"instruction": {"type": "string"}, "tools": tools_of_step(tools)}), offered)
}

fn tools_of_step(tools: &[&str]) -> Value {
    let name = if tools.is_empty() { json!({"type": "string"}) } else { json!({"type": "string", "enum": tools}) };
    json!({"type": "array", "items": name, "description": "tools that an instruction step may call"})
}

/// The schema of a step with `properties` and with what every step has.
fn step_with(properties: &Value, offered: &[String]) -> Value {
    let mut all = Map::new();
    all.insert(
        "id".to_owned(),
        json!({"type": "string", "description": "short unique name: letters, digits, _ and -"}),
    );
    all.extend(properties.as_object().cloned().unwrap_or_default());
    let others = json!({
        "depends_on": {"type": "array", "items": {"type": "string"}},
        "each": {"type": ["string", "null"], "description": "reference to a list, to do the step for each ${item}; else null"},
        "estimated_s": {"type": ["integer", "null"], "description": "how long it will take, in seconds"},
    });
    all.extend(others.as_object().cloned().unwrap_or_default());
    if !offered.is_empty() {
        let words: Vec<Option<&str>> = offered.iter().map(String::as_str).map(Some).chain([None]).collect();
        let delegated = json!({
            "capability": {"type": ["string", "null"], "enum": words, "description": "what an agent must be able to do for the step; null for you"},
            "priority": {"type": ["integer", "null"], "description": "0 (can wait) to 10 (urgent), for another agent; else null"},
        });
        all.extend(delegated.as_object().cloned().unwrap_or_default());
    }
    object(&Value::Object(all))
}

/// Schema of the final answer.
pub(super) fn answer() -> ResponseSchema {
    let schema = object(&json!({
        "outcome": {"type": "string", "enum": ["done", "more", "impossible"], "description": "how it ended"},
        "answer": {"type": "string", "description": "the result for the author of the goal; empty unless done"},
        "reason": {"type": "string", "description": "why the outcome is what it is; what is missing when it is more"},
    }));
    let any: Vec<Value> =
        ["outcome", "success"].iter().chain(&RESULTS).map(|name| json!({"required": [name]})).collect();
    let tolerated = json!({"type": "object", "anyOf": any});
    ResponseSchema { name: "answer", schema, form: Some(ANSWER_FORM), tolerated: Some(tolerated), plain: None }
}

fn object(properties: &Value) -> Value {
    let required: Vec<&String> = properties.as_object().map(|fields| fields.keys().collect()).unwrap_or_default();
    let required = json!(required);
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// Names under which models give a result.
const RESULTS: [&str; 5] = ["answer", "result", "output", "final_answer", "response"];
/// Words that models write in place of a tool when they mean none.
const NO_TOOL: [&str; 10] = ["", "none", "null", "nil", "n/a", "-", "no", "no_tool", "no tool", "instruction"];

/// How a run ended, as its model declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The goal was reached.
    Done,
    /// Further steps can reach it.
    More,
    /// No step can.
    Impossible,
}

/// The answer of a model that declares how the run ended.
#[derive(Debug, PartialEq)]
pub(super) struct Declared {
    pub(super) outcome: Outcome,
    pub(super) answer: Value,
    pub(super) reason: String,
}

/// Reads the steps of a plan: from the object of the schema, or from a list of steps alone.
///
/// # Errors
/// The mistake, in a sentence for the model.
pub(super) fn read_plan(text: &str) -> Result<Plan, String> {
    let written: Value = read(inner_json(text)).map_err(|error| format!("this is not a plan in JSON: {error}"))?;
    let steps = match &written {
        Value::Array(steps) => Some(steps),
        other => other["steps"].as_array(),
    };
    let steps = steps.ok_or("this is not a plan: it has no list \"steps\"")?;
    let steps = steps.iter().enumerate().map(|(index, step)| read_step(index + 1, step)).collect::<Result<_, _>>()?;
    let answer = written.get("answer").and_then(text_of).filter(|name| !name.is_empty());
    Ok(Plan { steps, answer })
}

/// Reads step number `number`, in the words that models use for the same thing.
fn read_step(number: usize, written: &Value) -> Result<PlanStep, String> {
    let fields = written.as_object().ok_or_else(|| format!("step {number} is no object"))?;
    let first = |names: &[&str]| names.iter().find_map(|name| fields.get(*name).filter(|value| !value.is_null()));
    let text = |names: &[&str]| first(names).and_then(text_of).filter(|text| !text.is_empty());
    let id = text(&["id", "step"]).unwrap_or_else(|| format!("s{number}"));
    let nested = first(&["tool"]).filter(|tool| tool.is_object());
    let tool = match nested {
        Some(tool) => text_of(&tool["name"]),
        None => text(&["tool", "tool_name"]),
    };
    let tool = tool.filter(|name| !NO_TOOL.contains(&name.to_lowercase().as_str()));
    let names = ["arguments", "args", "parameters", "input"];
    let arguments = first(&names).or_else(|| names.iter().find_map(|name| nested?.get(*name))).cloned();
    let arguments = match arguments.unwrap_or_default() {
        Value::String(text) if text.trim().is_empty() => Value::Null,
        Value::String(text) => {
            read(&text).map_err(|error| format!("step {id:?}: arguments must be the text of a JSON object: {error}"))?
        }
        other => other,
    };
    // Models like to describe a tool step in `instruction`; the tool is what counts.
    let instruction = if tool.is_some() { None } else { text(&["instruction", "task", "description"]) };
    let arguments = if tool.is_some() { arguments } else { Value::Null };
    // An instruction that names no tools may call none.
    let tools = instruction.as_ref().map(|_| first(&["tools"]).map(texts_of).unwrap_or_default());
    Ok(PlanStep {
        id,
        tool,
        arguments,
        instruction,
        tools,
        depends_on: first(&["depends_on", "after"]).map(texts_of).unwrap_or_default(),
        each: text(&["each", "for_each"]).map(as_reference),
        capability: text(&["capability"]),
        priority: first(&["priority"])
            .and_then(seconds)
            .and_then(|number| u8::try_from(number.min(MAX_PRIORITY.into())).ok()),
        estimated_s: first(&["estimated_s"]).and_then(seconds),
        approval: ApprovalRequirement::None,
    })
}

/// A list to go through, which models name with and without the braces of a reference.
fn as_reference(list: String) -> String {
    if list.contains("${") { list } else { format!("${{{list}}}") }
}

/// A text, or a number as the text that it is.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A list of texts, or the only one.
fn texts_of(value: &Value) -> Vec<String> {
    let texts = match value {
        Value::Array(items) => items.iter().filter_map(text_of).collect(),
        other => text_of(other).into_iter().collect::<Vec<_>>(),
    };
    texts.into_iter().filter(|text| !text.is_empty()).collect()
}

fn seconds(value: &Value) -> Option<u32> {
    let seconds: f64 = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, which is what is meant")]
    Some(seconds.ceil() as u32)
}

/// Reads a final answer. An `answer` that is JSON, or the text of a JSON object or array, becomes that value. One without
/// `success` is a success when it has a result that does not read like a failure, and when it was all that the model said:
/// what `is_excerpt` of other words may be data that the model only quotes.
///
/// # Errors
/// What is wrong, in words for the model.
pub(super) fn read_answer(text: &str, is_excerpt: bool) -> Result<Declared, String> {
    let written: Value = read(inner_json(text)).map_err(|error| format!("this is not an answer in JSON: {error}"))?;
    let fields = written.as_object().ok_or("this is not an answer: it must be an object with \"answer\"")?;
    let answer = match RESULTS.iter().find_map(|name| fields.get(*name).filter(|value| !value.is_null())) {
        Some(Value::String(text)) => text_or_json(text),
        Some(other) => other.clone(),
        None => Value::Null,
    };
    let has_answer = !(answer.is_null() || answer.as_str().is_some_and(|text| text.trim().is_empty()));
    let error = fields.get("error").filter(|error| says_something(error));
    let declared = declared_outcome(fields)?;
    if declared.is_none() && fields.contains_key("steps") {
        return Err("this is a plan and no answer: give one JSON object with \"outcome\" and \"answer\"".to_owned());
    }
    if declared.is_none() && is_excerpt {
        return Err("it has no \"outcome\" and is not alone: give one JSON object with \"outcome\", and no words \
                    around it"
            .to_owned());
    }
    let fallback = if has_answer && error.is_none() { Outcome::Done } else { Outcome::Impossible };
    let outcome = declared.unwrap_or(fallback);
    let is_done = outcome == Outcome::Done;
    if is_done && !has_answer {
        return Err("the outcome is done, but answer is empty: give the result itself".to_owned());
    }
    if !is_done && declared.is_none() && error.is_none() {
        return Err("the answer is empty: give the result itself, or the outcome impossible and the reason".to_owned());
    }
    if is_done
        && declared.is_none()
        && let Some(words) = statement::failure_within(&written)
    {
        return Err(format!("it has no \"outcome\", and {words:?} reads like a failure: say done, more or impossible"));
    }
    let reasons = fields.get("reason").into_iter().chain(error).filter_map(text_of);
    let reason = reasons.into_iter().find(|reason| !reason.is_empty());
    let reason = reason.or_else(|| if is_done { None } else { text_of(&answer) }).unwrap_or_default();
    Ok(Declared { outcome, answer, reason })
}

/// The outcome that an answer declares, in the words that models use; `None` when it declares none.
fn declared_outcome(fields: &Map<String, Value>) -> Result<Option<Outcome>, String> {
    if let Some(written) = fields.get("outcome").filter(|value| !value.is_null()) {
        let outcome = match written.as_str().map(|word| word.trim().to_lowercase()).as_deref() {
            Some("done" | "success" | "succeeded" | "completed" | "complete") => Outcome::Done,
            Some("more" | "incomplete" | "continue") => Outcome::More,
            Some("impossible" | "failure" | "failed" | "fail") => Outcome::Impossible,
            _ => return Err(format!("\"outcome\" must be done, more or impossible; it is {written}")),
        };
        return Ok(Some(outcome));
    }
    let success = match fields.get("success") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Bool(success)) => *success,
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => true,
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => false,
        Some(other) => return Err(format!("\"success\" must be true or false; it is {other}")),
    };
    Ok(Some(if success { Outcome::Done } else { Outcome::Impossible }))
}

/// Whether a field `error` tells of one.
fn says_something(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) | Value::Number(_) => true,
        Value::String(text) => !["", "none", "null", "nil", "n/a", "-", "no", "false", "no error"]
            .contains(&text.trim().trim_end_matches('.').to_lowercase().as_str()),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

#[cfg(test)]
mod tests;
