//! Tool calls for models whose endpoint supports none: tools are described in the prompt and called by a JSON turn.
//!
//! A turn is one of `{"call": {"tool", "arguments"}}`, `{"output": …}` and `{"fail": reason}`.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::call_id::fresh_id;
use super::structured::candidates;
use super::{parameters, textual};
use crate::domain::conversation::{RequestedCall, ResponseSchema};
use crate::domain::json::read as read_json;
use crate::domain::tool::{FAIL_STEP, ToolSpec};

/// Fields of a turn with thoughts, which have no effect.
const DEEDS: [&str; 4] = ["call", "calls", "output", "fail"];
/// Fields of a turn with thoughts, which do nothing.
const THOUGHTS: [&str; 8] =
    ["thought", "thoughts", "thinking", "reasoning", "analysis", "rationale", "reflection", "scratchpad"];

/// Instruction and schema of the turns of a conversation.
pub(super) struct PromptedTurn {
    pub(super) instruction: String,
    pub(super) schema: ResponseSchema,
}

/// The turn in which `tools` can be called.
pub(super) fn turn(tools: &[Arc<ToolSpec>]) -> PromptedTurn {
    let callable = || tools.iter().filter(|tool| tool.name != FAIL_STEP);
    let lines: Vec<String> = callable()
        .map(|tool| format!("- {}: {} Arguments: {}", tool.name, tool.description, tool.parameters))
        .collect();
    let instruction = format!(
        "You call tools by JSON: the program calls them and gives you the result in the next message. Answer with one JSON \
         object and with nothing else, in one of these forms:\n\
         {{\"call\": {{\"tool\": \"name of a tool\", \"arguments\": {{}}}}}} to call a tool\n\
         {{\"output\": \"text or any JSON value\"}} when it is done\n\
         {{\"fail\": \"reason\"}} when it cannot be done\n\nTools:\n{}",
        lines.join("\n")
    );
    let form = |name: &str, schema: Value| json!({ "type": "object", "properties": { name: schema }, "required": [name], "additionalProperties": false });
    let call = |tool: &Arc<ToolSpec>| {
        json!({ "type": "object", "properties": { "tool": { "type": "string", "enum": [tool.name] },
            "arguments": parameters::simplified(&tool.parameters) }, "required": ["tool", "arguments"], "additionalProperties": false })
    };
    let calls: Vec<Value> = callable().map(call).collect();
    let mut forms = vec![form("output", json!({})), form("fail", json!({ "type": "string" }))];
    if !calls.is_empty() {
        forms.insert(0, form("call", json!({ "anyOf": calls })));
    }
    PromptedTurn {
        instruction,
        schema: ResponseSchema { name: "turn", schema: json!({ "anyOf": forms }), ..ResponseSchema::default() },
    }
}

/// Calls of an earlier turn, as the model would have written them.
pub(super) fn calls(content: &str, calls: &[RequestedCall]) -> String {
    let written = calls.iter().map(|call| match call.tool.as_str() {
        FAIL_STEP => json!({ "fail": call.arguments["reason"] }).to_string(),
        tool => json!({ "call": { "tool": tool, "arguments": call.arguments } }).to_string(),
    });
    let said = (!content.trim().is_empty()).then(|| content.to_owned());
    said.into_iter().chain(written).collect::<Vec<_>>().join("\n")
}

/// The message with the result of a call.
pub(super) fn result(call_id: &str, content: &str) -> String {
    format!("The result of the call ({call_id}):\n{content}")
}

