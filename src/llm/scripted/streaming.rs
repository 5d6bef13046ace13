//! Answers in pieces: the events that make up a completion.

use serde_json::{Value, json};

/// Pieces that a text is cut into at most.
const MAX_PIECES: usize = 32;
/// Characters of a piece at least.
const MIN_CHARS: usize = 8;

/// In which form an answer goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerForm {
    Whole,
    Pieces {
        /// Whether the usage comes in an event of its own, at the end.
        with_usage: bool,
    },
}

impl AnswerForm {
    /// The form that `request` wants from a server that `streams` or does not.
    pub(super) fn of(request: &Value, streams: bool) -> Self {
        if !streams || request["stream"] != true {
            return Self::Whole;
        }
        Self::Pieces { with_usage: request["stream_options"]["include_usage"] == true }
    }
}

/// The stream of `completion`.
pub(super) fn events(completion: &Value, with_usage: bool) -> String {
    let mut events = Vec::new();
    let choices = completion["choices"].as_array().map_or(&[][..], Vec::as_slice);
    for choice in choices {
        let message = &choice["message"];
        let mut delta = |delta: Value| events.push(json!([{ "index": 0, "delta": delta, "finish_reason": null }]));
        delta(
            json!({ "role": "assistant", "content": if message["content"].is_string() { json!("") } else { Value::Null } }),
        );
        for piece in pieces(message["content"].as_str().unwrap_or_default()) {
            delta(json!({ "content": piece }));
        }
        for (index, call) in message["tool_calls"].as_array().into_iter().flatten().enumerate() {
            let function = json!({ "name": call["function"]["name"], "arguments": "" });
            let begin = json!({ "index": index, "id": call["id"], "type": "function", "function": function });
            delta(json!({ "tool_calls": [begin] }));
            for piece in pieces(call["function"]["arguments"].as_str().unwrap_or_default()) {
                delta(json!({ "tool_calls": [{ "index": index, "function": { "arguments": piece } }] }));
            }
        }
        events.push(json!([{ "index": 0, "delta": {}, "finish_reason": choice["finish_reason"] }]));
    }
    let chunk = |choices: Value, usage: &Value| {
        json!({ "id": completion["id"], "object": "chat.completion.chunk", "created": 0, "model": completion["model"],
            "choices": choices, "usage": usage })
    };
    let chunks = events.into_iter().map(|choices| chunk(choices, &Value::Null));
    let usage = with_usage.then(|| chunk(json!([]), &completion["usage"]));
    let written: Vec<String> = chunks.chain(usage).map(|chunk| format!("data: {chunk}\n\n")).collect();
    written.concat() + "data: [DONE]\n\n"
}

/// `text` in pieces, none of them empty.
fn pieces(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let length = letters.len().div_ceil(MAX_PIECES).max(MIN_CHARS);
    letters.chunks(length).map(|piece| piece.iter().collect()).collect()
}
