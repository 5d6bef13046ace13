//! Answers of the largest size in shapes that are dear to read, and answers made of marks at random.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::events::EventReader;
use super::pieces::Pieces;
use super::reading::{Answer, read_answer};
use super::structured::Schema;
use super::{textual, thoughts};
use crate::domain::conversation::ResponseSchema;
use crate::domain::tool::{Effect, ToolSpec};

/// Pieces that begin something and never end it, or that look like the beginning of many things.
const PIECES: [&str; 52] = [
    "{",
    "[",
    "}",
    "]",
    "<",
    "`",
    "```\n",
    "\n```",
    "````\n```\n",
    "` ",
    "`\n",
    "\\",
    "\"",
    "\\\"",
    "{\"",
    "{\"a\":",
    "{\"a\":[",
    "{\"name\":",
    "{\"name\": \"x\", \"arguments\": {",
    "{},",
    "[[],",
    ",",
    ", ",
    "{,}",
    "<think>",
    "</think>",
    "<think></think>",
    "`<think>`",
    "[THINK]",
    "<answer>",
    "<answer></answer>",
    "<|im_end|>",
    "<|channel|>",
    "<|channel|>final<|message|>",
    "<|channel|>commentary to=",
    "<|start|>assistant<|channel|>",
    "<tool_call>",
    "</tool_call>",
    "[TOOL_CALLS]",
    "<function=a>",
    "<function=a></function>",
    "<invoke name=\"a\">",
    "<parameter=x>",
    "<parameter=x>v</parameter>",
    "<arg_key>",
    "<arg_key>a</arg_key><arg_value>b</arg_value>",
    "a(",
    "a(b=1,",
    "calculate(expression='",
    "Action: calculate\nAction Input:",
    "✿function✿",
    "function ",
];
const BYTES: usize = 24 * 1024;
/// Bytes of a hostile stream.
const STREAM_BYTES: usize = 512 * 1024;

fn tools() -> Vec<Arc<ToolSpec>> {
    let parameters = json!({"type": "object", "properties": {"expression": {"type": "string"}}});
    let spec = |name: &str| ToolSpec {
        name: name.to_owned(),
        description: String::new(),
        parameters: parameters.clone(),
        output: json!(true),
        effect: Effect::Read,
        idempotent: true,
        untrusted: false,
    };
    vec![Arc::new(spec("calculate")), Arc::new(spec("nap"))]
}

fn schema() -> ResponseSchema {
    let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}});
    ResponseSchema { name: "test", schema, ..ResponseSchema::default() }
}

/// Reads `text` in every way in which an answer is read.
fn read_in_every_way(text: &str) -> Vec<Answer> {
    let body = |message: Value| json!({ "choices": [{ "message": message, "finish_reason": "length" }] });
    let plain = body(json!({ "content": text }));
    let arguments = body(json!({ "tool_calls": [{ "id": "a", "function": { "name": text, "arguments": text } }] }));
    let schema = schema();
    drop(Schema::compile(&schema).expect("a schema").extract(&thoughts::cut(text)));
    textual::looks_like_call(text);
    let bodies = [(&plain, false), (&plain, true), (&arguments, false)];
    bodies.into_iter().filter_map(|(body, in_prompt)| read_answer(body, &tools(), in_prompt).ok()).collect()
}

#[test]
fn no_answer_takes_time_beyond_proportion() {
    let fences: String = (3..200).rev().map(|ticks| "`".repeat(ticks) + "\n").collect();
    let opened = |opening: &str, piece: &str| opening.to_owned() + &piece.repeat(BYTES / piece.len());
    let mut texts: Vec<String> = PIECES.iter().map(|piece| piece.repeat(BYTES / piece.len())).collect();
    texts.extend([
        fences,
        opened("<function=a>", "<parameter=x>v</parameter>"),
        opened("<tool_call>a", "<arg_key>a</arg_key><arg_value>b</arg_value>"),
        opened("", "{\"a\": \"") + "\"",
        opened(&"{\"".repeat(40), "a"),
        opened(&"{\"a\": [".repeat(40), "1, "),
        opened("```json\n", "{\"name\": \"calculate\", \"arguments\": {}},"),
        opened("calculate(", "a=1, "),
    ]);
    let mut slowest = (Duration::ZERO, String::new());
    for text in &texts {
        let began = Instant::now();
        read_in_every_way(text);
        slowest = slowest.max((began.elapsed(), text.chars().take(40).collect()));
    }
    // Quadratic work on as much takes minutes in an unoptimised build.
    assert!(slowest.0 < Duration::from_secs(20), "{slowest:?}");
}