/// Text and calls of a turn. Text that is no turn is read as calls written as text, or else as the output. A turn
/// with nothing but thoughts is empty.
pub(super) fn read(content: String, tools: &[Arc<ToolSpec>]) -> (String, Vec<RequestedCall>) {
    let mut made = Vec::new();
    let mut is_silent = false;
    for value in candidates(&content) {
        let Some(fields) = value.as_object() else {
            made.extend(called_in_list(&value, tools));
            continue;
        };
        if let Some(called) = called(fields) {
            made.extend(written(called, fields, tools).into_iter().map(|call| call.requested(tools)));
            continue;
        }
        if !fields.keys().all(|key| DEEDS.contains(&key.as_str()) || THOUGHTS.contains(&key.as_str())) {
            continue;
        }
        let filled = |name: &str| fields.get(name).filter(|value| !value.is_null());
        if let Some(reason) = filled("fail") {
            let reason = reason.as_str().map_or_else(|| reason.to_string(), str::to_owned);
            made.push(RequestedCall {
                id: fresh_id(),
                tool: FAIL_STEP.to_owned(),
                arguments: json!({ "reason": reason }),
                ..RequestedCall::default()
            });
        } else if let Some(output) = filled("output").filter(|_| made.is_empty()) {
            return (output.as_str().map_or_else(|| output.to_string(), str::to_owned), Vec::new());
        } else if !fields.is_empty() {
            is_silent = true;
        }
    }
    if !made.is_empty() {
        return (String::new(), made);
    }
    if let Some(found) = textual::calls(&content, tools) {
        return (found.preface, found.calls.into_iter().map(|call| call.requested(tools)).collect());
    }
    // Words behind the thoughts may be the output.
    let ends = content.trim_end_matches(|c: char| c.is_whitespace() || c == '`').ends_with('}');
    (if is_silent && ends { String::new() } else { content }, Vec::new())
}

/// The calls in a list of turns that all call.
fn called_in_list(value: &Value, tools: &[Arc<ToolSpec>]) -> Vec<RequestedCall> {
    let turns = value.as_array().map_or(&[][..], Vec::as_slice);
    let calls: Option<Vec<Vec<textual::WrittenCall>>> = turns
        .iter()
        .map(|turn| turn.as_object().and_then(|fields| Some(written(called(fields)?, fields, tools))))
        .collect();
    calls.unwrap_or_default().into_iter().flatten().map(|call| call.requested(tools)).collect()
}

/// The value of the calling field of a turn, unless it stands for nothing.
fn called(fields: &Map<String, Value>) -> Option<&Value> {
    ["call", "calls"].iter().filter_map(|name| fields.get(*name)).find(|value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !["", "none", "null"].contains(&text.trim().to_ascii_lowercase().as_str()),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    })
}

