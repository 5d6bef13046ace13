//! Puts an answer together from its pieces, as if it had come whole.
//!
//! Texts are appended, lists by the index of their items, and fields that this program does not know like those it knows: a
//! model may want them back.

use serde_json::{Map, Value};

use super::errors::CallError;
use super::events::Event;
use crate::domain::json::{Size, least_memory, read};

/// Fields that are no texts in pieces: the first value counts.
const FIXED: [&str; 6] = ["id", "type", "role", "object", "format", "status"];
/// Items of a list among which the one that a piece belongs to is searched, from the end: as many as calls are read at most.
const SEARCHED_ITEMS: usize = 64;

/// Longest index that is a text, in bytes.
const MAX_INDEX_BYTES: usize = 64;
/// Bytes of memory that an answer may take for each byte of its limit.
pub(super) const MEMORY_FOR_A_BYTE: usize = 8;
/// Largest account of tokens, in bytes of memory; a larger one is none.
const MAX_USAGE_MEMORY: usize = 64 * 1024;
/// Bytes that each item of a list counts in addition, also one that adds nothing: each is looked for among those before.
const ITEM_BYTES: usize = 8;

/// What one event is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A part of the answer.
    Said,
    /// Nothing of the answer: only a sign of life, or the usage.
    Sign,
    /// The end of the answer.
    Done,
    /// An error of the endpoint: its text.
    Error(String),
}

/// How large an answer is so far.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// About how long it is as JSON, in bytes, or more when it takes much more memory than that.
    bytes: usize,
    /// About how many bytes of memory it takes.
    memory: usize,
}

impl Account {
    fn add_text(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.memory += bytes;
    }

    fn add(&mut self, value: &Value) {
        let Size { text, memory } = Size::of(value);
        self.bytes += text.max(memory / MEMORY_FOR_A_BYTE);
        self.memory += memory;
    }
}

/// An answer in the making.
pub(super) struct Pieces {
    max_bytes: usize,
    account: Account,
    message: Map<String, Value>,
    has_choice: bool,
    finish: Option<Value>,
    usage: Option<Value>,
}

impl Pieces {
    /// An answer of at most `max_bytes` bytes.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            account: Account::default(),
            message: Map::new(),
            has_choice: false,
            finish: None,
            usage: None,
        }
    }

    /// Whether the model has said why it ended.
    pub(super) const fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// About how many bytes of memory it takes.
    pub(super) const fn memory(&self) -> usize {
        self.account.memory
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// When it is no JSON, or the answer gets too long.
    pub(super) fn take(&mut self, event: Event) -> Result<Piece, CallError> {
        let Event::Data { text, is_error } = event else { return Ok(Piece::Sign) };
        match text.trim() {
            "" => return Ok(Piece::Sign),
            "[DONE]" => return Ok(Piece::Done),
            _ => {}
        }
        if least_memory(text.as_bytes()) / MEMORY_FOR_A_BYTE > self.max_bytes {
            return Err(CallError::TooLarge(self.max_bytes));
        }
        let mut value = match read(&text) {
            Ok(value) => value,
            Err(_) if is_error => return Ok(Piece::Error(text)),
            Err(_) => return Err(CallError::unreadable(text.as_bytes())),
        };
        if is_error || !value["error"].is_null() || value["object"] == "error" {
            return Ok(Piece::Error(text));
        }
        let usage = take(&mut value, "usage");
        let is_first = |choice: &&mut Value| choice.get("index").is_none_or(|index| *index == 0);
        let choices = value.get_mut("choices").and_then(Value::as_array_mut);
        let choice = choices.and_then(|choices| choices.iter_mut().find(is_first));
        let Some(choice) = choice else {
            self.note_usage(usage);
            return Ok(Piece::Sign);
        };
        self.has_choice = true;
        // One provider puts it there.
        let inner = take(choice, "usage");
        self.note_usage(if usage.is_object() { usage } else { inner });
        let mut has_said = false;
        if let Some(finish) = Some(take(choice, "finish_reason")).filter(|finish| !finish.is_null()) {
            self.account.add(&finish);
            (self.finish, has_said) = (Some(finish), true);
        }
        if let Value::Object(message) = take(choice, "message") {
            self.message.clear();
            has_said |= self.merge_message(message);
        }
        if let Value::Object(delta) = take(choice, "delta") {
            has_said |= self.merge_message(delta);
        }
        if self.account.bytes > self.max_bytes {
            return Err(CallError::TooLarge(self.max_bytes));
        }
        Ok(if has_said { Piece::Said } else { Piece::Sign })
    }

    fn note_usage(&mut self, usage: Value) {
        if usage.is_object() && Size::of(&usage).memory <= MAX_USAGE_MEMORY {
            self.usage = Some(usage);
        }
    }

    /// Adds `delta` to the message; returns whether it says anything.
    fn merge_message(&mut self, delta: Map<String, Value>) -> bool {
        let says = |value: &Value| match value {
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            _ => false,
        };
        let has_said = delta.iter().any(|(name, value)| name != "role" && says(value));
        merge(&mut self.message, delta, &mut self.account);
        has_said
    }

    /// The answer in the form of one that came whole.
    pub(super) fn whole(self) -> Value {
        let object =
            |fields: [(&str, Value); 2]| Value::from_iter(fields.map(|(name, value)| (name.to_owned(), value)));
        let finish = self.finish.unwrap_or_default();
        let choice = object([("message", Value::Object(self.message)), ("finish_reason", finish)]);
        let choices = if self.has_choice { vec![choice] } else { Vec::new() };
        object([("choices", Value::Array(choices)), ("usage", self.usage.unwrap_or_default())])
    }
}

