//! From what a model said to a value that follows a schema, or to a sentence that tells it what is wrong.

use jsonschema::Validator;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::errors::shorten;
use crate::domain::conversation::{Message, ResponseSchema};
use crate::domain::failure::Failure;
use crate::domain::json;

/// Places in one answer where a value may begin that are tried.
const MAX_CANDIDATES: usize = 32;
/// Longest description of what is wrong, in characters.
const MISTAKE_CHARS: usize = 500;
/// Longest part of a wrong answer that is shown to the model again, in characters.
const ANSWER_CHARS: usize = 4_000;

/// Why an answer does not follow its schema.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// For the model; may quote its answer.
    pub(super) mistake: String,
    /// For logs and failures; quotes nothing.
    pub(super) summary: String,
    /// Whether there was any JSON at all.
    pub(super) is_json: bool,
}

/// A compiled schema.
pub(super) struct Schema<'a> {
    schema: &'a ResponseSchema,
    validator: Validator,
}

impl<'a> Schema<'a> {
    /// Compiles `schema`.
    ///
    /// # Errors
    /// When it is no JSON schema.
    pub(super) fn compile(schema: &'a ResponseSchema) -> Result<Self, Failure> {
        let validator = jsonschema::validator_for(&schema.schema).map_err(|error| {
            Failure::invalid(format!("response schema {:?} is no JSON schema: {error}", schema.name))
        })?;
        Ok(Self { schema, validator })
    }

    /// The first value in `content` that follows the schema, as JSON text.
    ///
    /// Fences, words around the value and trailing commas are forgiven, and so is what [`fit`] mends; nothing is
    /// guessed beyond that.
    pub(super) fn extract(&self, content: &str) -> Result<String, Mismatch> {
        let mut first_value = None;
        for value in candidates(without_thoughts(content)) {
            if self.validator.is_valid(&value) {
                return Ok(value.to_string());
            }
            let mut fitted = value.clone();
            fit(&mut fitted, &self.schema.schema, true);
            if self.validator.is_valid(&fitted) {
                return Ok(fitted.to_string());
            }
            first_value.get_or_insert(value);
        }
        let Some(value) = first_value else {
            return Err(Mismatch {
                mistake: "it holds no JSON object".to_owned(),
                summary: "it holds no JSON object".to_owned(),
                is_json: false,
            });
        };
        let mistakes: Vec<String> = self
            .validator
            .iter_errors(&value)
            .take(3)
            .map(|error| format!("at {:?}: {error}", error.instance_path().as_str()))
            .collect();
        let keyword = self.validator.iter_errors(&value).next();
        let summary =
            keyword.map_or_else(String::new, |error| format!("it breaks the rule {:?}", error.kind().keyword()));
        Err(Mismatch { mistake: shorten(&mistakes.join("; "), MISTAKE_CHARS), summary, is_json: true })
    }

    /// What is said to a model whose answer was wrong: its answer, and what to do about it.
    pub(super) fn repair(&self, answer: &str, mistake: &str) -> [Message; 2] {
        let said = if answer.trim().is_empty() { "(no text)" } else { answer };
        let shown: String = said.chars().take(ANSWER_CHARS).collect();
        let request = format!(
            "That answer cannot be used: {mistake}. Answer again, with one JSON object that follows this JSON schema and \
             with nothing else.\n{}",
            self.schema.schema
        );
        [Message::Assistant { content: shown, tool_calls: Vec::new() }, Message::User { content: request }]
    }
}

/// Mends what models write without an endpoint that holds them to the schema, where the meaning is not in doubt: a
/// property left out that may be null, or is a list in a part of the answer, and an object or list where its JSON text
/// is wanted. A list that is missing at the top may be the whole answer, and an empty one would be an invention.
fn fit(value: &mut Value, schema: &Value, is_top: bool) {
    let allows = |schema: &Value, kind: &str| match &schema["type"] {
        Value::String(only) => only == kind,
        Value::Array(kinds) => kinds.iter().any(|allowed| allowed == kind),
        _ => false,
    };
    match value {
        Value::Object(_) | Value::Array(_) if schema["type"] == "string" => *value = Value::String(value.to_string()),
        Value::Array(items) => items.iter_mut().for_each(|item| fit(item, &schema["items"], false)),
        Value::Object(fields) => {
            for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                match fields.get_mut(name) {
                    Some(field) => fit(field, schema, false),
                    None if allows(schema, "null") => drop(fields.insert(name.clone(), Value::Null)),
                    None if !is_top && allows(schema, "array") => {
                        drop(fields.insert(name.clone(), Value::Array(Vec::new())));
                    }
                    None => {}
                }
            }
        }
        _ => {}
    }
}

/// The text after the thoughts that some models write first.
fn without_thoughts(content: &str) -> &str {
    let content = content.trim();
    match content.strip_prefix("<think>").and_then(|rest| rest.split_once("</think>")) {
        Some((_, answer)) => answer,
        None => content,
    }
}

