//! Requests for chat completions, as every compatible server reads them.
//!
//! Messages are put in the order that the strictest chat templates take: one system message, first; user and assistant by
//! turns; results of tools right behind their calls.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::size::is_small;
use super::{parameters, prompted};
use crate::domain::conversation::{Message, ModelRequest, Origin, RequestedCall, ResponseSchema};
use crate::domain::tool::ToolSpec;

/// Names of the field that limits the answer, by age; newer models of OpenAI refuse the old one, other servers
/// ignore the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// Form in which the schema of an answer is sent, the strictest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SchemaForm {
    /// `response_format` of type `json_schema`.
    JsonSchema,
    /// `response_format` of type `json_object` with a `schema`, as llama-cpp-python and Together take it.
    JsonObjectWithSchema,
    /// `response_format` of type `json_object`, and the schema in the prompt.
    JsonObject,
    /// In the prompt alone.
    Prompt,
}

/// How an answer is requested to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StreamForm {
    /// In pieces, with the usage in the last one.
    WithUsage,
    /// In pieces.
    Plain,
    /// Whole.
    Whole,
}

/// The form of requests that a model accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a habit of its own that a model has or has not")]
pub(super) struct Dialect {
    pub(super) schema: SchemaForm,
    /// Whether schemas have no unions.
    pub(super) plain_schemas: bool,
    pub(super) limit_field: LimitField,
    /// Whether tools are described in the prompt and called by JSON, in place of the field `tools`.
    pub(super) tools_in_prompt: bool,
    /// Whether the system message is the begin of the first user message.
    pub(super) system_in_user: bool,
    /// Whether fields of its own messages that this program does not know are kept from the model.
    pub(super) without_fields: bool,
    pub(super) stream: StreamForm,
}

/// The body of a request.
pub(super) fn request_body(
    model: &str,
    request: &ModelRequest,
    messages: &[Message],
    max_output_tokens: u32,
    dialect: Dialect,
) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model));
    let writer = Writer { model, dialect };
    let mut written = writer.messages(messages);
    let turn = (dialect.tools_in_prompt && !request.tools.is_empty()).then(|| prompted::turn(&request.tools));
    if let Some(turn) = &turn {
        instruct(&mut written, &turn.instruction);
    } else if let Some(schema) = &request.schema
        && dialect.schema != SchemaForm::JsonSchema
    {
        instruct(&mut written, &described(schema));
    }
    let wanted =
        turn.as_ref().map(|turn| (&turn.schema, false)).or(request.schema.as_ref().map(|schema| (schema, true)));
    if let Some(format) = wanted.and_then(|(schema, strict)| response_format(schema, strict, dialect)) {
        body.insert("response_format".to_owned(), format);
    }
    if dialect.system_in_user {
        fold_system(&mut written);
    }
    body.insert("messages".to_owned(), Value::Array(written));
    if turn.is_none() && !request.tools.is_empty() {
        body.insert("tools".to_owned(), request.tools.iter().map(tool).collect());
    }
    // Chance makes a small model miss what it can do: the same question was answered right with a temperature of 0, and in one
    // of three ways without. Free text is left alone, because some models repeat themselves without end at 0.
    if request.schema.is_some() && is_small(model) {
        body.insert("temperature".to_owned(), json!(0));
    }
    if let Some(field) = dialect.limit_field.name() {
        body.insert(field.to_owned(), json!(max_output_tokens));
    }
    if dialect.stream != StreamForm::Whole {
        body.insert("stream".to_owned(), json!(true));
    }
    if dialect.stream == StreamForm::WithUsage {
        body.insert("stream_options".to_owned(), json!({ "include_usage": true }));
    }
    body
}

fn response_format(schema: &ResponseSchema, strict: bool, dialect: Dialect) -> Option<Value> {
    let plain = schema.plain.as_ref().filter(|_| dialect.plain_schemas);
    let sent = plain.unwrap_or(&schema.schema);
    match dialect.schema {
        SchemaForm::JsonSchema => Some(json!({ "type": "json_schema",
            "json_schema": { "name": schema.name, "schema": sent, "strict": strict } })),
        SchemaForm::JsonObjectWithSchema => Some(json!({ "type": "json_object", "schema": sent })),
        SchemaForm::JsonObject => Some(json!({ "type": "json_object" })),
        SchemaForm::Prompt => None,
    }
}

fn described(schema: &ResponseSchema) -> String {
    if let Some(form) = schema.form {
        return format!("Answer with one JSON object of this form, and with nothing else:\n{form}");
    }
    format!(
        "Answer with one JSON object that follows this JSON schema, and with nothing else. Every property is required; \
         use null for one that has no value.\n{}",
        schema.schema
    )
}

/// Puts an instruction into the first message: some servers accept a system message at the beginning only.
fn instruct(messages: &mut Vec<Value>, instruction: &str) {
    match messages.first_mut() {
        Some(first) if first["role"] == "system" => append(first, instruction),
        _ => messages.insert(0, json!({ "role": "system", "content": instruction })),
    }
}

