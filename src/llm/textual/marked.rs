//! Calls behind the marks that models were trained to write.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{MAX_CALLS, TextualCalls, UNREADABLE, WrittenCall, json, names, pythonic};
use crate::domain::tool::{ToolSpec, resolve_name};
use crate::llm::structured::{first_value, places};

/// Marks that begin a call, lower case.
const MARKS: [&str; 24] = [
    "<tool_call",
    "<toolcall",
    "<tool_use",
    "<function_call",
    "<functioncall",
    "<function=",
    "<function name=",
    "<invoke name=",
    "<minimax:tool_call",
    "<|tool_call",
    "<|toolcall",
    "<|tool▁",
    "<｜tool",
    "<|python_tag|>",
    "[tool_calls]",
    "[tool_call]",
    "[tool_request]",
    "<|start_action|>",
    "<|action_start|>",
    "functools[",
    "<|channel|>commentary",
    "assistantcommentary to=",
    "<|assistant tool",
    "✿function✿",
];
/// Marks that end a call whose beginning the server has removed, lower case.
const ENDS: [&str; 4] = ["</tool_call>", "</function_call>", "</toolcall>", "</tool_calls>"];
/// Words before a value that are no name of a tool.
const NO_NAMES: [&str; 9] = ["json", "function", "commentary", "to", "assistant", "call", "code", "name", "tool_call"];

/// The calls behind the first mark in `text` that stands in no code and in no JSON value.
pub(super) fn calls(text: &str, offered: &[Arc<ToolSpec>]) -> Option<TextualCalls> {
    let body = super::fenced(text).unwrap_or(text);
    let at = mark(body)?;
    let (preface, region) = body.split_at(at);
    let mut calls = tagged(region, offered);
    if calls.is_empty() {
        calls = valued(region, offered);
    }
    if calls.is_empty() {
        calls.extend(pythonic::one(words(region).trim()).map(|(call, _)| call));
    }
    if calls.is_empty() {
        // A word that only resembles a mark is part of an answer; an attempt at a call becomes an unreadable call, so
        // that the model learns of it.
        let tries = region.contains('{') || region.contains("</") || preface.trim().is_empty();
        let name = last_name(&words(region)).unwrap_or_else(|| UNREADABLE.to_owned());
        calls.extend(tries.then(|| WrittenCall::new(&name, Value::String(region.to_owned()))));
    }
    calls.truncate(MAX_CALLS);
    (!calls.is_empty()).then(|| TextualCalls { calls, preface: preface.trim().to_owned() })
}

/// Where the first mark stands.
fn mark(text: &str) -> Option<usize> {
    let lower = text.to_ascii_lowercase();
    let mut at = 0;
    let mut values = 0;
    while let Some(next) = lower[at..].find(['<', '[', '{', '`', 'f', 'a', '✿']) {
        at += next;
        let rest = &lower[at..];
        if MARKS.iter().any(|mark| rest.starts_with(mark)) {
            return Some(at);
        }
        if ENDS.iter().any(|end| rest.starts_with(end)) {
            return Some(0);
        }
        at += if rest.starts_with('`') {
            crate::llm::thoughts::code(text, at)
        } else if rest.starts_with(['{', '[']) && values < places(text) {
            values += 1;
            let length = first_value(&text[at..]).map_or(1, |(_, length)| length.max(1));
            text.ceil_char_boundary(at + length) - at
        } else {
            text.ceil_char_boundary(at + 1) - at
        };
    }
    None
}

/// Calls with the name in a tag: `<function=name>`, `<invoke name="name">`, and GLM's `<tool_call>name<arg_key>…`.
fn tagged(region: &str, offered: &[Arc<ToolSpec>]) -> Vec<WrittenCall> {
    let mut calls = Vec::new();
    let mut rest = region;
    let openings = ["<function=", "<function name=", "<invoke name="];
    while let Some((at, opening)) =
        openings.iter().filter_map(|opening| Some((rest.find(opening)?, *opening))).min_by_key(|(at, _)| *at)
    {
        let Some((name, body)) = rest[at + opening.len()..].split_once('>') else { break };
        let ends = ["</function", "</invoke", "<function=", "<function name=", "<invoke name="];
        let end = ends.iter().filter_map(|end| body.find(end)).min().unwrap_or(body.len());
        let name = name.trim().trim_matches(['"', '\'', '/']);
        calls.push(WrittenCall::new(name, tag_arguments(&body[..end], name, offered)));
        rest = &body[end..];
        if calls.len() >= MAX_CALLS {
            break;
        }
    }
    if !calls.is_empty() || !region.contains("<arg_key>") {
        return calls;
    }
    for call in region.split("<tool_call>").filter(|call| call.contains("<arg_key>")).take(MAX_CALLS) {
        let (name, body) = call.split_once("<arg_key>").unwrap_or_default();
        calls.push(WrittenCall::new(name.trim(), pair_arguments(body, name.trim(), offered)));
    }
    calls
}

/// Arguments in pairs of `<arg_key>` and `<arg_value>`; the text of `body`, which starts behind the first `<arg_key>`, when
/// a pair is not whole: half an argument must not be used.
fn pair_arguments(body: &str, tool: &str, offered: &[Arc<ToolSpec>]) -> Value {
    let mut arguments = Map::new();
    for pair in body.split("<arg_key>") {
        let whole = pair.split_once("</arg_key>").and_then(|(key, rest)| {
            let (_, value) = rest.split_once("<arg_value>")?;
            let (value, behind) = value.split_once("</arg_value>")?;
            (!ends_within(behind, &["<arg_key>"])).then_some((key.trim(), value))
        });
        let Some((key, value)) = whole else { return Value::String(body.trim().to_owned()) };
        arguments.insert(key.to_owned(), typed(value, tool, key, offered));
    }
    Value::Object(arguments)
}

