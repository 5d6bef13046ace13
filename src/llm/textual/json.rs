//! Calls written as JSON objects, in the spellings of models and frameworks.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{MAX_CALLS, UNREADABLE, WrittenCall, names};
use crate::domain::tool::{ToolSpec, resolve_name};
use crate::llm::structured::first_value;

/// Fields with the name of the tool.
pub(super) const NAMES: [&str; 7] =
    ["name", "tool", "tool_name", "function", "function_name", "action", "recipient_name"];
const ARGUMENTS: [&str; 10] = [
    "arguments",
    "parameters",
    "args",
    "input",
    "params",
    "tool_input",
    "action_input",
    "tool_args",
    "kwargs",
    "tool_parameters",
];
/// Fields that say nothing against a call.
const BESIDES: [&str; 13] = [
    "id",
    "type",
    "call_id",
    "tool_call_id",
    "index",
    "thought",
    "thoughts",
    "reasoning",
    "explanation",
    "rationale",
    "comment",
    "description",
    "reason",
];
/// Fields with a call, or a list of calls, inside.
const AROUND: [&str; 8] =
    ["tool_calls", "tool_call", "function_call", "function_calls", "call", "calls", "tool_uses", "tool_use"];

/// The calls that `value` consists of; `None` when any part of it is none.
pub(super) fn all_calls(value: &Value, offered: &[Arc<ToolSpec>]) -> Option<Vec<WrittenCall>> {
    match value {
        Value::Array(items) if !items.is_empty() && items.len() <= MAX_CALLS => {
            let lists: Option<Vec<Vec<WrittenCall>>> = items.iter().map(|item| all_calls(item, offered)).collect();
            Some(lists?.into_iter().flatten().collect())
        }
        Value::Object(fields) => {
            let around = AROUND.iter().find_map(|name| fields.get(*name)).filter(|inner| !inner.is_string());
            if let Some(inner) = around.filter(|_| fields.keys().all(|key| is_beside(key) || AROUND.contains(&&**key)))
            {
                return all_calls(inner, offered);
            }
            // {"type": "function", "function": {"name": …, "arguments": …}}
            if let Some(inner @ Value::Object(_)) = fields.get("function") {
                let rest = fields.keys().all(|key| key == "function" || is_beside(key));
                return rest.then(|| all_calls(inner, offered)).flatten();
            }
            call(fields, offered).map(|call| vec![call])
        }
        _ => None,
    }
}

/// Values one after another, with nothing but separators between them, that are all calls.
pub(super) fn sequence(text: &str, offered: &[Arc<ToolSpec>]) -> Option<Vec<WrittenCall>> {
    let mut rest = text.trim();
    let mut calls = Vec::new();
    while !rest.is_empty() && calls.len() < MAX_CALLS {
        if !rest.starts_with('{') {
            return None;
        }
        let (value, length) = first_value(rest)?;
        calls.extend(all_calls(&value, offered)?);
        rest = rest[rest.floor_char_boundary(length)..]
            .trim_start_matches(|c: char| c.is_whitespace() || ";,".contains(c));
    }
    (!calls.is_empty()).then_some(calls)
}

/// The call that an object behind a mark is, arguments or not.
pub(in crate::llm) fn behind_mark(value: &Value, offered: &[Arc<ToolSpec>]) -> Option<Vec<WrittenCall>> {
    if let Some(calls) = all_calls(value, offered) {
        return Some(calls);
    }
    let fields = value.as_object()?;
    let name = NAMES.iter().find_map(|name| fields.get(*name)?.as_str())?;
    let arguments = ARGUMENTS.iter().find_map(|name| fields.get(*name)).cloned();
    Some(vec![WrittenCall::new(name, arguments.map_or_else(empty, |written| read(&written)))])
}

/// Whether `value` or anything in it looks like a call of some tool, offered or not.
pub(super) fn resembles_call(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(resembles_call),
        Value::Object(fields) => is_named_call(fields) || fields.values().any(resembles_call),
        _ => false,
    }
}