/// The calls in `called`, which stands in a turn with `fields`. An unreadable one becomes a call of no tool, so that
/// the model is told.
fn written(called: &Value, fields: &Map<String, Value>, tools: &[Arc<ToolSpec>]) -> Vec<textual::WrittenCall> {
    match called {
        Value::Array(items) => {
            items.iter().take(textual::MAX_CALLS).flat_map(|item| written(item, &Map::new(), tools)).collect()
        }
        // {"call": "add", "arguments": {…}}
        Value::String(name) => match read_json(name).ok().filter(|value| value.is_object() || value.is_array()) {
            Some(inner) => written(&inner, fields, tools),
            None => vec![textual::named(name, fields)],
        },
        _ => textual::behind_mark(called, tools).unwrap_or_else(|| vec![textual::unreadable(called)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tool::Effect;

    fn tools() -> Vec<Arc<ToolSpec>> {
        let spec = |name: &str| {
            let parameters = json!({ "type": "object", "properties": { "x": { "type": "integer" } } });
            Arc::new(ToolSpec {
                name: name.to_owned(),
                description: "Does it.".to_owned(),
                parameters,
                output: json!(true),
                effect: Effect::Read,
                idempotent: true,
                untrusted: false,
            })
        };
        vec![spec("add"), spec(FAIL_STEP)]
    }

    fn read_one(content: &str) -> (String, Vec<(String, Value)>) {
        let (content, calls) = read(content.to_owned(), &tools());
        (content, calls.into_iter().map(|call| (call.tool, call.arguments)).collect())
    }

    #[test]
    fn turns_are_read() {
        let add = (String::new(), vec![("add".to_owned(), json!({ "x": 1 }))]);
        for turn in [
            r#"{"call": {"tool": "add", "arguments": {"x": 1}}}"#,
            r#"{"call": {"tool": "add", "arguments": {"x": 1}}, "output": null, "fail": null}"#,
            r#"{"calls": [{"name": "functions.add", "arguments": "{\"x\": 1}"}]}"#,
            "Sure:\n```json\n{\"call\": {\"tool\": \"Add\", \"arguments\": {\"x\": 1}}}\n```",
            r#"<tool_call>{"name": "add", "arguments": {"x": 1}}</tool_call>"#,
            r#"{"tool": "add", "arguments": {"x": 1}}"#,
        ] {
            assert_eq!(read_one(turn), add, "{turn}");
        }
        assert_eq!(read_one(r#"{"output": "42"}"#), ("42".to_owned(), Vec::new()));
        assert_eq!(read_one(r#"{"output": {"n": 42}}"#), (r#"{"n":42}"#.to_owned(), Vec::new()));
        assert_eq!(read_one("It is 42."), ("It is 42.".to_owned(), Vec::new()));
        assert_eq!(read_one(r#"{"fail": "locked"}"#).1, [(FAIL_STEP.to_owned(), json!({ "reason": "locked" }))]);
        assert_eq!(read_one(r#"{"call": {"tool": "fly", "arguments": {}}}"#).1[0].0, "fly");
    }

    #[test]
    fn a_turn_that_calls_is_a_call_whatever_stands_in_it() {
        let one = json!({ "x": 1 });
        for (turn, tool, arguments) in [
            (r#"{"call": "add"}"#, "add", json!({})),
            (r#"{"call": "functions.add", "arguments": {"x": 1}}"#, "add", one.clone()),
            (r#"{"call": "add", "arguments": "{\"x\": 1}", "thought": "so"}"#, "add", one.clone()),
            (r#"{"call": "{\"tool\": \"add\", \"arguments\": {\"x\": 1}}"}"#, "add", one.clone()),
            (r#"{"call": {"add": {"x": 1}}}"#, "add", one.clone()),
            (r#"{"call": {"function_x": {"x": 1}}}"#, "function_x", one.clone()),
            (r#"{"call": {"function_x": {}}}"#, "function_x", json!({})),
            (r#"{"analysis": "so", "call": {"tool": "add", "arguments": {"x": 1}}}"#, "add", one.clone()),
            (r#"{"step": 1, "note": null, "call": {"tool": "add", "arguments": {"x": 1}}}"#, "add", one.clone()),
            (r#"{"call": {"tool": "add", "arguments": {"x": 1}}, "output": "done"}"#, "add", one.clone()),
            (r#"{"call": null, "calls": [{"tool": "add", "arguments": {"x": 1}}]}"#, "add", one.clone()),
            (r#"[{"call": {"tool": "add", "arguments": {"x": 1}}}]"#, "add", one.clone()),
            (r#"{"call": {"arguments": {"x": 1}}}"#, "unreadable", json!(r#"{"arguments":{"x":1}}"#)),
            (r#"{"call": 7}"#, "unreadable", json!("7")),
        ] {
            assert_eq!(read_one(turn), (String::new(), vec![(tool.to_owned(), arguments)]), "{turn}");
        }
        let several = read_one(r#"{"calls": [{"tool": "add", "arguments": {"x": 1}}, 7, "add"]}"#).1;
        assert_eq!(several.iter().map(|call| call.0.as_str()).collect::<Vec<_>>(), ["add", "unreadable", "add"]);
    }

    #[test]
    fn a_turn_of_thoughts_alone_says_nothing() {
        for turn in [
            r#"{"thought": "I should call add"}"#,
            r#"{"reasoning": "so", "analysis": ["a", "b"]}"#,
            r#"{"call": null, "output": null}"#,
            r#"{"call": null, "output": null, "fail": null, "thought": "hm"}"#,
            r#"{"call": {}, "thought": "hm"}"#,
            "```json\n{\"thought\": \"I should call add\"}\n```",
            "I think:\n{\"thought\": \"I should call add\"}",
        ] {
            assert_eq!(read_one(turn), (String::new(), Vec::new()), "{turn}");
        }
        for (turn, output) in [
            (r#"{"thought": "so", "output": "42"}"#, "42"),
            (r#"{"call": "none", "output": "42"}"#, "42"),
            (r#"{"call": [], "analysis": "so", "output": 42}"#, "42"),
            (r#"{"thought": "so"} It is 42."#, r#"{"thought": "so"} It is 42."#),
            (r#"{"name": "Ada", "thought": "so"}"#, r#"{"name": "Ada", "thought": "so"}"#),
            ("{}", "{}"),
            ("[]", "[]"),
        ] {
            assert_eq!(read_one(turn), (output.to_owned(), Vec::new()), "{turn}");
        }
    }

    #[test]
    fn a_turn_names_every_tool_once_and_failing_is_a_form_of_its_own() {
        let PromptedTurn { instruction, schema } = turn(&tools());
        assert!(
            instruction.contains("- add: Does it. Arguments:") && !instruction.contains(FAIL_STEP),
            "{instruction}"
        );
        assert_eq!(schema.schema["anyOf"].as_array().map(Vec::len), Some(3));
        assert!(!schema.schema.to_string().contains(FAIL_STEP));
    }
}
