//! Chat completions on the wire: requests as every compatible server reads them, answers as any of them writes them.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::domain::conversation::{Message, ModelRequest, RequestedCall, ResponseSchema, Usage, estimated_tokens};
use crate::domain::json::read;
use crate::domain::tool::ToolSpec;

/// Names of the field that limits the answer, by age; newer models of OpenAI refuse the old one, other servers
/// ignore the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LimitField {
    MaxTokens,
    MaxCompletionTokens,
    None,
}

impl LimitField {
    pub(super) const fn name(self) -> Option<&'static str> {
        match self {
            Self::MaxTokens => Some("max_tokens"),
            Self::MaxCompletionTokens => Some("max_completion_tokens"),
            Self::None => None,
        }
    }
}

/// What differs between models in how a request is put.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    /// Whether the schema is sent as `response_format`; otherwise it is put into the prompt.
    pub(super) native_schema: bool,
    pub(super) limit_field: LimitField,
}

/// The body of a request.
pub(super) fn request_body(
    model: &str,
    request: &ModelRequest,
    messages: &[Message],
    max_output_tokens: u32,
    dialect: Dialect,
) -> Value {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model));
    let mut messages: Vec<Value> = messages.iter().map(message).collect();
    match &request.schema {
        Some(schema) if dialect.native_schema => {
            let format = json!({ "type": "json_schema",
                "json_schema": { "name": schema.name, "schema": schema.schema, "strict": true } });
            body.insert("response_format".to_owned(), format);
        }
        Some(schema) => instruct(&mut messages, schema),
        None => {}
    }
    body.insert("messages".to_owned(), Value::Array(messages));
    if !request.tools.is_empty() {
        body.insert("tools".to_owned(), request.tools.iter().map(|spec| tool(spec)).collect());
    }
    if let Some(field) = dialect.limit_field.name() {
        body.insert(field.to_owned(), json!(max_output_tokens));
    }
    Value::Object(body)
}

/// Puts the schema into the first message: some servers accept a system message at the beginning only.
fn instruct(messages: &mut Vec<Value>, schema: &ResponseSchema) {
    let instruction = format!(
        "Answer with one JSON object that follows this JSON schema, and with nothing else. Every property is required; \
         use null for one that has no value.\n{}",
        schema.schema
    );
    match messages.first_mut() {
        Some(first) if first["role"] == "system" => {
            let text = first["content"].as_str().unwrap_or_default();
            first["content"] = json!(format!("{text}\n\n{instruction}"));
        }
        _ => messages.insert(0, json!({ "role": "system", "content": instruction })),
    }
}

fn message(message: &Message) -> Value {
    match message {
        Message::System { content } => json!({ "role": "system", "content": content }),
        Message::User { content } => json!({ "role": "user", "content": content }),
        Message::Tool { call_id, content } => json!({ "role": "tool", "tool_call_id": call_id, "content": content }),
        Message::Assistant { content, tool_calls } if tool_calls.is_empty() => {
            json!({ "role": "assistant", "content": content })
        }
        Message::Assistant { content, tool_calls } => {
            let content = if content.is_empty() { Value::Null } else { json!(content) };
            json!({ "role": "assistant", "content": content, "tool_calls": tool_calls.iter().map(call).collect::<Value>() })
        }
    }
}

fn call(call: &RequestedCall) -> Value {
    let arguments = match &call.arguments {
        Value::Object(_) => call.arguments.to_string(),
        // Servers parse what they are sent back, and some fail on anything but an object.
        other => json!({ "invalid_arguments": other }).to_string(),
    };
    json!({ "id": call.id, "type": "function", "function": { "name": call.tool, "arguments": arguments } })
}

fn tool(tool: &ToolSpec) -> Value {
    json!({ "type": "function",
        "function": { "name": tool.name, "description": tool.description, "parameters": tool.parameters } })
}

/// What a model said.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) content: String,
    pub(super) tool_calls: Vec<RequestedCall>,
    pub(super) truncated: bool,
    /// Whether the model, or a filter behind it, would not answer.
    pub(super) refused: bool,
}