/// Arguments in a tagged call: parameters with tags of their own, or JSON; the text of `body` when they are not whole.
fn tag_arguments(body: &str, tool: &str, offered: &[Arc<ToolSpec>]) -> Value {
    let unreadable = || Value::String(body.trim().to_owned());
    let Some(parameters) = parameters(body) else { return unreadable() };
    if !parameters.is_empty() {
        let typed = parameters.into_iter().map(|(key, value)| (key.to_owned(), typed(value, tool, key, offered)));
        return Value::Object(typed.collect());
    }
    match body.find('{').map(|at| first_value(&body[at..])) {
        Some(Some((value, _))) => value,
        Some(None) => unreadable(),
        None => Value::Object(Map::new()),
    }
}

/// Keys and values of the parameters in `body`; `None` when the tag of one is not closed, as where the text was cut.
fn parameters(body: &str) -> Option<Vec<(&str, &str)>> {
    let mut found = Vec::new();
    let mut rest = body;
    if body.trim_start().starts_with('{') {
        return Some(found);
    }
    while let Some((_, inner)) = opening(rest) {
        let (key, value) = inner.split_once('>')?;
        let (value, behind) = value.split_once("</parameter>")?;
        if opening(value).is_some() {
            return None;
        }
        let key = key.trim_start().trim_start_matches(['"', '\'']);
        found.push((key.split(|c: char| c.is_whitespace() || "\"'".contains(c)).next()?, value));
        rest = behind;
    }
    (!ends_within(rest, &["<parameter=", "<parameter name="])).then_some(found)
}

/// The first opening tag of a parameter in `text`: where it stands, and what follows its mark.
fn opening(text: &str) -> Option<(usize, &str)> {
    let mut places = text.match_indices("<parameter");
    places.find_map(|(at, mark)| {
        let behind = &text[at + mark.len()..];
        Some((at, behind.strip_prefix('=').or_else(|| behind.strip_prefix(" name="))?))
    })
}

/// Whether `text` ends in the middle of one of `tags`.
fn ends_within(text: &str, tags: &[&str]) -> bool {
    text.rfind('<').is_some_and(|at| tags.iter().any(|tag| tag.starts_with(text[at..].trim_end())))
}

/// A value written between tags: text where the tool wants text, else the JSON it is.
fn typed(written: &str, tool: &str, key: &str, offered: &[Arc<ToolSpec>]) -> Value {
    let inner = written.strip_prefix('\n').unwrap_or(written);
    let inner = inner.strip_suffix('\n').unwrap_or(inner);
    let spec = resolve_name(tool, &names(offered)).and_then(|name| offered.iter().find(|spec| spec.name == name));
    let wants_text = spec.is_some_and(|spec| spec.parameters["properties"][key]["type"] == "string");
    let value = if wants_text { None } else { crate::domain::json::read(inner.trim()).ok() };
    value.unwrap_or_else(|| Value::String(inner.to_owned()))
}

/// Calls whose arguments are JSON: whole call objects, or a name and then the arguments.
fn valued(region: &str, offered: &[Arc<ToolSpec>]) -> Vec<WrittenCall> {
    let mut calls = Vec::new();
    let (mut from, mut at) = (0, 0);
    let mut failed = 0;
    for _ in 0..MAX_CALLS {
        let Some(next) = region[at..].find(['{', '[']) else { break };
        at += next;
        let Some((value, length)) = first_value(&region[at..]) else {
            failed += 1;
            if failed == places(region) {
                break;
            }
            at += 1;
            continue;
        };
        let end = region.ceil_char_boundary(at + length.max(1));
        let named = || {
            let name = last_name(&words(&region[from..at]))?;
            value.is_object().then(|| vec![WrittenCall::new(&name, value.clone())])
        };
        // The arguments of a call may well have a name among them.
        let is_named =
            last_name(&words(&region[from..at])).is_some_and(|name| resolve_name(&name, &names(offered)).is_some());
        let whole = || json::behind_mark(&value, offered);
        if let Some(found) = if is_named { named() } else { whole().or_else(named) } {
            calls.extend(found);
            from = end;
        }
        at = end;
    }
    calls
}

/// `text` without marks and tags, a blank for each.
fn words(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['<', '[', '✿']) {
        kept.push_str(&rest[..at]);
        kept.push(' ');
        let close = if rest[at..].starts_with('<') {
            '>'
        } else if rest[at..].starts_with('[') {
            ']'
        } else {
            '✿'
        };
        let opened = at + rest[at..].chars().next().map_or(1, char::len_utf8);
        let Some(end) = rest[opened..].find(close) else { break };
        // The id between these two is no name.
        let is_id = &rest[opened..opened + end] == "CALL_ID";
        rest = &rest[opened + end + close.len_utf8()..];
        if is_id {
            rest = rest.trim_start_matches(|c: char| c.is_alphanumeric());
        }
    }
    kept + rest
}

/// The last word of `text` that can be the name of a tool.
fn last_name(text: &str) -> Option<String> {
    let is_part = |c: char| c.is_alphanumeric() || "_-.:/".contains(c);
    let words = text.split(|c: char| !is_part(c)).map(|word| word.trim_matches(['.', ':', '/', '-']));
    let mut names = words.filter(|word| word.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_'));
    names.rfind(|word| !NO_NAMES.contains(word)).map(str::to_owned)
}
