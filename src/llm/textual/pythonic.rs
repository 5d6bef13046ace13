//! Calls written as code: `calculate(expression="6*7")`, alone, in a list, or printed.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{MAX_CALLS, WrittenCall, names};
use crate::domain::tool::{ToolSpec, resolve_name};
use crate::llm::structured::first_value;

/// The calls that `text` consists of; `None` when it is anything else, or calls something that is not offered.
pub(super) fn calls(text: &str, offered: &[Arc<ToolSpec>]) -> Option<Vec<WrittenCall>> {
    let known = names(offered);
    all(text).filter(|calls| calls.iter().all(|call| resolve_name(&call.name, &known).is_some()))
}

/// The calls that `text` consists of, offered or not; `None` when it is anything else.
pub(super) fn all(text: &str) -> Option<Vec<WrittenCall>> {
    let mut rest = text.trim();
    rest = rest.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(rest).trim();
    let mut calls = Vec::new();
    while !rest.is_empty() && calls.len() < MAX_CALLS {
        let is_printed = rest.starts_with("print(");
        rest = rest.strip_prefix("print(").unwrap_or(rest);
        let (call, after) = one(rest)?;
        calls.push(call);
        rest = after.trim_start();
        if is_printed {
            rest = rest.strip_prefix(')')?;
        }
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || ",;".contains(c));
    }
    (!calls.is_empty()).then_some(calls)
}

/// The call that `text` begins with, and what follows it.
pub(super) fn one(text: &str) -> Option<(WrittenCall, &str)> {
    let (name, mut rest) = text.split_once('(')?;
    let name = name.trim().trim_end_matches(".call");
    if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || "_-.:".contains(c)) {
        return None;
    }
    let mut arguments = Map::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        if let Some(after) = rest.strip_prefix(')') {
            return Some((WrittenCall::new(name, unwrapped(arguments)), after));
        }
        // A whole object in place of named arguments.
        if rest.starts_with('{') {
            let (value, length) = first_value(rest)?;
            arguments.extend(value.as_object()?.clone());
            rest = &rest[rest.floor_char_boundary(length)..];
            continue;
        }
        let (key, after) = rest.split_once('=')?;
        let key = key.trim();
        if key.is_empty() || !key.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return None;
        }
        let (value, after) = literal(after.trim_start())?;
        arguments.insert(key.to_owned(), value);
        rest = after;
    }
}

/// `name(parameters={…})` means the object.
fn unwrapped(arguments: Map<String, Value>) -> Value {
    let only = (arguments.len() == 1).then(|| arguments.iter().next()).flatten();
    match only {
        Some((key, inner @ Value::Object(_))) if ["parameters", "arguments", "args"].contains(&key.as_str()) => {
            inner.clone()
        }
        _ => Value::Object(arguments),
    }
}

fn literal(text: &str) -> Option<(Value, &str)> {
    for (word, value) in [("True", Value::Bool(true)), ("False", Value::Bool(false)), ("None", Value::Null)] {
        if let Some(rest) = text.strip_prefix(word) {
            return Some((value, rest));
        }
    }
    if let Some(inner) = text.strip_prefix('\'') {
        return quoted(inner);
    }
    // A number must not end at the bracket of the call for the reader of JSON.
    let digits = text.find(|c: char| !c.is_ascii_digit() && !"+-.eE".contains(c)).unwrap_or(text.len());
    if digits > 0 {
        return Some((crate::domain::json::read(&text[..digits]).ok()?, &text[digits..]));
    }
    let (value, length) = first_value(text)?;
    Some((value, &text[text.floor_char_boundary(length)..]))
}

/// A text in single quotes, after the first of them.
fn quoted(text: &str) -> Option<(Value, &str)> {
    let mut said = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\'' => return Some((Value::String(said), &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => said.push('\n'),
                't' => said.push('\t'),
                other => said.push(other),
            },
            other => said.push(other),
        }
    }
    None
}
