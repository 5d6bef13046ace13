//! Input handling of every tool: reads the arguments, refuses with an audit line, and keeps blocking work off the
//! async threads.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tracing::Span;

use super::ToolContext;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::plan::has_references;
use crate::store::StoreError;

/// The `type` of a parameter that is text and accepts JSON in place of its text. The model sees `text` only.
pub(crate) const ANY_TYPE: [&str; 6] = ["object", "array", "string", "number", "boolean", "null"];

/// The `type` of a parameter that is text, and takes JSON to write it as its text. A model is told text alone.
pub(crate) const TEXT_OR_JSON: [&str; 5] = ["string", "object", "array", "number", "boolean"];

/// Reads the arguments of a tool into its own struct.
///
/// # Errors
/// A failure of class invalid that names the field.
pub(crate) fn parse<T: DeserializeOwned>(arguments: Value) -> Result<T, Failure> {
    serde_json::from_value(arguments).map_err(|error| Failure::invalid(format!("bad arguments: {error}")))
}

/// The text of the argument `name`, unless it holds a reference, so that it is not known before the step runs.
pub(crate) fn constant<'a>(arguments: &'a Value, name: &str) -> Option<&'a str> {
    arguments.get(name)?.as_str().filter(|text| !has_references(text))
}

/// Whether the argument `name` is given.
pub(crate) fn is_given(arguments: &Value, name: &str) -> bool {
    arguments.get(name).is_some_and(|value| !value.is_null())
}

/// The fault of the argument `name` of `tool`.
pub(crate) fn argument_fault(tool: &str, name: &str, reason: impl std::fmt::Display) -> String {
    let reason = excerpt(&reason.to_string(), 500);
    format!("the argument {name:?} of {tool}: {reason}")
}

/// The bytes of a base64 text.
///
/// # Errors
/// The reason.
pub(crate) fn base64_bytes(text: &str) -> Result<Vec<u8>, String> {
    BASE64_STANDARD.decode(text).map_err(|error| format!("content is not base64: {error}"))
}

/// What is wrong with the constant `content` of `tool` when its `encoding` is base64.
pub(crate) fn base64_fault(tool: &str, arguments: &Value) -> Option<String> {
    let content = constant(arguments, "content").filter(|_| constant(arguments, "encoding") == Some("base64"))?;
    base64_bytes(content).err().map(|reason| argument_fault(tool, "content", reason))
}

/// The JSON schema of an object with these properties and no others.
pub(crate) fn object(properties: &Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// Writes a `content` that is given as JSON as its text, with a line for each field; `true` when it was an object or a
/// list.
pub(crate) fn content_as_text(arguments: &mut Value) -> bool {
    let Some(content) = arguments.get_mut("content").filter(|content| !content.is_string() && !content.is_null())
    else {
        return false;
    };
    let is_nested = content.is_object() || content.is_array();
    *content = Value::String(format!("{content:#}"));
    is_nested
}

/// The failure for a call that policy forbids, after writing it to the audit log. `reason` names the input and holds
/// no secret.
pub(crate) fn refused(tool: &str, context: &ToolContext, reason: impl std::fmt::Display) -> Failure {
    let reason = excerpt(&reason.to_string(), 500);
    tracing::warn!(
        target: "qron::audit", tool, task = %context.task_id, step = %context.step, user = context.user, %reason,
        "tool call refused"
    );
    Failure::permanent(format!("refused: {reason}"))
}

/// The failure of a tool when the store failed.
pub(crate) fn store_failure(error: &StoreError) -> Failure {
    let class = if error.is_transient() { FailureClass::Transient } else { FailureClass::Permanent };
    Failure::new(class, error.to_string())
}

/// Runs `work` where blocking is allowed. When the caller is dropped, `work` still ends by itself: it must be bounded.
///
/// # Errors
/// The result of `work`, or a failure of class permanent when it panicked.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let span = Span::current();
    match tokio::task::spawn_blocking(move || span.in_scope(work)).await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => Err(Failure::permanent("the tool panicked; this is a fault of qron")),
        Err(_) => Err(Failure::transient("the program is shutting down")),
    }
}

/// The first `max` bytes of `text`, cut between characters, with an ellipsis when something was left out.
pub(crate) fn excerpt(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(max)])
}

#[cfg(test)]
pub(crate) fn test_context() -> ToolContext {
    ToolContext {
        task_id: crate::domain::id::TaskId::Number(7),
        user: None,
        goal: String::new(),
        step: "s1".into(),
        idempotency_key: "7/s1/1".into(),
        rights: crate::domain::tree::Rights::default(),
        redirects: None,
        handed_over: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_ends_between_characters() {
        assert_eq!(excerpt("äöü", 3), "ä…");
        assert_eq!(excerpt("äöü", 6), "äöü");
    }

    #[test]
    fn content_given_as_json_becomes_text() {
        for (given, text, nested) in [
            (json!({"b": [1, "x"]}), "{\n  \"b\": [\n    1,\n    \"x\"\n  ]\n}", true),
            (json!([]), "[]", true),
            (json!(42), "42", false),
            (json!(1.5), "1.5", false),
            (json!(false), "false", false),
            (json!("{}"), "{}", false),
        ] {
            let mut arguments = json!({"name": "a", "content": given});
            assert_eq!(content_as_text(&mut arguments), nested, "{given}");
            assert_eq!(arguments, json!({"name": "a", "content": text}));
        }
        for mut other in [json!({"name": "a"}), json!({"content": null}), json!([1]), json!(null)] {
            let before = other.clone();
            assert!(!content_as_text(&mut other));
            assert_eq!(other, before);
        }
    }

    #[test]
    fn a_refusal_is_permanent_and_names_its_reason() {
        let failure = refused("read_file", &test_context(), "path \"../x\" leaves the folder");
        assert_eq!(failure, Failure::permanent("refused: path \"../x\" leaves the folder"));
    }
}
