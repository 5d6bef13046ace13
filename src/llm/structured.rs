//! Extracts a value that follows a schema from an answer, or describes what is wrong with the answer.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::shorten::shorten;
use crate::domain::conversation::{Message, ResponseSchema};
use crate::domain::failure::Failure;
use crate::domain::json;

/// Places in one answer where a value may begin that are tried.
const MAX_CANDIDATES: usize = 32;
/// The same in an answer of the largest size.
const MIN_CANDIDATES: usize = 4;
/// Bytes that the tries of one answer may read.
const TRIED_BYTES: usize = 4 * 1024 * 1024;
/// Longest description of what is wrong, in characters.
const MISTAKE_CHARS: usize = 500;
/// Longest part of a wrong value that is shown with what is wrong, in characters.
const VALUE_CHARS: usize = 200;
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

/// A compiled schema: the strict form, and the tolerated one.
pub(super) struct Schema<'a> {
    source: &'a ResponseSchema,
    strict: Validator,
    tolerated: Option<Validator>,
}

impl<'a> Schema<'a> {
    /// Compiles `schema`.
    ///
    /// # Errors
    /// When it is no JSON schema.
    pub(super) fn compile(schema: &'a ResponseSchema) -> Result<Self, Failure> {
        let compiled = |value: &Value| {
            jsonschema::validator_for(value).map_err(|error| {
                Failure::invalid(format!("response schema {:?} is no JSON schema: {error}", schema.name))
            })
        };
        let tolerated = schema.tolerated.as_ref().map(compiled).transpose()?;
        Ok(Self { source: schema, strict: compiled(&schema.schema)?, tolerated })
    }

    /// The first value in `content` that follows the schema, else the first that is tolerated, as JSON text.
    ///
    /// Fences, words around the value and trailing commas are forgiven, and so is what [`fit`] mends; nothing is
    /// guessed beyond that.
    pub(super) fn extract(&self, content: &str) -> Result<String, Mismatch> {
        let (mut tolerated, mut first_value) = (None, None);
        for value in candidates(content.trim()) {
            if self.strict.is_valid(&value) {
                return Ok(value.to_string());
            }
            let mut fitted = value.clone();
            fit(&mut fitted, &self.source.schema, true);
            if self.strict.is_valid(&fitted) {
                return Ok(fitted.to_string());
            }
            if self.tolerated.as_ref().is_some_and(|schema| schema.is_valid(&value)) {
                tolerated.get_or_insert_with(|| value.to_string());
            }
            first_value.get_or_insert(value);
        }
        if let Some(tolerated) = tolerated {
            return Ok(tolerated);
        }
        let Some(value) = first_value else {
            return Err(Mismatch {
                mistake: "it holds no JSON object".to_owned(),
                summary: "it holds no JSON object".to_owned(),
                is_json: false,
            });
        };
        let mistakes = self.mistakes(&value);
        let quoted: Vec<String> = mistakes.iter().map(|error| described(error, Some(&value))).collect();
        let summary =
            mistakes.first().map_or_else(|| "it does not follow the schema".to_owned(), |error| described(error, None));
        Err(Mismatch { mistake: shorten(&quoted.join("; "), MISTAKE_CHARS), summary, is_json: true })
    }

    /// The first mistakes in `value`, by the tolerated schema when that names any.
    fn mistakes<'v>(&'v self, value: &'v Value) -> Vec<ValidationError<'v>> {
        let is_specific = |error: &ValidationError<'_>| !matches!(error.kind(), ValidationErrorKind::AnyOf { .. });
        let tolerant = self.tolerated.iter().flat_map(|schema| schema.iter_errors(value)).filter(is_specific);
        let mut mistakes: Vec<ValidationError<'v>> = tolerant.take(3).collect();
        if mistakes.is_empty() {
            mistakes = self.strict.iter_errors(value).take(3).collect();
        }
        // A missing property explains more than an unknown one.
        mistakes.sort_by_key(|error| !matches!(error.kind(), ValidationErrorKind::Required { .. }));
        mistakes
    }