/// Takes a field out of `value`, which need not be an object.
fn take(value: &mut Value, name: &str) -> Value {
    value.get_mut(name).map(Value::take).unwrap_or_default()
}

/// Adds the fields of a piece to those before; adds what they take to `account`.
fn merge(fields: &mut Map<String, Value>, piece: Map<String, Value>, account: &mut Account) {
    for (name, value) in piece {
        match (fields.get_mut(&name), value) {
            (_, Value::Null) => {}
            (Some(Value::String(text)), Value::String(more)) => {
                // A name comes in one piece, in several, or whole with each of them.
                let is_known = FIXED.contains(&name.as_str()) || (name == "name" && *text == more);
                if text.is_empty() || !is_known {
                    account.add_text(more.len());
                    text.push_str(&more);
                }
            }
            (Some(Value::Object(inner)), Value::Object(more)) => merge(inner, more, account),
            (Some(Value::Array(items)), Value::Array(more)) => append(items, more, name == "tool_calls", account),
            (_, Value::Array(more)) => {
                let mut items = Vec::new();
                append(&mut items, more, name == "tool_calls", account);
                account.add_text(name.len());
                fields.insert(name, Value::Array(items));
            }
            // A number or a truth takes the place of the one before.
            (Some(known @ (Value::Number(_) | Value::Bool(_))), value @ (Value::Number(_) | Value::Bool(_))) => {
                *known = value;
            }
            (_, value) => {
                account.add_text(name.len());
                account.add(&value);
                fields.insert(name, value);
            }
        }
    }
}

/// Adds the items of a piece to those before: each to the one with its index, or behind them.
fn append(items: &mut Vec<Value>, piece: Vec<Value>, are_calls: bool, account: &mut Account) {
    account.bytes += piece.len() * ITEM_BYTES;
    for item in piece {
        let known = place_of(items, &item, are_calls).and_then(|place| items.get_mut(place));
        match (known, item) {
            (Some(Value::Object(known)), Value::Object(more)) => merge(known, more, account),
            (_, item) => {
                account.add(&item);
                account.bytes += 1;
                items.push(item);
            }
        }
    }
}

/// Whether `value` can tell items apart: comparing lists and objects would take as long as they are.
fn is_index(value: &Value) -> bool {
    value.is_number() || value.as_str().is_some_and(|text| text.len() <= MAX_INDEX_BYTES)
}

