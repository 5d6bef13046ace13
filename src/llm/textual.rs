//! Tool calls that a model wrote into its text, because its server does not extract them.
//!
//! A call stands behind a mark of the model (`<tool_call>`, `[TOOL_CALLS]`, `<function=name>`, …), or is the JSON
//! object `{name, arguments}` in one of its many spellings, or is written as code: `calculate(expression="6*7")`.
//! After a mark everything counts as a call, even when it cannot be read or names no tool, so that the model learns
//! of it. Without a mark, JSON with a name and no arguments is an answer.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::structured::{candidates, whole_value};
use super::thoughts;
use crate::domain::conversation::RequestedCall;
use crate::domain::tool::{ToolSpec, resolve_name};

pub(super) use json::{behind_mark, named, unreadable};
pub(super) use lookalike::looks_like_call;

mod json;
mod lookalike;
mod marked;
mod pythonic;

/// Calls read at most from one text.
pub(super) const MAX_CALLS: usize = 32;
/// Name of a call whose name cannot be read.
const UNREADABLE: &str = "unreadable";

/// The calls in a text, and the text before them.
#[derive(Debug, PartialEq)]
pub(super) struct TextualCalls {
    pub(super) calls: Vec<WrittenCall>,
    /// The text before the first call.
    pub(super) preface: String,
}

/// A call as written: its name may be unknown, and its arguments may be no object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WrittenCall {
    pub(super) name: String,
    pub(super) arguments: Value,
}

impl WrittenCall {
    fn new(name: &str, arguments: Value) -> Self {
        Self { name: name.to_owned(), arguments }
    }

    /// The call with an id of its own, for the tool among `offered` that its name means.
    pub(super) fn requested(self, offered: &[Arc<ToolSpec>]) -> RequestedCall {
        let tool = resolve_name(&self.name, &names(offered)).map_or(self.name, str::to_owned);
        RequestedCall { id: super::call_id::fresh_id(), tool, arguments: self.arguments, ..RequestedCall::default() }
    }
}

/// The names of `offered`.
pub(super) fn names(offered: &[Arc<ToolSpec>]) -> Vec<&str> {
    offered.iter().map(|tool| tool.name.as_str()).collect()
}

/// The calls in `text`, from which thoughts have been cut; `None` when it is an answer.
pub(super) fn calls(text: &str, offered: &[Arc<ToolSpec>]) -> Option<TextualCalls> {
    let text = text.trim();
    if let Some(found) = marked::calls(text, offered) {
        return Some(found);
    }
    let found = |calls: Vec<WrittenCall>, preface: &str| TextualCalls { calls, preface: preface.trim().to_owned() };
    let inner = fenced(text).unwrap_or(text);
    if let Some(value) = whole_value(inner) {
        return json::all_calls(&value, offered).map(|calls| found(calls, ""));
    }
    if let Some(calls) = json::sequence(inner, offered) {
        return Some(found(calls, ""));
    }
    if let Some(calls) = pythonic::calls(inner, offered).or_else(|| react(inner, offered)) {
        return Some(found(calls, ""));
    }
    // Among words, only what surely is one: a tool that is offered, with arguments.
    let known = |call: &WrittenCall| resolve_name(&call.name, &names(offered)).is_some();
    let mut calls = Vec::new();
    for value in candidates(&without_inline_code(text)) {
        calls.extend(json::all_calls(&value, offered).into_iter().flatten().filter(known));
    }
    calls.truncate(MAX_CALLS);
    let preface = text.split(['{', '[']).next().unwrap_or_default().trim_end().trim_end_matches("```json");
    (!calls.is_empty()).then(|| found(calls, preface.trim_end_matches('`')))
}

/// `text` without the code that stands within its lines, which only talks about calls.
fn without_inline_code(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    let mut at = 0;
    while let Some(next) = rest.find('`') {
        let code = &rest[next..];
        let is_fence = thoughts::is_fence(text, at + next);
        let length = if is_fence { thoughts::ticks(code) } else { thoughts::inline_code(code) };
        let is_inline = !code.starts_with("```");
        kept.push_str(if is_inline { &rest[..next] } else { &rest[..next + length] });
        at += next + length;
        rest = &text[at..];
    }
    kept + rest
}

/// What stands inside the code fence that is the whole of `text`.
fn fenced(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("```")?.strip_suffix("```")?;
    let (_, body) = inner.split_once('\n')?;
    (!body.contains("```")).then(|| body.trim())
}

/// `Action: name` and `Action Input: {…}` on lines of their own.
fn react(text: &str, offered: &[Arc<ToolSpec>]) -> Option<Vec<WrittenCall>> {
    let after = |label: &str| {
        let at = text.lines().find_map(|line| line.trim().strip_prefix(label))?;
        Some((at.trim(), text.split_once(label)?.1))
    };
    let (name, _) = after("Action:")?;
    let (_, input) = after("Action Input:")?;
    resolve_name(name, &names(offered))?;
    let arguments = candidates(input).next().unwrap_or_else(|| Value::Object(Map::new()));
    Some(vec![WrittenCall::new(name, arguments)])
}

#[cfg(test)]
mod tests;
