//! Small conversions between JSON, Qdrant's values and point ids.

use std::collections::HashMap;

use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::{Condition, PointId, RepeatedStrings, Value as QdrantValue};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::domain::id::TaskId;
use crate::domain::json::is_too_large;
use crate::domain::time::Timestamp;
use crate::telemetry::secrets;

/// Deepest nesting that is sent as it is. Decoders of the protocol stop at 100 nested messages, and one level of
/// JSON takes up to three.
pub(in crate::store) const MAX_DEPTH: usize = 24;

/// The field is this text. Given a text with a space, the client would have the server look for it within others.
pub(in crate::store) fn exactly(field: &str, text: String) -> Condition {
    Condition::matches(field, MatchValue::Keyword(text))
}

/// The field is any word at all: asked of the index, which tells at once when there is none.
pub(in crate::store) fn any_word(field: &str) -> Condition {
    Condition::matches(field, MatchValue::ExceptKeywords(RepeatedStrings { strings: Vec::new() }))
}

/// The id of a task's point.
pub(in crate::store) fn point_id(id: TaskId) -> PointId {
    match id {
        TaskId::Number(number) => number.into(),
        TaskId::Uuid(uuid) => uuid.into(),
    }
}

/// The task of a point; `None` for an id this program cannot name.
pub(in crate::store) fn task_id(id: Option<&PointId>) -> Option<TaskId> {
    match id?.point_id_options.as_ref()? {
        PointIdOptions::Num(number) => Some(TaskId::Number(*number)),
        PointIdOptions::Uuid(text) => Uuid::parse_str(text).ok().map(TaskId::Uuid),
    }
}

/// A payload as Qdrant takes it, its values without the secrets of this process. What is nested deeper than [`MAX_DEPTH`] becomes JSON
/// text.
pub(in crate::store) fn to_payload(mut object: Map<String, Value>) -> HashMap<String, QdrantValue> {
    secrets::redactor().redact_values(&mut object);
    object.into_iter().map(|(key, value)| (key, shallow(value, MAX_DEPTH).into())).collect()
}

/// A payload as JSON, with the names of each object in the order of the alphabet: the store gives them in another order each time,
/// and what is shown twice must be the same twice. A secret that another client wrote stays in it: each way out of qron, answers, prompts, logs and writes,
/// searches what it lets through.
pub(in crate::store) fn from_payload(payload: HashMap<String, QdrantValue>) -> Map<String, Value> {
    let sorted = |value: QdrantValue| {
        let mut value = value.into_json();
        value.sort_all_objects();
        value
    };
    let mut object: Map<String, Value> = payload.into_iter().map(|(key, value)| (key, sorted(value))).collect();
    object.sort_keys();
    object
}

/// Deepest nesting of JSON that is kept as text; its parser stops at 128 levels.
const MAX_TEXT_DEPTH: usize = 100;

/// JSON text that comes back as `value` exactly, but for what is nested deeper than any parser would follow: that
/// becomes text within the text.
pub(in crate::store) fn to_text(value: &Value) -> String {
    if is_within(value, MAX_TEXT_DEPTH) {
        value.to_string()
    } else {
        shallow(value.clone(), MAX_TEXT_DEPTH).to_string()
    }
}

/// `value` with everything below `depth` levels as JSON text, and with whole numbers that the store would round as text.
fn shallow(value: Value, depth: usize) -> Value {
    match value {
        Value::Array(_) | Value::Object(_) if depth == 0 => Value::String(value.to_string()),
        Value::Array(items) => items.into_iter().map(|item| shallow(item, depth - 1)).collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, item)| (key, shallow(item, depth - 1))).collect(),
        // The protocol has whole numbers up to 2^63, and floats for the others.
        Value::Number(number) if is_too_large(&number) => Value::String(number.to_string()),
        other => other,
    }
}

/// Whether `value` is nested at most `depth` levels.
pub(in crate::store) fn is_within(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(items) => depth > 0 && items.iter().all(|item| is_within(item, depth - 1)),
        Value::Object(fields) => depth > 0 && fields.values().all(|item| is_within(item, depth - 1)),
        _ => true,
    }
}

/// About how many bytes `value` takes in a request.
pub(in crate::store) fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 8,
        Value::Array(items) => items.iter().map(weight).sum::<usize>() + 8,
        Value::Object(fields) => fields.iter().map(|(key, item)| key.len() + 8 + weight(item)).sum::<usize>() + 8,
        _ => 16,
    }
}

/// A bound of a range filter; exact, since milliseconds of the years we accept fit into 53 bits.
#[expect(clippy::cast_precision_loss, reason = "times stay far below 2^53 milliseconds")]
pub(in crate::store) const fn bound(at: Timestamp) -> f64 {
    at.as_millis() as f64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nested(levels: usize) -> Value {
        (0..levels)
            .fold(json!("core"), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({"a": inner}) })
    }

    #[test]
    fn a_payload_is_read_in_the_same_order_each_time() {
        let fields = |depth: usize| -> Map<String, Value> {
            let inner = json!({"value": depth, "exact": true, "basis": [{"z": 1, "a": 2}], "name": "n"});
            ["steps", "output", "reason", "left"].into_iter().map(|name| (name.to_owned(), inner.clone())).collect()
        };
        let expected = r#""basis":[{"a":2,"z":1}],"exact":true,"name":"n","value":1"#;
        for _ in 0..20 {
            let read = serde_json::to_string(&from_payload(to_payload(fields(1)))).expect("JSON");
            assert!(read.starts_with(&format!("{{\"left\":{{{expected}}},\"output\"")), "{read}");
        }
    }

    #[test]
    fn deep_values_keep_their_content_as_text() {
        let fine = nested(MAX_DEPTH);
        assert!(is_within(&fine, MAX_DEPTH));
        assert_eq!(shallow(fine.clone(), MAX_DEPTH), fine);
        let deep = nested(MAX_DEPTH + 3);
        assert!(!is_within(&deep, MAX_DEPTH));
        let cut = shallow(deep, MAX_DEPTH);
        assert!(is_within(&cut, MAX_DEPTH));
        assert!(cut.to_string().contains("core"));
        for levels in [MAX_TEXT_DEPTH, 500] {
            let read: Value = serde_json::from_str(&to_text(&nested(levels))).expect("readable");
            assert_eq!(read == nested(levels), levels == MAX_TEXT_DEPTH);
        }
    }

    #[test]
    fn whole_numbers_that_do_not_fit_keep_their_digits() {
        let numbers = json!({"n": [i64::MAX, i64::MIN, u64::MAX, 9_223_372_036_854_775_808_u64, 1.5]});
        let Value::Object(numbers) = numbers else { panic!("an object") };
        let kept = json!({"n": [i64::MAX, i64::MIN, "18446744073709551615", "9223372036854775808", 1.5]});
        assert_eq!(Value::Object(from_payload(to_payload(numbers))), kept);
    }

    #[test]
    fn ids_survive_the_way_through_a_point() {
        for id in [TaskId::Number(u64::MAX), TaskId::fresh()] {
            assert_eq!(task_id(Some(&point_id(id))), Some(id));
        }
    }
}
