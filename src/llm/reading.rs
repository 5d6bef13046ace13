//! Reads answers of chat completions in the formats of compatible servers.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{call_id, parameters, prompted, textual, thoughts};
use crate::domain::conversation::{RequestedCall, Usage, estimated_tokens};
use crate::domain::json::{Size, read};
use crate::domain::tool::{ToolSpec, resolve_name};

/// Reasons to end that mean the token limit.
const LIMIT_REASONS: [&str; 4] = ["length", "max_tokens", "max_output_tokens", "model_length"];
/// Fields of a message that are read here, or say nothing that must go back.
const MESSAGE_FIELDS: [&str; 8] =
    ["role", "content", "tool_calls", "function_call", "refusal", "audio", "annotations", "name"];
/// The same of a call, and of the function in it.
const CALL_FIELDS: [&str; 7] = ["id", "type", "index", "function", "name", "arguments", "input"];
/// More tokens than any model reads or writes at once: a count above is none.
const MOST_TOKENS: f64 = 1e8;

/// Calls read at most from one answer: far more than a turn may make.
const MAX_CALLS: usize = 64;
/// Longest id and longest name of a call, in bytes. Both go back to the model with each turn, and into the checkpoint.
const MAX_NAME_BYTES: usize = 256;
/// Longest text that is read as an answer, in bytes: several times what the most tokens of one write.
const MAX_TEXT_BYTES: usize = 1024 * 1024;

/// Most memory of the arguments of all calls of an answer, in bytes.
const MAX_ARGUMENT_MEMORY: usize = 16 * 1024 * 1024;
/// Most memory of the fields of one answer that this program does not know and sends back, in bytes: the conversation keeps them
/// to its end.
const MAX_FIELDS_MEMORY: usize = 64 * 1024;

/// An answer of a model.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Answer {
    /// The text, without thoughts; empty when there was nothing else.
    pub(super) content: String,
    pub(super) tool_calls: Vec<RequestedCall>,
    /// Fields of the message that this program does not know.
    pub(super) fields: Map<String, Value>,
    pub(super) truncated: bool,
    /// Whether the model, or a filter behind it, would not answer.
    pub(super) refused: bool,
}

impl Answer {
    /// Whether it has neither text nor calls.
    pub(super) fn is_empty(&self) -> bool {
        self.content.trim().is_empty() && self.tool_calls.is_empty()
    }
}

/// Reads an answer. Where `tools` were offered, calls written as text are calls; `in_prompt` says that they were described
/// in the prompt.
///
/// # Errors
/// What is missing in the answer.
pub(super) fn read_answer(body: &Value, tools: &[Arc<ToolSpec>], in_prompt: bool) -> Result<Answer, &'static str> {
    let choice = &body["choices"][0];
    let message = &choice["message"];
    if !message.is_object() {
        return Err("no choices");
    }
    let finish = choice["finish_reason"].as_str().unwrap_or_default().to_ascii_lowercase();
    if finish == "error" {
        return Err("an error of the model inside");
    }
    let truncated = LIMIT_REASONS.contains(&finish.as_str());
    let said = text(&message["content"]);
    if said.len() > MAX_TEXT_BYTES {
        return Err("more than 1 MiB of text");
    }
    let mut content = thoughts::cut(&said);
    let mut calls = tool_calls(message, tools);
    if calls.is_empty() && !tools.is_empty() {
        if in_prompt {
            (content, calls) = prompted::read(content, tools);
        } else if let Some(found) = textual::calls(&content, tools) {
            calls = found.calls.into_iter().map(|call| call.requested(tools)).collect();
            // The next argument may be missing, so the model gets its own text back.
            let is_between = truncated && ["</parameter>", "</arg_value>"].iter().any(|end| content.ends_with(end));
            if let Some(last) = calls.last_mut().filter(|_| is_between) {
                last.arguments = Value::String(content);
            }
            content = found.preface;
        }
    }
    calls.truncate(MAX_CALLS);
    let arguments = calls.iter().fold(Size::default(), |sum, call| sum + Size::of(&call.arguments));
    if arguments.text > MAX_TEXT_BYTES || arguments.memory > MAX_ARGUMENT_MEMORY {
        return Err("calls with more than 1 MiB of arguments");
    }
    let mut room = MAX_FIELDS_MEMORY;
    // Those of calls are signatures mostly, without which a model does not take its calls back.
    for call in &mut calls {
        keep_small(&mut call.fields, &mut room);
    }
    let mut fields = unknown_fields(message, &MESSAGE_FIELDS);
    keep_small(&mut fields, &mut room);
    for call in &mut calls {
        if let Some(tool) = tools.iter().find(|tool| tool.name == call.tool) {
            parameters::restored(&mut call.arguments, &tool.parameters);
        }
    }
    Ok(Answer {
        content,
        tool_calls: calls,
        fields,
        truncated,
        refused: finish == "content_filter" || message["refusal"].as_str().is_some_and(|said| !said.is_empty()),
    })
}

/// Text, or the text among parts. Parts with thoughts are none.
fn text(content: &Value) -> String {
    let is_thought = |part: &Value| {
        let kind = part["type"].as_str().unwrap_or_default();
        kind.contains("think") || kind.contains("reason") || part["thought"] == true
    };
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let said = parts.iter().filter(|part| !is_thought(part));
            said.filter_map(|part| part["text"].as_str().or(part.as_str())).collect()
        }
        _ => String::new(),
    }
}