/// Values in `content`, the most likely first.
fn candidates(content: &str) -> impl Iterator<Item = Value> + '_ {
    let whole = json::read(content).ok();
    let mut at = 0;
    let values = (0..MAX_CANDIDATES).map_while(move |_| {
        let start = at + content[at..].find(['{', '['])?;
        let found = first_value(&content[start..]);
        // What stands inside a value is part of it and no answer of its own.
        at = content.floor_char_boundary(start + found.as_ref().map_or(1, |(_, length)| *length));
        Some(found.map(|(value, _)| value))
    });
    let values = values.flatten();
    whole.filter(|value| value.is_object() || value.is_array()).into_iter().chain(values)
}

/// The value that `text` begins with, and its length in bytes.
fn first_value(text: &str) -> Option<(Value, usize)> {
    let read = |text: &str| {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
        values.next()?.ok()?;
        let length = values.byte_offset();
        Some((json::read(&text[..length]).ok()?, length))
    };
    // Without its commas a text is shorter than it is, so that a little of its end is looked at again.
    read(text).or_else(|| read(&without_trailing_commas(text)))
}

/// `text` without the commas, outside of strings, that stand before a closing bracket.
fn without_trailing_commas(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for (at, letter) in text.char_indices() {
        if in_string {
            in_string = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
        } else if letter == '"' {
            in_string = true;
        } else if letter == ',' && text[at + 1..].trim_start().starts_with(['}', ']']) {
            continue;
        }
        cleaned.push(letter);
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> ResponseSchema {
        let schema = json!({ "type": "object", "required": ["n", "s"], "additionalProperties": false,
            "properties": { "n": { "type": "integer" }, "s": { "type": ["string", "null"] } } });
        ResponseSchema { name: "test", schema }
    }

    fn extract(content: &str) -> Result<String, Mismatch> {
        Schema::compile(&schema()).expect("a schema").extract(content)
    }

    #[test]
    fn a_value_is_found_in_what_models_put_around_it() {
        let right = r#"{"n":1,"s":"a } b, ]"}"#;
        for content in [
            right.to_owned(),
            format!("```json\n{right}\n```"),
            format!("Sure! Here is {{the plan}}:\n\n{right}\n\nAnything else?"),
            format!("<think>maybe {{\"n\": 2, \"s\": null}}</think>\n{right}"),
            "{\n \"n\": 1,\n \"s\": \"a } b, ]\",\n}".to_owned(),
            format!("{{\"ä\": [1,,,],\"ö\": [\"ü\",],}}ßßß{right}"),
            format!("{{\"n\": \"öööööö\", \"s\": [1,], \"x\": [2,],}}ßßß{right}"),
            format!("first {{\"n\": \"wrong\"}} then {right}"),
        ] {
            let found = extract(&content).map(|text| serde_json::from_str::<Value>(&text).expect("JSON"));
            assert_eq!(found, Ok(json!({ "n": 1, "s": "a } b, ]" })), "{content}");
        }
    }

    #[test]
    fn what_is_left_out_or_not_put_into_text_is_mended_where_the_meaning_is_clear() {
        let step = json!({ "type": "object", "required": ["id", "tool", "arguments", "after"],
            "additionalProperties": false, "properties": {
                "id": { "type": "string" }, "tool": { "type": ["string", "null"] },
                "arguments": { "type": "string" }, "after": { "type": "array", "items": { "type": "string" } } } });
        let schema = json!({ "type": "object", "required": ["steps"], "properties": {
            "steps": { "type": "array", "items": step } } });
        let schema = ResponseSchema { name: "steps", schema };
        let schema = Schema::compile(&schema).expect("a schema");
        let mended = schema.extract(r#"{"steps": [{"id": "a", "arguments": {"x": 1}}]}"#).expect("clear");
        let mended: Value = serde_json::from_str(&mended).expect("JSON");
        assert_eq!(mended["steps"][0], json!({ "id": "a", "tool": null, "arguments": "{\"x\":1}", "after": [] }));
        for unclear in ["{}", r#"{"steps": [{"arguments": "{}"}]}"#, r#"{"steps": [{"id": 7, "arguments": "{}"}]}"#] {
            assert!(schema.extract(unclear).is_err(), "{unclear}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_to_the_model_and_not_quoted_elsewhere() {
        let mismatch = extract(r#"{"n": "canary", "s": null}"#).expect_err("wrong");
        assert!(mismatch.is_json);
        assert!(mismatch.mistake.contains(r#"at "/n""#) && mismatch.mistake.contains("integer"), "{mismatch:?}");
        assert_eq!(mismatch.summary, r#"it breaks the rule "type""#);
        let mismatch = extract("I would rather not.").expect_err("wrong");
        assert!(!mismatch.is_json);
        assert!(extract("{\"n\": 1").is_err());
        assert!(extract(&"{".repeat(100_000)).is_err());
    }
}
