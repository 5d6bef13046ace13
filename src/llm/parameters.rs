//! Schemas of the parameters of tools, as endpoints and templates take them: each with one type.
//!
//! A parameter that takes any value is described as text that holds JSON; such text in an answer is converted back.

use serde_json::{Map, Value, json};

use crate::domain::json::read;

/// `schema` with one type for each parameter; items of lists keep theirs.
pub(super) fn simplified(schema: &Value) -> Value {
    let Some(fields) = schema.as_object() else { return schema.clone() };
    let mut simple: Map<String, Value> =
        fields.iter().map(|(name, value)| (name.clone(), inner(name, value))).collect();
    if let Some(kinds) = fields.get("type").and_then(Value::as_array) {
        simple.insert("type".to_owned(), json!(one_of(kinds)));
        if takes_any(schema) {
            let description = fields.get("description").and_then(Value::as_str).unwrap_or("any JSON value");
            simple.insert("description".to_owned(), json!(format!("{description}; as JSON text when it is no text")));
        }
    }
    Value::Object(simple)
}

fn inner(name: &str, value: &Value) -> Value {
    match (name, value) {
        ("properties", Value::Object(fields)) => {
            fields.iter().map(|(name, schema)| (name.clone(), simplified(schema))).collect()
        }
        _ => value.clone(),
    }
}

/// The only type but null, or else text.
fn one_of(kinds: &[Value]) -> &str {
    let mut kinds = kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null");
    match (kinds.next(), kinds.next()) {
        (Some(only), None) => only,
        _ => "string",
    }
}

fn takes_any(schema: &Value) -> bool {
    let Some(kinds) = schema["type"].as_array() else { return false };
    ["string", "object", "null"].iter().all(|kind| kinds.iter().any(|known| known == kind))
}

/// Turns the text of an object or a list back into its value, where a parameter takes any value.
pub(super) fn restored(arguments: &mut Value, schema: &Value) {
    let Some(fields) = arguments.as_object_mut() else { return };
    for (name, value) in fields {
        let Some(text) = value.as_str().filter(|_| takes_any(&schema["properties"][name.as_str()])) else { continue };
        if let Ok(inner @ (Value::Object(_) | Value::Array(_))) = read(text) {
            *value = inner;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_described_with_one_type_and_read_with_all() {
        let any = json!(["object", "array", "string", "number", "boolean", "null"]);
        let schema = json!({"type": "object", "required": ["v"], "properties": {
            "v": {"type": any.clone(), "description": "any value"}, "n": {"type": ["integer", "null"]}, "s": {"type": "string"},
            "t": {"type": ["string", "object", "array"], "description": "text; JSON is written as its text"},
            "l": {"type": "array", "items": {"type": any.clone()}}}});
        let simple = simplified(&schema);
        let kind = |path: &str| simple.pointer(path).cloned().expect("a type");
        assert_eq!(kind("/properties/v/type"), "string");
        assert_eq!(kind("/properties/v/description"), "any value; as JSON text when it is no text");
        assert_eq!(
            kind("/properties/t"),
            json!({"type": "string", "description": "text; JSON is written as its text"})
        );
        assert_eq!(kind("/properties/n/type"), "integer");
        assert_eq!(kind("/properties/l/items/type"), any, "templates look at parameters alone");
        assert_eq!((kind("/required"), kind("/properties/s")), (json!(["v"]), json!({"type": "string"})));

        for (written, read) in [
            (json!({"v": "{\"a\": 1}", "t": "{\"a\": 1}"}), json!({"v": {"a": 1}, "t": "{\"a\": 1}"})),
            (json!({"v": "[1]", "s": "[1]"}), json!({"v": [1], "s": "[1]"})),
            (json!({"v": "42"}), json!({"v": "42"})),
            (json!({"v": {"a": 1}}), json!({"v": {"a": 1}})),
            (json!("text"), json!("text")),
        ] {
            let mut arguments = written.clone();
            restored(&mut arguments, &schema);
            assert_eq!(arguments, read, "{written}");
        }
    }
}