    /// The repair of a wrong answer: the answer itself, and what to correct.
    pub(super) fn repair(&self, answer: &str, mistake: &str) -> [Message; 2] {
        let said = if answer.trim().is_empty() { "(no text)" } else { answer };
        let shown: String = said.chars().take(ANSWER_CHARS).collect();
        let form = self.source.form.map_or_else(
            || format!("that follows this JSON schema, and with nothing else:\n{}", self.source.schema),
            |form| format!("of this form, and with nothing else:\n{form}"),
        );
        let request = format!("That answer cannot be used: {mistake}. Answer again, with one JSON object {form}");
        [Message::assistant(shown), Message::User { content: request }]
    }
}

/// Describes a mistake with its field; with the wrong value when the answer is given.
fn described(error: &ValidationError<'_>, answer: Option<&Value>) -> String {
    let path = error.instance_path().as_str().trim_start_matches('/').replace('/', ".");
    let field = if path.is_empty() { "the answer".to_owned() } else { format!("{path:?}") };
    let shown =
        answer.map(|_| format!("; it is {}", shorten(&error.instance().to_string(), VALUE_CHARS))).unwrap_or_default();
    match error.kind() {
        ValidationErrorKind::Required { property } => format!("{field} has no {property}{shown}"),
        ValidationErrorKind::Type { kind } => {
            let kinds: Vec<String> = match kind {
                TypeKind::Single(one) => vec![one.to_string()],
                TypeKind::Multiple(several) => several.iter().map(|kind| kind.to_string()).collect(),
            };
            format!("{field} must be of type {}{shown}", kinds.join(" or "))
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let names: Vec<String> = unexpected.iter().map(|name| shorten(name, 50)).collect();
            format!("{field} has fields that the schema does not know: {}", names.join(", "))
        }
        ValidationErrorKind::Enum { options } => format!("{field} must be one of {options}{shown}"),
        _ => format!(
            "{field} does not follow the schema: {}",
            if answer.is_some() { error.to_string() } else { error.masked().to_string() }
        ),
    }
}

/// Corrects unambiguous deviations of models whose endpoint does not enforce the schema: a missing property that may
/// be null, a missing list below the top level, and an object or list where its JSON text is required. A missing list
/// at the top may be the whole answer, so an empty one would be an invention.
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

/// Values in `content`, the most likely first.
pub(super) fn candidates(content: &str) -> impl Iterator<Item = Value> + '_ {
    let whole = json::read(content).ok();
    let mut at = if whole.is_some() { content.len() } else { 0 };
    let values = (0..places(content)).map_while(move |_| {
        let start = at + content[at..].find(['{', '['])?;
        let found = first_value(&content[start..]);
        // What stands inside a value is part of it and no answer of its own.
        at = content.floor_char_boundary(start + found.as_ref().map_or(1, |(_, length)| *length));
        Some(found.map(|(value, _)| value))
    });
    let values = values.flatten();
    whole.filter(|value| value.is_object() || value.is_array()).into_iter().chain(values)
}

/// The object or list that is the whole of `text`.
pub(super) fn whole_value(text: &str) -> Option<Value> {
    let text = text.trim();
    let (value, length) = first_value(text).filter(|_| text.starts_with(['{', '[']))?;
    (length == text.len()).then_some(value)
}

/// How many places of `text` at which a value may begin are tried: each may be read to the end of the text.
pub(super) fn places(text: &str) -> usize {
    (TRIED_BYTES / text.len().max(1)).clamp(MIN_CANDIDATES, MAX_CANDIDATES)
}

/// The value that `text` begins with, and its length in bytes.
pub(super) fn first_value(text: &str) -> Option<(Value, usize)> {
    match length_of_value(text)? {
        Ok(length) => Some((json::read(&text[..length]).ok()?, length)),
        // The text ends within the value, and no comma was in the way.
        Err(error) if error.is_eof() => None,
        Err(_) => {
            let (cleaned, length) = without_trailing_commas(text);
            let end = length_of_value(&cleaned)?.ok()?;
            Some((json::read(&cleaned[..end]).ok()?, length))
        }
    }
}