/// The item that `piece` continues.
fn place_of(items: &[Value], piece: &Value, are_calls: bool) -> Option<usize> {
    let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let begins_call = are_calls && text(&piece["function"]["name"]);
    let Some(index) = piece.get("index").filter(|index| is_index(index)) else {
        let continues = are_calls && !begins_call && !text(&piece["id"]);
        return items.len().checked_sub(1).filter(|_| continues);
    };
    let searched = items.iter().enumerate().rev().take(SEARCHED_ITEMS);
    let (place, known) = searched.into_iter().find(|(_, item)| item["index"] == *index)?;
    // Some servers give every call the same index.
    let is_other = begins_call && text(&piece["id"]) && text(&known["id"]) && piece["id"] != known["id"];
    (!is_other).then_some(place)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MAX_BYTES: usize = 10_000;

    fn event(value: &Value) -> Event {
        Event::Data { text: value.to_string(), is_error: false }
    }

    fn deltas(deltas: &[Value]) -> Value {
        let mut pieces = Pieces::new(MAX_BYTES);
        for delta in deltas {
            let chunk = json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] });
            pieces.take(event(&chunk)).expect("a piece");
        }
        pieces.whole()["choices"][0]["message"].take()
    }

    #[test]
    fn texts_are_appended_and_what_says_nothing_is_only_a_sign() {
        let mut pieces = Pieces::new(MAX_BYTES);
        let mut take = |value: Value| pieces.take(event(&value)).expect("a piece");
        assert_eq!(take(json!({ "choices": [{ "delta": { "role": "assistant", "content": "" } }] })), Piece::Sign);
        assert_eq!(take(json!({ "choices": [{ "delta": { "reasoning_content": "hm" } }] })), Piece::Said);
        assert_eq!(take(json!({ "choices": [{ "delta": { "role": "assistant", "content": "4" } }] })), Piece::Said);
        assert_eq!(take(json!({ "choices": [{ "index": 1, "delta": { "content": "other" } }] })), Piece::Sign);
        assert_eq!(take(json!({ "choices": [{ "delta": { "content": "2" } }], "usage": null })), Piece::Said);
        assert_eq!(take(json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] })), Piece::Said);
        assert_eq!(take(json!({ "choices": [], "usage": { "prompt_tokens": 7 } })), Piece::Sign);
        assert_eq!(pieces.take(Event::Sign), Ok(Piece::Sign));
        assert_eq!(pieces.take(Event::Data { text: " [DONE] ".to_owned(), is_error: false }), Ok(Piece::Done));
        assert!(pieces.is_finished());
        assert_eq!(
            pieces.whole(),
            json!({ "usage": { "prompt_tokens": 7 }, "choices": [{ "finish_reason": "stop",
                "message": { "role": "assistant", "content": "42", "reasoning_content": "hm" } }] })
        );
        assert_eq!(Pieces::new(MAX_BYTES).whole()["choices"], json!([]));
    }

    #[test]
    fn calls_come_in_the_pieces_of_every_server() {
        let call = |id: &str, arguments: &str| json!({ "id": id, "function": { "name": "t", "arguments": arguments } });
        let expected = json!([call("a", "{\"x\":1}"), call("b", "{}")]);
        for (server, pieces) in [
            (
                "by index",
                vec![
                    json!([{ "index": 0, "id": "a", "type": "function", "function": { "name": "t", "arguments": "" } }]),
                    json!([{ "index": 0, "function": { "arguments": "{\"x\"" } }]),
                    json!([{ "index": 1, "id": "b", "function": { "name": "t", "arguments": "{" } }]),
                    json!([{ "index": 0, "function": { "arguments": ":1}" } }, { "index": 1, "function": { "arguments": "}" } }]),
                ],
            ),
            ("whole, without an index", vec![json!([call("a", "{\"x\":1}")]), json!([call("b", "{}")])]),
            (
                "in pieces, without an index",
                vec![
                    json!([call("a", "{\"x\"")]),
                    json!([{ "function": { "arguments": ":1}" } }]),
                    json!([call("b", "{}")]),
                ],
            ),
            (
                "one index for all",
                vec![
                    json!([{ "index": 0, "id": "a", "function": { "name": "t", "arguments": "{\"x\":1}" } }]),
                    json!([{ "index": 0, "id": "b", "function": { "name": "t", "arguments": "{}" } }]),
                ],
            ),
            (
                "id and name with each piece",
                vec![
                    json!([{ "index": 0, "id": "a", "function": { "name": "t", "arguments": "{\"x\"" } }]),
                    json!([{ "index": 0, "id": "a", "function": { "name": "t", "arguments": ":1}" } }]),
                    json!([{ "index": 1, "id": "b", "function": { "name": "t", "arguments": "{}" } }]),
                ],
            ),
            (
                "another id with each piece",
                vec![
                    json!([{ "index": 0, "id": "a", "function": { "name": "t" } }]),
                    json!([{ "index": 0, "id": "a2", "function": { "arguments": "{\"x\":1}" } }]),
                    json!([{ "index": 1, "id": "b", "function": { "name": "t", "arguments": "{}" } }]),
                ],
            ),
        ] {
            let mut message =
                deltas(&pieces.into_iter().map(|calls| json!({ "tool_calls": calls })).collect::<Vec<_>>());
            for call in message["tool_calls"].as_array_mut().expect("calls") {
                call.as_object_mut().expect("a call").retain(|name, _| !["index", "type"].contains(&name.as_str()));
            }
            assert_eq!(message["tool_calls"], expected, "{server}");
        }
        let split = [
            json!([{ "index": 0, "function": { "name": "calc" } }]),
            json!([{ "index": 0, "function": { "name": "ulate" } }]),
        ];
        let message = deltas(&split.map(|calls| json!({ "tool_calls": calls })));
        assert_eq!(message["tool_calls"][0]["function"]["name"], "calculate");
    }

    #[test]
    fn unknown_fields_are_put_together_too() {
        let message = deltas(&[
            json!({ "reasoning_details": [{ "index": 0, "type": "reasoning.text", "text": "h" }], "extra": { "a": "x" } }),
            json!({ "reasoning_details": [{ "index": 0, "type": "reasoning.text", "text": "m" }], "extra": { "b": 2 } }),
            json!({ "content": [{ "type": "text", "text": "a" }] }),
            json!({ "content": [{ "type": "text", "text": "b" }] }),
        ]);
        assert_eq!(
            message,
            json!({ "reasoning_details": [{ "index": 0, "type": "reasoning.text", "text": "hm" }], "extra": { "a": "x", "b": 2 },
                "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] })
        );
    }

    #[test]
    fn what_is_of_another_kind_says_nothing() {
        let mut pieces = Pieces::new(MAX_BYTES);
        for value in [
            json!(1),
            json!("x"),
            json!([1]),
            json!({ "choices": 1, "usage": 2 }),
            json!({ "choices": [1, "x", [], null] }),
            json!({ "choices": [{ "delta": 5, "message": [], "usage": "x" }] }),
            json!({ "choices": [{ "delta": { "tool_calls": 5, "content": 7 } }] }),
            json!({ "choices": [{ "delta": { "tool_calls": [{ "index": "x", "function": 5 }, 6], "content": null } }] }),
        ] {
            let said = matches!(pieces.take(event(&value)), Ok(Piece::Said | Piece::Sign));
            assert!(said, "{value}");
        }
        assert!(pieces.whole()["choices"][0]["message"].is_object());
    }

    #[test]
    fn errors_are_told_from_pieces() {
        for (text, is_error) in [
            (r#"{"error":{"message":"m","code":429}}"#, false),
            (r#"{"error":"m","choices":[{"delta":{"content":""},"finish_reason":"error"}]}"#, false),
            (r#"{"object":"error","message":"m"}"#, false),
            (r#"{"message":"m"}"#, true),
            ("out of memory", true),
        ] {
            let piece = Pieces::new(MAX_BYTES).take(Event::Data { text: text.to_owned(), is_error });
            assert_eq!(piece, Ok(Piece::Error(text.to_owned())));
        }
        let cut = Event::Data { text: r#"{"choices":[{"delta":{"content":"oh"#.to_owned(), is_error: false };
        assert_eq!(Pieces::new(MAX_BYTES).take(cut), Err(CallError::NotJson));
    }

    #[test]
    fn the_answer_has_a_largest_size_whatever_it_consists_of() {
        let calls: Vec<Value> =
            (0..50).map(|index| json!({ "index": index, "id": "a", "function": { "name": "t" } })).collect();
        for delta in [
            json!({ "content": "x".repeat(100) }),
            json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "x".repeat(100) } }] }),
            json!({ "content": vec![json!({}); 50] }),
            json!({ "tool_calls": vec![json!({ "function": { "name": "t" } }); 50] }),
        ] {
            let mut pieces = Pieces::new(1_000);
            let chunk = event(&json!({ "choices": [{ "delta": delta }] }));
            let taken = (0..1_000).map_while(|_| pieces.take(chunk.clone()).ok()).count();
            assert!(taken < 20, "{taken} of {delta}");
        }
        let mut pieces = Pieces::new(2 * MAX_BYTES);
        let chunk = event(&json!({ "choices": [{ "delta": { "tool_calls": calls } }] }));
        for _ in 0..10 {
            pieces.take(chunk.clone()).expect("pieces that repeat what is known take little room");
        }
    }

    #[test]
    fn what_takes_much_memory_or_time_and_little_text_is_too_large() {
        let zeros = |count: usize| Value::Array(vec![json!(0); count]);
        let delta = |delta: Value| event(&json!({"choices": [{"index": 0, "delta": delta}]}));
        let mut pieces = Pieces::new(MAX_BYTES);
        assert!(matches!(pieces.take(delta(json!({"z": zeros(4_500)}))), Err(CallError::TooLarge(_))));
        // Lists and objects are no index: comparing them would take as long as they are.
        let item = |n: u32| json!({"index": {"n": n}, "function": {"arguments": "x"}});
        let message = deltas(&[json!({"tool_calls": [item(0), item(1)]})]);
        assert_eq!(message["tool_calls"].as_array().map(Vec::len), Some(1), "they go on with the last item");
        let mut pieces = Pieces::new(MAX_BYTES);
        let again = || delta(json!({"tool_calls": vec![json!({"index": 0}); 500]}));
        assert!((0..10).any(|_| pieces.take(again()).is_err()), "the same item again and again");
        let mut pieces = Pieces::new(10 * MAX_BYTES);
        pieces.take(event(&json!({"choices": [], "usage": {"a": zeros(4_500)}}))).expect("a sign of life");
        assert_eq!(pieces.whole()["usage"], Value::Null, "no account of tokens is so large");
    }
}