/// Makes the system message the begin of the first user message.
fn fold_system(messages: &mut Vec<Value>) {
    if messages.first().is_none_or(|first| first["role"] != "system") {
        return;
    }
    let system = messages.remove(0)["content"].as_str().unwrap_or_default().to_owned();
    match messages.first_mut() {
        Some(first) if first["role"] == "user" => {
            let text = first["content"].as_str().unwrap_or_default();
            first["content"] = json!(format!("{system}\n\n{text}"));
        }
        _ => messages.insert(0, json!({ "role": "user", "content": system })),
    }
}

fn append(message: &mut Value, more: &str) {
    let text = message["content"].as_str().unwrap_or_default();
    message["content"] = json!(format!("{text}\n\n{more}"));
}

struct Writer<'a> {
    model: &'a str,
    dialect: Dialect,
}

impl Writer<'_> {
    /// `messages` as the model takes them: neighbours of one role are one message.
    fn messages(&self, messages: &[Message]) -> Vec<Value> {
        let mut written: Vec<Value> = Vec::with_capacity(messages.len());
        for message in messages {
            let next = self.message(message, written.is_empty());
            let plain = |message: &Value| message.get("tool_calls").is_none();
            match written.last_mut() {
                // Some templates take nothing but the model's turn behind the result of a tool.
                Some(last) if next["role"] == "user" && (last["role"] == "user" || last["role"] == "tool") => {
                    append(last, next["content"].as_str().unwrap_or_default());
                }
                Some(last)
                    if next["role"] == "assistant" && last["role"] == "assistant" && plain(last) && plain(&next) =>
                {
                    append(last, next["content"].as_str().unwrap_or_default());
                }
                _ => written.push(next),
            }
        }
        written
    }

    fn message(&self, message: &Message, is_first: bool) -> Value {
        match message {
            Message::System { content } if is_first => json!({ "role": "system", "content": content }),
            Message::System { content } | Message::User { content } => json!({ "role": "user", "content": content }),
            Message::Tool { call_id, content } if self.dialect.tools_in_prompt => {
                json!({ "role": "user", "content": prompted::result(call_id, content) })
            }
            Message::Tool { call_id, content } => {
                json!({ "role": "tool", "tool_call_id": call_id, "content": content })
            }
            Message::Assistant { content, tool_calls, .. }
                if self.dialect.tools_in_prompt && !tool_calls.is_empty() =>
            {
                json!({ "role": "assistant", "content": prompted::calls(content, tool_calls) })
            }
            Message::Assistant { content, tool_calls, origin } => self.assistant(content, tool_calls, origin.as_ref()),
        }
    }

    fn assistant(&self, content: &str, calls: &[RequestedCall], origin: Option<&Origin>) -> Value {
        // Fields that one model understands, such as signatures of its thoughts, are refused by others.
        let own = origin.filter(|origin| origin.model == self.model && !self.dialect.without_fields);
        let mut message = own.map(|origin| origin.fields.clone()).unwrap_or_default();
        message.insert("role".to_owned(), json!("assistant"));
        let content = match (content.trim().is_empty(), calls.is_empty()) {
            (true, false) => Value::Null,
            // Servers refuse a message of the model that says nothing.
            (true, true) => json!("(no text)"),
            (false, _) => json!(content),
        };
        message.insert("content".to_owned(), content);
        if !calls.is_empty() {
            message.insert("tool_calls".to_owned(), calls.iter().map(|made| call(made, own.is_some())).collect());
        }
        Value::Object(message)
    }
}

fn call(call: &RequestedCall, with_fields: bool) -> Value {
    let arguments = match &call.arguments {
        Value::Object(_) => call.arguments.to_string(),
        // Servers parse what they are sent back, and some fail on anything but an object.
        other => json!({ "invalid_arguments": other }).to_string(),
    };
    let mut written = if with_fields { call.fields.clone() } else { Map::new() };
    let mut function = written.remove("function").and_then(|fields| fields.as_object().cloned()).unwrap_or_default();
    function.insert("name".to_owned(), json!(call.tool));
    function.insert("arguments".to_owned(), json!(arguments));
    written.insert("id".to_owned(), json!(call.id));
    written.insert("type".to_owned(), json!("function"));
    written.insert("function".to_owned(), Value::Object(function));
    Value::Object(written)
}

