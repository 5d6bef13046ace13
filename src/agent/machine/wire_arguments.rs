//! Arguments of tools in the strict subset of JSON schema, in which a model writes them, and back.
//!
//! The subset knows no optional properties and no free-form objects: what may be left out may be null, and a value of any
//! form is the text of its JSON. Every value may be a reference, so every type allows a text.

use serde_json::{Map, Value, json};

use crate::domain::json::read;
use crate::domain::plan::has_references;

/// Schema of the arguments of a tool with `parameters`, for a decoder that is held to it.
pub(super) fn schema_of(parameters: &Value) -> Value {
    let required = parameters["required"].as_array().map_or(&[][..], Vec::as_slice);
    let properties = parameters["properties"].as_object();
    let properties: Map<String, Value> = properties
        .into_iter()
        .flatten()
        .map(|(name, schema)| (name.clone(), property(schema, required.iter().any(|required| required == name))))
        .collect();
    let names: Vec<&String> = properties.keys().collect();
    let required = json!(names);
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn property(schema: &Value, is_required: bool) -> Value {
    // A reference is no value of a list, and most lists have few values. Some decoders do not heed a list of values beside a
    // list of types.
    if let Some(values) = schema["enum"].as_array() {
        let listed = json!({"type": "string", "enum": values});
        return if is_required { listed } else { json!({"anyOf": [listed, {"type": "null"}]}) };
    }
    let mut kinds = vec!["string"];
    let simple = ["integer", "number", "boolean"];
    kinds.extend(simple.into_iter().filter(|kind| allows(schema, kind)));
    if !is_required || allows(schema, "null") {
        kinds.push("null");
    }
    if kinds.len() == 1 { json!({"type": kinds[0]}) } else { json!({ "type": kinds }) }
}

/// Whether `schema` names the type `kind`; one that names no type allows all.
fn allows(schema: &Value, kind: &str) -> bool {
    match &schema["type"] {
        Value::String(only) => only == kind,
        Value::Array(kinds) => kinds.iter().any(|allowed| allowed == kind),
        _ => schema["enum"].is_null(),
    }
}

/// Turns what was written after [`schema_of`] into arguments after `parameters`: leaves out nulls that are not allowed, and
/// reads the text of a value that is no text. Arguments in their own form stay as they are.
pub(super) fn read_back(arguments: &mut Value, parameters: &Value) {
    let Some(fields) = arguments.as_object_mut() else { return };
    let schema_of = |name: &str| &parameters["properties"][name];
    fields.retain(|name, value| !value.is_null() || schema_of(name).is_null() || allows(schema_of(name), "null"));
    for (name, value) in fields {
        let Some(text) = value.as_str() else { continue };
        let schema = schema_of(name);
        let is_text = allows(schema, "string");
        // A value of any form, which may be null, is the text of its JSON. Where text is wanted and JSON is taken for it, the
        // text is what is wanted: reading it would change its numbers and its form.
        let is_any = is_text && allows(schema, "null");
        let holds_json = (is_any || !is_text) && ["object", "array"].iter().any(|kind| allows(schema, kind));
        match read(text) {
            Ok(inner) if holds_json && (inner.is_object() || inner.is_array()) => *value = inner,
            Ok(inner) if !is_text && !has_references(text) => *value = inner,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> Value {
        let any = json!(["object", "array", "string", "number", "boolean", "null"]);
        json!({"type": "object", "required": ["url", "digits"], "properties": {
            "url": {"type": "string", "minLength": 1}, "method": {"type": "string", "enum": ["GET", "POST"], "default": "GET"},
            "headers": {"type": "object", "additionalProperties": {"type": "string"}}, "body": {"type": any},
            "content": {"type": ["string", "object", "array", "number", "boolean"]},
            "digits": {"type": "integer"}, "list": {"type": "array", "items": {"type": "string"}}}})
    }

    #[test]
    fn every_property_is_required_and_has_simple_types() {
        let schema = schema_of(&parameters());
        assert_eq!(schema["required"].as_array().map(Vec::len), Some(7));
        assert_eq!(schema["additionalProperties"], json!(false));
        let kind = |name: &str| schema["properties"][name]["type"].clone();
        assert_eq!(kind("url"), json!("string"));
        assert_eq!(
            schema["properties"]["method"],
            json!({"anyOf": [{"type": "string", "enum": ["GET", "POST"]}, {"type": "null"}]})
        );
        assert_eq!(kind("headers"), json!(["string", "null"]));
        assert_eq!(kind("digits"), json!(["string", "integer"]), "a reference is a text");
        assert_eq!(kind("body"), json!(["string", "number", "boolean", "null"]));
        let text = schema.to_string();
        assert!(!text.contains("minLength") && !text.contains("default"), "{text}");
    }

    #[test]
    fn what_was_written_becomes_the_arguments_of_the_tool() {
        for (written, read) in [
            (
                json!({"url": "x", "method": null, "headers": "{\"a\": \"b\"}", "body": null, "digits": "7", "list": null}),
                json!({"url": "x", "headers": {"a": "b"}, "body": null, "digits": 7}),
            ),
            (json!({"url": "7", "digits": "${a.value}"}), json!({"url": "7", "digits": "${a.value}"})),
            (json!({"body": "{\"a\": 1}", "list": "[\"x\"]"}), json!({"body": {"a": 1}, "list": ["x"]})),
            (json!({"body": "42", "list": ["x"], "more": null}), json!({"body": "42", "list": ["x"], "more": null})),
            (json!({"headers": "no JSON"}), json!({"headers": "no JSON"})),
            (json!({"content": "{\"price\":1.10}"}), json!({"content": "{\"price\":1.10}"})),
            (json!({"content": "[1.10]", "body": "[1]"}), json!({"content": "[1.10]", "body": [1]})),
            (json!({"content": {"a": 1}}), json!({"content": {"a": 1}})),
        ] {
            let mut arguments = written.clone();
            read_back(&mut arguments, &parameters());
            assert_eq!(arguments, read, "{written}");
        }
    }
}