/// Reads an answer.
///
/// # Errors
/// What it lacks.
pub(super) fn read_answer(body: &Value) -> Result<Answer, &'static str> {
    let choice = &body["choices"][0];
    let message = &choice["message"];
    if !message.is_object() {
        return Err("no choices");
    }
    let finish = choice["finish_reason"].as_str().unwrap_or_default();
    if finish == "error" {
        return Err("an error of the model inside");
    }
    let content = text(&message["content"]);
    let tool_calls = tool_calls(message);
    let truncated = finish == "length";
    let refused = finish == "content_filter" || message["refusal"].as_str().is_some_and(|said| !said.is_empty());
    if content.trim().is_empty() && tool_calls.is_empty() && !truncated && !refused {
        return Err("neither text nor tool calls");
    }
    Ok(Answer { content, tool_calls, truncated, refused })
}

/// Text, or the text among parts.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str().or(part.as_str())).collect(),
        _ => String::new(),
    }
}

fn tool_calls(message: &Value) -> Vec<RequestedCall> {
    let listed = message["tool_calls"].as_array().map_or(&[][..], Vec::as_slice);
    // The form before tools, which some servers still write.
    let legacy = message["function_call"].is_object().then_some(message);
    let functions = listed.iter().map(|call| (call, &call["function"]));
    let functions = functions.chain(legacy.map(|message| (&Value::Null, &message["function_call"])));
    let mut calls: Vec<RequestedCall> = Vec::new();
    for (call, function) in functions {
        let Some(tool) = function["name"].as_str() else { continue };
        // An id names one call of the conversation; answers could not be told apart otherwise.
        let given = call["id"].as_str().filter(|id| !id.is_empty() && calls.iter().all(|earlier| earlier.id != **id));
        let id = given.map_or_else(|| format!("call_{}", Uuid::new_v4().simple()), str::to_owned);
        calls.push(RequestedCall { id, tool: tool.to_owned(), arguments: arguments(&function["arguments"]) });
    }
    calls
}

fn arguments(arguments: &Value) -> Value {
    match arguments {
        Value::Null => json!({}),
        Value::String(text) if text.trim().is_empty() => json!({}),
        Value::String(text) => match read(text) {
            Ok(Value::Null) => json!({}),
            Ok(value) => value,
            Err(_) => Value::String(text.clone()),
        },
        other => other.clone(),
    }
}

/// Tokens that `body` reports, estimated from the sizes of request and answer where it reports none.
pub(super) fn read_usage(body: &Value, request_bytes: usize) -> Usage {
    let count = |names: [&str; 2]| {
        let reported = names.iter().find_map(|name| body["usage"][name].as_f64()).filter(|count| *count >= 0.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and casts saturate")]
        reported.map(|count| count as u64)
    };
    let answered = || {
        let message = &body["choices"][0]["message"];
        let calls = message["tool_calls"].as_array().map_or(0, |calls| calls.iter().map(|c| c.to_string().len()).sum());
        estimated_tokens(text(&message["content"]).len() + calls)
    };
    Usage {
        prompt_tokens: count(["prompt_tokens", "input_tokens"]).unwrap_or_else(|| estimated_tokens(request_bytes)),
        completion_tokens: count(["completion_tokens", "output_tokens"]).unwrap_or_else(answered),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(message: &Value, finish: &str) -> Result<Answer, &'static str> {
        read_answer(&json!({ "choices": [{ "message": message, "finish_reason": finish }] }))
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

        let legacy = json!({ "content": null, "function_call": { "name": "t", "arguments": "{}" } });
        assert_eq!(super::tests::answer(&legacy, "function_call").expect("an answer").tool_calls[0].tool, "t");
    }

    #[test]
    fn what_is_no_answer_is_said() {
        assert_eq!(read_answer(&json!({ "choices": [] })), Err("no choices"));
        assert_eq!(read_answer(&json!({ "choices": "none" })), Err("no choices"));
        assert_eq!(read_answer(&json!([1])), Err("no choices"));
        assert_eq!(answer(&json!({ "content": " " }), "stop"), Err("neither text nor tool calls"));
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
    }

    #[test]
    fn a_call_with_arguments_that_were_no_object_goes_back_as_one() {
        let assistant = Message::Assistant {
            content: String::new(),
            tool_calls: vec![RequestedCall { id: "a".to_owned(), tool: "t".to_owned(), arguments: json!("{oops") }],
        };
        let sent = message(&assistant);
        assert_eq!(sent["content"], Value::Null);
        assert_eq!(sent["tool_calls"][0]["function"]["arguments"], r#"{"invalid_arguments":"{oops"}"#);
    }
}