fn tool(tool: &Arc<ToolSpec>) -> Value {
    json!({ "type": "function",
        "function": { "name": tool.name, "description": tool.description, "parameters": parameters::simplified(&tool.parameters) } })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIALECT: Dialect = Dialect {
        schema: SchemaForm::JsonSchema,
        plain_schemas: false,
        limit_field: LimitField::MaxTokens,
        tools_in_prompt: false,
        system_in_user: false,
        without_fields: false,
        stream: StreamForm::WithUsage,
    };

    fn written(messages: &[Message], dialect: Dialect) -> Vec<Value> {
        let mut written = Writer { model: "m", dialect }.messages(messages);
        if dialect.system_in_user {
            fold_system(&mut written);
        }
        written
    }

    fn user(text: &str) -> Message {
        Message::User { content: text.to_owned() }
    }

    fn calling(arguments: Value) -> Message {
        let call = RequestedCall { id: "a".to_owned(), tool: "t".to_owned(), arguments, ..RequestedCall::default() };
        Message::Assistant { content: String::new(), tool_calls: vec![call], origin: None }
    }

    #[test]
    fn a_call_with_arguments_that_were_no_object_goes_back_as_one() {
        let sent = &written(&[calling(json!("{oops"))], DIALECT)[0];
        assert_eq!(sent["content"], Value::Null);
        assert_eq!(sent["tool_calls"][0]["function"]["arguments"], r#"{"invalid_arguments":"{oops"}"#);
    }

    #[test]
    fn an_answer_is_requested_in_pieces_as_far_as_the_model_takes_that() {
        let request = ModelRequest {
            purpose: "act",
            messages: Vec::new(),
            tools: Vec::new(),
            schema: None,
            max_output_tokens: 10,
            model: None,
            once: false,
            waits_since: None,
        };
        for (stream, fields) in [
            (StreamForm::WithUsage, json!([true, { "include_usage": true }])),
            (StreamForm::Plain, json!([true, null])),
            (StreamForm::Whole, json!([null, null])),
        ] {
            let body = request_body("m", &request, &[], 10, Dialect { stream, ..DIALECT });
            assert_eq!(json!([body.get("stream"), body.get("stream_options")]), fields);
        }
    }

    #[test]
    fn chance_is_left_out_where_a_small_model_decides() {
        let schema = ResponseSchema { name: "turn", schema: json!({}), tolerated: None, form: None, plain: None };
        let request = |schema| ModelRequest {
            purpose: "act",
            messages: Vec::new(),
            tools: Vec::new(),
            schema,
            max_output_tokens: 10,
            model: None,
            once: false,
            waits_since: None,
        };
        let sent = |model, schema| {
            request_body(model, &request(schema), &[], 10, DIALECT).get("temperature").cloned().unwrap_or_default()
        };
        assert_eq!(sent("qwen2.5-1.5b", Some(schema.clone())), json!(0));
        assert_eq!(sent("qwen2.5-1.5b", None), Value::Null, "free text");
        assert_eq!(sent("gpt-5-mini", Some(schema)), Value::Null, "some large models refuse the field");
    }

    #[test]
    fn roles_come_in_an_order_that_strict_templates_take() {
        let system = |text: &str| Message::System { content: text.to_owned() };
        let result = Message::Tool { call_id: "a".to_owned(), content: "r".to_owned() };
        let conversation = [
            system("rules"),
            user("goal"),
            user("more"),
            system("late"),
            Message::assistant(""),
            Message::assistant("x"),
            user("on"),
            calling(json!({})),
            result,
            user("in circles"),
            Message::assistant("done"),
        ];
        let sent = written(&conversation, DIALECT);
        let roles: Vec<&str> = sent.iter().filter_map(|message| message["role"].as_str()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user", "assistant", "tool", "assistant"]);
        assert_eq!(sent[1]["content"], "goal\n\nmore\n\nlate");
        assert_eq!(sent[2]["content"], "(no text)\n\nx");
        assert_eq!(sent[5]["content"], "r\n\nin circles");

        let folded = written(&conversation, Dialect { system_in_user: true, tools_in_prompt: true, ..DIALECT });
        let roles: Vec<&str> = folded.iter().filter_map(|message| message["role"].as_str()).collect();
        assert_eq!(roles, ["user", "assistant", "user", "assistant", "user", "assistant"]);
        assert_eq!(folded[0]["content"], "rules\n\ngoal\n\nmore\n\nlate");
    }

    #[test]
    fn unknown_fields_go_back_to_the_model_that_wrote_them_and_to_no_other() {
        let fields =
            |text: &str| text.parse::<Value>().ok().and_then(|value| value.as_object().cloned()).expect("fields");
        let message = |model: &str| Message::Assistant {
            content: "so".to_owned(),
            tool_calls: vec![RequestedCall {
                id: "a".to_owned(),
                tool: "t".to_owned(),
                arguments: json!({}),
                fields: fields(r#"{"extra_content": {"google": {"thought_signature": "s"}}, "function": {"mark": 1}}"#),
            }],
            origin: Some(Origin { model: model.to_owned(), fields: fields(r#"{"reasoning_content": "hm"}"#) }),
        };
        let own = &written(&[message("m")], DIALECT)[0];
        assert_eq!(own["reasoning_content"], "hm");
        assert_eq!(own["tool_calls"][0]["extra_content"]["google"]["thought_signature"], "s");
        assert_eq!(own["tool_calls"][0]["function"], json!({"name": "t", "arguments": "{}", "mark": 1}));
        for (model, dialect) in [("other", DIALECT), ("m", Dialect { without_fields: true, ..DIALECT })] {
            let sent = written(&[message(model)], dialect)[0].to_string();
            assert!(!sent.contains("hm") && !sent.contains("extra_content") && !sent.contains("mark"), "{sent}");
        }
    }
}