/// Bytes of the value that `text` begins with; `None` when it is blank.
fn length_of_value(text: &str) -> Option<Result<usize, serde_json::Error>> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let first = values.next()?;
    Some(first.map(|_| values.byte_offset()))
}

/// The object or list that `text` begins with, without the commas, outside of strings, that stand before a closing
/// bracket; and its length in `text`.
fn without_trailing_commas(text: &str) -> (String, usize) {
    let mut cleaned = String::new();
    let (mut in_string, mut escaped, mut depth) = (false, false, 0_usize);
    for (at, letter) in text.char_indices() {
        if in_string {
            in_string = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
        } else if letter == ',' && text[at + 1..].trim_start().starts_with(['}', ']']) {
            continue;
        } else {
            in_string = letter == '"';
            match letter {
                '{' | '[' => depth += 1,
                '}' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        cleaned.push(letter);
        if depth == 0 && !in_string {
            return (cleaned, at + letter.len_utf8());
        }
    }
    (cleaned, text.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> ResponseSchema {
        let schema = json!({ "type": "object", "required": ["n", "s"], "additionalProperties": false,
            "properties": { "n": { "type": "integer" }, "s": { "type": ["string", "null"] } } });
        ResponseSchema { name: "test", schema, ..ResponseSchema::default() }
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
        let schema = ResponseSchema { name: "steps", schema, ..ResponseSchema::default() };
        let schema = Schema::compile(&schema).expect("a schema");
        let mended = schema.extract(r#"{"steps": [{"id": "a", "arguments": {"x": 1}}]}"#).expect("clear");
        let mended: Value = serde_json::from_str(&mended).expect("JSON");
        assert_eq!(mended["steps"][0], json!({ "id": "a", "tool": null, "arguments": "{\"x\":1}", "after": [] }));
        for unclear in ["{}", r#"{"steps": [{"arguments": "{}"}]}"#, r#"{"steps": [{"id": 7, "arguments": "{}"}]}"#] {
            assert!(schema.extract(unclear).is_err(), "{unclear}");
        }
    }

    #[test]
    fn an_answer_that_is_tolerated_is_kept_as_it_is_unless_a_better_one_follows() {
        let tolerated =
            json!({ "type": "object", "required": ["n"], "properties": { "n": { "type": ["integer", "string"] } } });
        let schema = ResponseSchema { tolerated: Some(tolerated), ..schema() };
        let schema = Schema::compile(&schema).expect("a schema");
        assert_eq!(schema.extract(r#"{"n": "7", "more": 1}"#).as_deref(), Ok(r#"{"n":"7","more":1}"#));
        assert_eq!(schema.extract(r#"{"n": "6"} no: {"n": 7, "s": null}"#).as_deref(), Ok(r#"{"n":7,"s":null}"#));
        let mismatch = schema.extract(r#"{"s": "x"}"#).expect_err("wrong");
        assert_eq!(mismatch.summary, r#"the answer has no "n""#);
    }

    #[test]
    fn what_is_wrong_is_said_to_the_model_and_not_quoted_elsewhere() {
        let mismatch = extract(r#"{"n": "canary", "s": null}"#).expect_err("wrong");
        assert!(mismatch.is_json);
        assert_eq!(mismatch.mistake, r#""n" must be of type integer; it is "canary""#);
        assert_eq!(mismatch.summary, r#""n" must be of type integer"#);
        let mismatch = extract(r#"{"s": "canary", "t": 1}"#).expect_err("wrong");
        assert!(mismatch.summary.contains(r#"the answer has no "n""#), "{mismatch:?}");
        assert!(!mismatch.summary.contains("canary") && mismatch.mistake.contains("canary"), "{mismatch:?}");
        let mismatch = extract("I would rather not.").expect_err("wrong");
        assert!(!mismatch.is_json);
        assert!(extract("{\"n\": 1").is_err());
        assert!(extract(&"{".repeat(100_000)).is_err());
    }
}