/// Reads `text` as a stream that arrives in parts of `bytes` bytes; returns how many events were taken before it was refused.
fn read_stream(text: &str, bytes: usize) -> usize {
    let (mut reader, mut pieces, mut events) = (EventReader::new(STREAM_BYTES), Pieces::new(STREAM_BYTES), Vec::new());
    let mut taken = 0;
    for part in text.as_bytes().chunks(bytes) {
        if reader.push(part, &mut events).is_err() {
            return taken;
        }
        for event in events.drain(..) {
            if pieces.take(event).is_err() {
                return taken;
            }
            taken += 1;
        }
    }
    assert!(pieces.whole().to_string().len() <= 2 * STREAM_BYTES);
    taken
}

#[test]
fn no_stream_takes_time_beyond_proportion() {
    let call =
        |index: usize| json!({ "choices": [{ "delta": { "tool_calls": [{ "index": index, "function": {} }] } }] });
    let stream = |chunks: Vec<Value>| -> String {
        let events: Vec<String> = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
        events.concat()
    };
    let calls = stream((0..5_000).map(|number| call(number * 63 % 64)).collect());
    let new_calls = stream((0..5_000).map(call).collect());
    let nested = format!("data: {}\n\n", "{\"choices\":[".repeat(40_000));
    let repeated = |piece: &str| piece.repeat(STREAM_BYTES / piece.len());
    let mut slowest = (Duration::ZERO, String::new());
    for text in [
        calls,
        new_calls,
        nested,
        repeated("data: {\n"),
        repeated("data: 1\n\n"),
        repeated("data: {}\n"),
        repeated("\r"),
        repeated(": \n"),
        repeated("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"),
        repeated("data: {\"choices\":[{\"delta\":{\"content\":[{},{},{}]}}]}\n\n"),
        repeated("x"),
    ] {
        for bytes in [1, STREAM_BYTES] {
            let began = Instant::now();
            read_stream(&text, bytes);
            slowest = slowest.max((began.elapsed(), text.chars().take(60).collect()));
        }
    }
    assert!(slowest.0 < Duration::from_secs(20), "{slowest:?}");
}

#[test]
fn an_answer_of_more_than_a_megabyte_is_none() {
    let body = |bytes: usize| json!({ "choices": [{ "message": { "content": "a".repeat(bytes) } }] });
    assert!(read_answer(&body(1024 * 1024), &[], false).is_ok());
    assert_eq!(read_answer(&body(1024 * 1024 + 1), &[], false), Err("more than 1 MiB of text"));
}

#[test]
fn of_thousands_of_calls_the_first_are_read() {
    let calls: Vec<Value> =
        (0..50_000).map(|number| json!({"id": format!("c{number:08}"), "function": {"name": "nap"}})).collect();
    let lists = [
        (json!({ "content": null, "tool_calls": calls }), false),
        (json!({ "content": json!(vec![json!({"call": "nap"}); 50_000]).to_string() }), true),
    ];
    for (message, in_prompt) in lists {
        let began = Instant::now();
        let answer =
            read_answer(&json!({ "choices": [{ "message": message }] }), &tools(), in_prompt).expect("an answer");
        assert_eq!(answer.tool_calls.len(), 64);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}

fn any_answer() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => proptest::sample::select(PIECES.to_vec()).prop_map(str::to_owned),
        2 => proptest::sample::select(vec!["calculate", "6*7", "expression", "\"", ": ", "}", ")", "\n", "é", "to=x"])
            .prop_map(str::to_owned),
        1 => "\\PC{0,4}",
    ];
    proptest::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_answer_breaks_the_reader_or_grows(text in any_answer()) {
        let cut = thoughts::cut(&text);
        // The name of a tool in front of a channel moves behind it.
        prop_assert!(cut.len() <= text.len() + 100, "{cut:?}");
        for answer in read_in_every_way(&text) {
            let calls: usize = answer.tool_calls.iter().map(|call| call.arguments.to_string().len()).sum();
            prop_assert!(answer.content.len() <= text.len() + 100);
            prop_assert!(answer.tool_calls.len() <= 64 && calls <= 64 * (8 * text.len() + 100));
        }
    }

    /// A call that is written as a model was trained to write it is read as it was meant.
    #[test]
    fn what_is_written_as_a_call_is_read_as_one(expression in "[a-z0-9+*/() .é-]{1,30}", form in 0_usize..3) {
        let quoted = json!(expression).to_string();
        let text = match form {
            0 => format!("<tool_call>{{\"name\": \"calculate\", \"arguments\": {{\"expression\": {quoted}}}}}</tool_call>"),
            1 => format!("<function=calculate><parameter=expression>{expression}</parameter></function>"),
            _ => format!("{{\"name\": \"calculate\", \"arguments\": {{\"expression\": {quoted}}}}}"),
        };
        let found = textual::calls(&thoughts::cut(&text), &tools()).expect("a call");
        let calls: Vec<_> = found.calls.into_iter().map(|call| call.requested(&tools())).collect();
        prop_assert_eq!(calls.len(), 1);
        prop_assert_eq!(&calls[0].arguments, &json!({ "expression": expression }));
    }
}