/// The fields of `value` that are not `known` and say something.
fn unknown_fields(value: &Value, known: &[&str]) -> Map<String, Value> {
    let says = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    };
    let fields = value.as_object().into_iter().flatten();
    let fields = fields.filter(|(name, value)| !known.contains(&name.as_str()) && says(value));
    fields.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Keeps the smallest of `fields` that fit into `room` bytes of memory, and takes what they need from it.
fn keep_small(fields: &mut Map<String, Value>, room: &mut usize) {
    let size = |name: &str, value: &Value| (Size::of_plain(name.len()) + Size::of(value)).memory;
    let mut sizes: Vec<(usize, String)> =
        fields.iter().map(|(name, value)| (size(name, value), name.clone())).collect();
    sizes.sort_unstable();
    for (bytes, name) in sizes {
        if let Some(left) = room.checked_sub(bytes) {
            *room = left;
        } else {
            tracing::debug!(bytes, "a field of an answer that qron does not know is too large to be kept");
            fields.remove(&name);
        }
    }
}

/// The calls of the first place in `message` that holds any: servers that support several dialects repeat theirs.
fn tool_calls(message: &Value, tools: &[Arc<ToolSpec>]) -> Vec<RequestedCall> {
    let items = |name: &str| message[name].as_array().map_or(&[][..], Vec::as_slice);
    let listed = items("tool_calls").iter();
    let listed = listed.map(|call| (call, if call["function"].is_object() { &call["function"] } else { call }));
    // Proxies of Anthropic's models may leave calls among the parts of the content.
    let parts = items("content").iter().filter(|part| part["type"] == "tool_use").map(|part| (part, part));
    // The form before tools, which some servers still write.
    let legacy = (&Value::Null, &message["function_call"]);
    let names = textual::names(tools);
    [listed.collect(), parts.collect(), vec![legacy]]
        .iter()
        .map(|functions: &Vec<(&Value, &Value)>| requested(functions, &names))
        .find(|calls| !calls.is_empty())
        .unwrap_or_default()
}

/// The first [`MAX_CALLS`] calls in `functions`, each with the object around its function. What has no name is no call.
fn requested(functions: &[(&Value, &Value)], names: &[&str]) -> Vec<RequestedCall> {
    let mut calls: Vec<RequestedCall> = Vec::new();
    for (call, function) in functions.iter().take(MAX_CALLS) {
        let Some(written) = function["name"].as_str() else { continue };
        let written = &written[..written.floor_char_boundary(MAX_NAME_BYTES)];
        // An id names one call of the conversation, so a repeated id is replaced, and so is one that is no name.
        let is_new = |id: &&str| calls.iter().all(|earlier| earlier.id != **id);
        let given = call["id"].as_str().filter(|id| (1..=MAX_NAME_BYTES).contains(&id.len())).filter(is_new);
        let mut fields = unknown_fields(call, &CALL_FIELDS);
        let inner = unknown_fields(&call["function"], &CALL_FIELDS);
        if !inner.is_empty() {
            fields.insert("function".to_owned(), Value::Object(inner));
        }
        calls.push(RequestedCall {
            id: given.map_or_else(call_id::fresh_id, str::to_owned),
            tool: resolve_name(written, names).unwrap_or(written).to_owned(),
            arguments: arguments(function.get("arguments").unwrap_or(&function["input"])),
            fields,
        });
    }
    calls
}

fn arguments(arguments: &Value) -> Value {
    match arguments {
        Value::Null => json!({}),
        Value::String(text) if text.trim().is_empty() => json!({}),
        Value::String(text) => match read(text) {
            Ok(Value::Null) => json!({}),
            // Some servers write the text of the text.
            Ok(Value::String(inner)) => read(&inner).ok().filter(Value::is_object).unwrap_or(json!(inner)),
            Ok(value) => value,
            Err(_) => Value::String(text.clone()),
        },
        other => other.clone(),
    }
}

/// Tokens of the prompt that `body` reports.
pub(super) fn counted_prompt_tokens(body: &Value) -> Option<u64> {
    counted(body, ["prompt_tokens", "input_tokens"])
}

/// Tokens that `body` reports, estimated from the sizes of request and answer where it reports none, or what cannot be.
pub(super) fn read_usage(body: &Value, request_bytes: usize) -> Usage {
    let answered = || {
        let message = &body["choices"][0]["message"];
        let content = text(&message["content"]).len();
        let said = |field: &Value| if field.is_null() { 0 } else { field.to_string().len() };
        let calls = message["tool_calls"].as_array().map_or(0, |calls| calls.iter().map(|c| c.to_string().len()).sum());
        let thoughts = ["reasoning_content", "reasoning", "function_call"].map(|field| said(&message[field]));
        estimated_tokens(content + calls + thoughts.iter().sum::<usize>())
    };
    Usage {
        prompt_tokens: counted_prompt_tokens(body).unwrap_or_else(|| estimated_tokens(request_bytes)),
        completion_tokens: counted(body, ["completion_tokens", "output_tokens"]).unwrap_or_else(answered),
    }
}

/// The count that the usage in `body` has under one of `names`, when it can be one.
fn counted(body: &Value, names: [&str; 2]) -> Option<u64> {
    let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    let mut reported = names.iter().filter_map(|name| number(&body["usage"][name]));
    let counted = reported.find(|count| (1.0..=MOST_TOKENS).contains(count));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range, as just found")]
    counted.map(|count| count as u64)
}

#[cfg(test)]
mod tests;
