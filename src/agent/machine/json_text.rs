//! JSON that models write as text.

use serde_json::Value;

use crate::domain::json::read;

/// The value when `text` is a JSON object or array and nothing else; otherwise the text.
pub(super) fn text_or_json(text: &str) -> Value {
    match read(inner_json(text)) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
        _ => Value::String(text.to_owned()),
    }
}

/// `text` without the code fence that models put around JSON.
pub(super) fn inner_json(text: &str) -> &str {
    let text = text.trim();
    let Some(fenced) = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")) else { return text };
    fenced.split_once('\n').map_or(fenced, |(_, body)| body).trim()
}
