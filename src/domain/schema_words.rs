//! The JSON schema of a value, in words for people.

use serde_json::Value;

/// The type of a value in words, with its bounds and default.
#[must_use]
pub fn kind(schema: &Value) -> String {
    format!("{}{}", allowed(schema), default(schema))
}

/// The values that `schema` allows, in words.
#[must_use]
pub fn allowed(schema: &Value) -> String {
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> = values.iter().map(shown).collect();
        return values.join(" or ");
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => return "any JSON".to_owned(),
    };
    let words: Vec<String> = types.iter().map(|name| word(name, schema)).collect();
    words.join(" or ")
}

fn word(name: &str, schema: &Value) -> String {
    match name {
        "string" => "text".to_owned(),
        "integer" => format!("whole number{}", bounds(schema)),
        "number" => format!("number{}", bounds(schema)),
        "boolean" => "true or false".to_owned(),
        "array" => format!("list of {}", plural(&schema["items"])),
        other => other.to_owned(),
    }
}

fn plural(items: &Value) -> String {
    match items["type"].as_str() {
        Some("string") => "texts".to_owned(),
        Some("integer") => "whole numbers".to_owned(),
        Some("number") => "numbers".to_owned(),
        Some("object") => "objects".to_owned(),
        _ => "JSON values".to_owned(),
    }
}

fn bounds(schema: &Value) -> String {
    match (&schema["minimum"], &schema["maximum"]) {
        (Value::Null, Value::Null) => String::new(),
        (least, Value::Null) => format!(", {least} or more"),
        (Value::Null, most) => format!(", {most} at most"),
        (least, most) => format!(", {least} to {most}"),
    }
}

fn default(schema: &Value) -> String {
    schema.get("default").map_or_else(String::new, |value| format!("; {} when absent", shown(value)))
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_are_described_in_words() {
        for (schema, words) in [
            (json!({ "type": "string" }), "text"),
            (json!({ "type": ["string", "null"] }), "text or null"),
            (json!({ "type": "integer", "minimum": 0, "maximum": 10 }), "whole number, 0 to 10"),
            (json!({ "type": "integer", "minimum": 1 }), "whole number, 1 or more"),
            (json!({ "type": "number", "maximum": 0.5 }), "number, 0.5 at most"),
            (json!({ "type": "array", "items": { "type": "string" } }), "list of texts"),
            (json!({ "type": "array" }), "list of JSON values"),
            (json!({ "enum": ["GET", "PUT"], "default": "GET" }), "GET or PUT; GET when absent"),
            (json!({ "type": "boolean", "default": false }), "true or false; false when absent"),
            (json!({}), "any JSON"),
        ] {
            assert_eq!(kind(&schema), words, "{schema}");
        }
    }
}
