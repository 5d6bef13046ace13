//! Values and names as other programs write them, and how an error repeats them.

use serde_json::Value;

use crate::domain::failure::Failure;

/// Longest part of a value that an error repeats, in characters.
const SHOWN_CHARS: usize = 80;

/// The failure of a value that cannot be understood; `allowed` says what can.
pub(super) fn refusal(key: &str, value: &Value, allowed: &str) -> Failure {
    Failure::invalid(format!("{key}: {} is not allowed: use {allowed}", shown(value)))
}

/// The failure of a value that would be misunderstood; `instead` says what to do.
pub(super) fn refusal_of(key: &str, value: &Value, instead: &str) -> Failure {
    Failure::invalid(format!("{key}: {} is not allowed: {instead}", shown(value)))
}

/// A whole number, also as text or as a float without fraction.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked right before")]
pub(super) fn whole(value: &Value) -> Option<i64> {
    let from_float = |float: f64| (float.fract() == 0.0 && float.abs() < 1e15).then_some(float as i64);
    match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(from_float)),
        Value::String(text) => text.trim().parse().ok().or_else(|| text.trim().parse().ok().and_then(from_float)),
        _ => None,
    }
}

/// Whether `key` is another spelling of `name`, which is lower case with underscores.
pub(super) fn same_name(key: &str, name: &str) -> bool {
    let bare = |text: &'static [char]| move |character: &char| !text.contains(character);
    let separators: &'static [char] = &['_', '-', ' '];
    key.len() <= name.len() + 8
        && key.chars().filter(bare(separators)).flat_map(char::to_lowercase).eq(name.chars().filter(bare(separators)))
}

/// A value, cut to what fits into a message.
pub(super) fn shown(value: &Value) -> String {
    let text = match value {
        // Long texts are cut before they are quoted, not after.
        Value::String(text) => Value::from(text.chars().take(SHOWN_CHARS + 1).collect::<String>()).to_string(),
        other => other.to_string(),
    };
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