fn is_named_call(fields: &Map<String, Value>) -> bool {
    let named = NAMES.iter().find_map(|key| Some((*key, fields.get(*key)?.as_str()?)));
    let given = ARGUMENTS.iter().find_map(|key| fields.get(*key));
    let (Some((key, name)), Some(arguments)) = (named, given) else { return false };
    // People and things have names, too; only calls have tools.
    is_name(name) && (key != "name" || read(arguments).is_object())
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-.:/".contains(c))
}

/// The call of the tool called `name` whose arguments stand in `fields`, beside the name.
pub(in crate::llm) fn named(name: &str, fields: &Map<String, Value>) -> WrittenCall {
    let arguments = ARGUMENTS.iter().find_map(|key| fields.get(*key));
    WrittenCall::new(name.trim(), arguments.map_or_else(empty, read))
}

/// The call that `value` should be: of the tool that is its only key, or else of none, with its text as arguments.
pub(in crate::llm) fn unreadable(value: &Value) -> WrittenCall {
    let only = value.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.iter().next());
    match only.filter(|(name, inner)| inner.is_object() && !ARGUMENTS.contains(&name.as_str())) {
        Some((name, arguments)) => WrittenCall::new(name, arguments.clone()),
        None => WrittenCall::new(UNREADABLE, Value::String(value.to_string())),
    }
}

fn is_beside(key: &str) -> bool {
    BESIDES.contains(&key)
}

fn empty() -> Value {
    Value::Object(Map::new())
}

fn call(fields: &Map<String, Value>, offered: &[Arc<ToolSpec>]) -> Option<WrittenCall> {
    let known = names(offered);
    // {"calculate": {"expression": "6*7"}}
    if let (1, Some((name, arguments @ Value::Object(_)))) = (fields.len(), fields.iter().next())
        && known.contains(&name.as_str())
    {
        return Some(WrittenCall::new(name, arguments.clone()));
    }
    let (key, name) = NAMES.iter().find_map(|key| Some((*key, fields.get(*key)?.as_str()?)))?;
    let Some((given, arguments)) = ARGUMENTS.iter().find_map(|key| Some((*key, fields.get(*key)?))) else {
        return flat(fields, key, name, offered);
    };
    let rest = fields.keys().all(|field| field == key || field == given || is_beside(field));
    let arguments = read(arguments);
    // An answer may well have a name and an input; a call of nothing that is offered must look like one in full.
    let is_typical = ["name", "tool", "tool_name", "function"].contains(&key) && !given.contains("input");
    let is_call =
        rest && (resolve_name(name, &known).is_some() || is_name(name) && is_typical && arguments.is_object());
    is_call.then(|| WrittenCall::new(name, arguments))
}

/// `{"tool": "calculate", "expression": "6*7"}`: the arguments stand beside the name.
fn flat(fields: &Map<String, Value>, key: &str, name: &str, offered: &[Arc<ToolSpec>]) -> Option<WrittenCall> {
    let tool = resolve_name(name, &names(offered))?;
    let spec = offered.iter().find(|spec| spec.name == tool)?;
    let properties = spec.parameters["properties"].as_object()?;
    let arguments: Map<String, Value> = fields
        .iter()
        .filter(|(field, _)| *field != key && (properties.contains_key(*field) || !is_beside(field)))
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect();
    let fits = !arguments.is_empty() && arguments.keys().all(|field| properties.contains_key(field));
    fits.then(|| WrittenCall::new(name, Value::Object(arguments)))
}

/// Arguments given as a value or as its text.
fn read(written: &Value) -> Value {
    match written {
        Value::Null => empty(),
        Value::String(text) if text.trim().is_empty() => empty(),
        Value::String(text) => match crate::domain::json::read(text) {
            Ok(value @ Value::Object(_)) => value,
            _ => written.clone(),
        },
        other => other.clone(),
    }
}
