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
        // An id names one call of the conversation, so a repeated id is replaced.
        let given = call["id"].as_str().filter(|id| !id.is_empty() && calls.iter().all(|earlier| earlier.id != **id));
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
mod tests {
    use super::*;

    fn answer(message: &Value, finish: &str) -> Result<Answer, &'static str> {
        read_answer(&json!({ "choices": [{ "message": message, "finish_reason": finish }] }), &[], false)
    }

    #[test]
    fn dialects_of_text_are_understood() {
        for content in [json!("hello"), json!([{ "type": "text", "text": "hel" }, { "type": "text", "text": "lo" }])] {
            let answer = answer(&json!({ "content": content }), "a_reason_nobody_knows").expect("an answer");
            assert_eq!(answer.content, "hello");
            assert!(!answer.truncated && !answer.refused);
        }
        assert!(answer(&json!({ "content": "hal" }), "length").expect("an answer").truncated);
        assert!(answer(&json!({ "content": null, "refusal": "I cannot" }), "stop").expect("an answer").refused);
    }

    #[test]
    fn dialects_of_tool_calls_are_understood() {
        let calls = json!([
            { "id": "a", "function": { "name": "t", "arguments": "{\"x\":1}" } },
            { "id": "a", "function": { "name": "t", "arguments": { "x": 2 } } },
            { "function": { "name": "t", "arguments": "{oops" } },
            { "id": "", "function": { "name": "t", "arguments": "" } },
            { "id": "e", "function": { "name": "t" } },
            { "id": "f", "function": {} },
        ]);
        let answer = answer(&json!({ "content": null, "tool_calls": calls }), "tool_calls").expect("an answer");
        let arguments: Vec<&Value> = answer.tool_calls.iter().map(|call| &call.arguments).collect();
        assert_eq!(arguments, [&json!({"x": 1}), &json!({"x": 2}), &json!("{oops"), &json!({}), &json!({})]);
        let ids: std::collections::HashSet<&str> = answer.tool_calls.iter().map(|call| call.id.as_str()).collect();
        assert_eq!(ids.len(), 5, "{ids:?}");

        let parts = json!([{ "type": "text", "text": "so" }, { "type": "tool_use", "id": "u", "name": "t", "input": { "x": 3 } }]);
        let mixed = super::tests::answer(&json!({ "content": parts }), "tool_use").expect("an answer");
        assert_eq!((mixed.content.as_str(), &mixed.tool_calls[0].arguments), ("so", &json!({ "x": 3 })));

        let legacy = json!({ "content": null, "function_call": { "name": "t", "arguments": "{}" } });
        assert_eq!(super::tests::answer(&legacy, "function_call").expect("an answer").tool_calls[0].tool, "t");
    }

    #[test]
    fn a_call_in_several_places_is_one_call() {
        let call = json!({ "name": "t", "arguments": "{\"x\":1}" });
        let listed = json!([{ "id": "a", "type": "function", "function": call }]);
        let parts = json!([{ "type": "tool_use", "id": "b", "name": "t", "input": { "x": 1 } }]);
        for (message, id) in [
            (json!({ "content": null, "tool_calls": listed, "function_call": call }), Some("a")),
            (json!({ "content": parts, "tool_calls": listed }), Some("a")),
            (json!({ "content": parts, "tool_calls": listed, "function_call": call }), Some("a")),
            (json!({ "content": parts, "tool_calls": [], "function_call": call }), Some("b")),
            (json!({ "content": parts, "tool_calls": [{ "id": "a", "function": {} }] }), Some("b")),
            (json!({ "content": "so", "tool_calls": null, "function_call": call }), None),
        ] {
            let calls = answer(&message, "tool_calls").expect("an answer").tool_calls;
            assert_eq!(calls.len(), 1, "{message}");
            assert_eq!((calls[0].tool.as_str(), &calls[0].arguments), ("t", &json!({ "x": 1 })), "{message}");
            assert!(id.is_none_or(|id| calls[0].id == id), "{message}");
        }
        for message in
            [json!({ "content": "so", "function_call": null }), json!({ "content": "so", "function_call": {} })]
        {
            assert_eq!(answer(&message, "stop").expect("an answer").tool_calls, Vec::new(), "{message}");
        }
    }

    #[test]
    fn a_call_cut_between_two_arguments_is_returned_to_the_model() {
        let tools = [Arc::new(ToolSpec {
            name: "write".to_owned(),
            description: String::new(),
            parameters: json!({ "type": "object" }),
            output: json!(true),
            effect: crate::domain::tool::Effect::Write,
            idempotent: true,
            untrusted: false,
        })];
        for content in [
            "<function=write><parameter=path>a</parameter>",
            "<tool_call>write\n<arg_key>path</arg_key>\n<arg_value>a</arg_value>\n",
        ] {
            let read = |finish: &str| {
                let body = json!({ "choices": [{ "message": { "content": content }, "finish_reason": finish }] });
                read_answer(&body, &tools, false).expect("an answer").tool_calls.remove(0).arguments
            };
            assert_eq!(read("stop"), json!({ "path": "a" }), "{content}");
            assert_eq!(read("length"), json!(content.trim()), "{content}");
        }
    }

    #[test]
    fn unknown_fields_are_kept_as_far_as_they_are_small() {
        let large = "x".repeat(MAX_FIELDS_MEMORY);
        let call =
            json!({ "id": "a", "function": { "name": "t", "arguments": "{}" }, "signature": "s", "more": large });
        let message = json!({ "content": "so", "tool_calls": [call], "reasoning_details": large, "mark": "m" });
        let answer = answer(&message, "tool_calls").expect("an answer");
        assert_eq!(Value::Object(answer.fields), json!({ "mark": "m" }));
        assert_eq!(Value::Object(answer.tool_calls[0].fields.clone()), json!({ "signature": "s" }));
    }

    #[test]
    fn arguments_have_a_largest_size() {
        let arguments = json!({ "text": "x".repeat(MAX_TEXT_BYTES) }).to_string();
        let call = json!({ "id": "a", "function": { "name": "t", "arguments": arguments } });
        let answer = answer(&json!({ "tool_calls": [call] }), "tool_calls");
        assert_eq!(answer.expect_err("too long"), "calls with more than 1 MiB of arguments");
    }

    #[test]
    fn what_is_no_answer_is_said() {
        for body in [json!({ "choices": [] }), json!({ "choices": "none" }), json!([1])] {
            assert_eq!(read_answer(&body, &[], false), Err("no choices"));
        }
    }

    #[test]
    fn silence_and_thoughts_alone_are_empty_answers() {
        let thinking = json!([{ "type": "thinking", "thinking": [{ "type": "text", "text": "hm" }] }]);
        for message in [
            json!({ "content": " " }),
            json!({ "content": null }),
            json!({ "content": null, "reasoning_content": "hm" }),
            json!({ "content": "<think>hm</think>" }),
            json!({ "content": thinking }),
            json!({ "content": [{ "type": "reasoning", "text": "hm" }] }),
        ] {
            assert!(answer(&message, "stop").expect("an answer").is_empty(), "{message}");
        }
        let parts = json!([{ "type": "thinking", "text": "hm" }, { "thought": true, "text": "hm" }, { "type": "text", "text": "42" }]);
        assert_eq!(answer(&json!({ "content": parts }), "stop").expect("an answer").content, "42");
        for finish in ["length", "max_tokens", "MAX_TOKENS", "model_length"] {
            assert!(answer(&json!({ "content": "" }), finish).expect("an answer").truncated, "{finish}");
        }
    }

    #[test]
    fn unknown_fields_are_kept() {
        let signature = json!({ "google": { "thought_signature": "s" } });
        let call = json!({ "id": "a", "type": "function", "extra_content": signature,
            "function": { "name": "t", "arguments": "{}", "mark": 1 } });
        let message = json!({ "role": "assistant", "content": null, "tool_calls": [call], "reasoning_content": "hm",
            "reasoning_details": [{ "type": "x" }], "refusal": null, "annotations": [], "audio": null, "empty": "" });
        let answer = answer(&message, "tool_calls").expect("an answer");
        assert_eq!(
            Value::Object(answer.fields),
            json!({ "reasoning_content": "hm", "reasoning_details": [{ "type": "x" }] })
        );
        let fields = Value::Object(answer.tool_calls[0].fields.clone());
        assert_eq!(fields, json!({ "extra_content": signature, "function": { "mark": 1 } }));
    }

    #[test]
    fn a_name_of_a_tool_that_is_nearly_right_is_set_right() {
        let spec = ToolSpec {
            name: "calculate".to_owned(),
            description: String::new(),
            parameters: json!({ "type": "object" }),
            output: json!(true),
            effect: crate::domain::tool::Effect::Read,
            idempotent: true,
            untrusted: false,
        };
        let call =
            json!([{ "id": "a", "function": { "name": "functions.Calculate", "arguments": "\"{\\\"x\\\": 1}\"" } }]);
        let body = json!({ "choices": [{ "message": { "content": null, "tool_calls": call } }] });
        let answer = read_answer(&body, &[Arc::new(spec)], false).expect("an answer");
        assert_eq!(
            (answer.tool_calls[0].tool.as_str(), &answer.tool_calls[0].arguments),
            ("calculate", &json!({ "x": 1 }))
        );
    }

    #[test]
    fn usage_is_read_in_every_dialect_and_estimated_where_it_is_missing() {
        let usage = |usage: Value| {
            read_usage(&json!({ "usage": usage, "choices": [{ "message": { "content": "12345678" } }] }), 400)
        };
        let expected = |prompt_tokens, completion_tokens| Usage { prompt_tokens, completion_tokens };
        assert_eq!(usage(json!({ "prompt_tokens": 7, "completion_tokens": 3 })), expected(7, 3));
        assert_eq!(usage(json!({ "input_tokens": 7.0, "output_tokens": 3 })), expected(7, 3));
        assert_eq!(usage(json!({ "prompt_tokens": -7 })), expected(100, 2));
        assert_eq!(usage(Value::Null), expected(100, 2));
        assert_eq!(usage(json!({ "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0 })), expected(100, 2));
        assert_eq!(usage(json!({ "prompt_tokens": 7, "completion_tokens": 0 })), expected(7, 2));
        assert_eq!(usage(json!({ "prompt_tokens": 1e300, "completion_tokens": "3" })), expected(100, 3));
        assert_eq!(usage(json!({ "prompt_tokens": "many", "completion_tokens": [3] })), expected(100, 2));
        assert_eq!(usage(json!({ "prompt_tokens": 0, "input_tokens": 9 })), expected(9, 2));
        for message in [json!("12345678"), json!(["12345678"]), json!(7)] {
            assert_eq!(
                read_usage(&json!({ "choices": [{ "message": message }] }), 400).prompt_tokens,
                100,
                "{message}"
            );
        }
        let thinking = json!({ "choices": [{ "message": { "content": "", "reasoning_content": "123456" } }] });
        assert_eq!(read_usage(&thinking, 400), expected(100, 2));
    }
}
