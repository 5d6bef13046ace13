//! What the model decides in a turn.

use serde_json::{Map, Value};

use crate::agent::machine::json_text::text_or_json;

/// A decision of the model.
#[derive(Debug, PartialEq)]
pub(super) enum Decision {
    Call { tool: String, arguments: Value },
    Done(String),
    Impossible(String),
}

/// Reads a decision, in the words that models use for the same thing.
///
/// # Errors
/// The mistake, in words for the model.
pub(super) fn read_decision(text: &str) -> Result<Decision, String> {
    let written = text_or_json(text);
    let fields = written.as_object().ok_or("it is no JSON object")?;
    let first = |names: &[&str]| names.iter().find_map(|name| fields.get(*name).filter(|value| !value.is_null()));
    let text_of = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if let Some(tool) = first(&["tool", "name"]).and_then(Value::as_str).filter(|tool| !tool.trim().is_empty()) {
        let arguments = first(&["arguments", "args", "parameters", "input"]).cloned();
        let arguments = arguments.unwrap_or_else(|| Value::Object(Map::new()));
        return Ok(Decision::Call { tool: tool.to_owned(), arguments });
    }
    let answer = first(&["answer", "result", "output", "reason"]).map(text_of).unwrap_or_default();
    let outcome = first(&["outcome"]).and_then(Value::as_str).unwrap_or_default().trim().to_lowercase();
    match outcome.as_str() {
        _ if answer.trim().is_empty() => {
            Err("the answer is empty: give the result itself, or why there is none".to_owned())
        }
        "done" | "success" | "completed" => Ok(Decision::Done(answer)),
        "impossible" | "failed" | "failure" => Ok(Decision::Impossible(answer)),
        _ => Err("the outcome must be done or impossible".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_decision_is_read_in_the_words_of_models() {
        let read = |value: Value| read_decision(&value.to_string());
        let call = Decision::Call { tool: "t".to_owned(), arguments: json!({"x": 1}) };
        assert_eq!(read(json!({"thought": "", "tool": "t", "arguments": {"x": 1}})), Ok(call));
        let call = Decision::Call { tool: "t".to_owned(), arguments: json!({}) };
        assert_eq!(read(json!({"name": "t"})), Ok(call));
        assert_eq!(read(json!({"outcome": "done", "answer": 42})), Ok(Decision::Done("42".to_owned())));
        let impossible = Decision::Impossible("no page".to_owned());
        assert_eq!(read(json!({"outcome": "Impossible", "answer": "no page", "tool": null})), Ok(impossible));
        for unclear in [json!({"answer": "42"}), json!({"outcome": "done", "answer": " "}), json!([1]), json!({})] {
            assert!(read(unclear.clone()).is_err(), "{unclear}");
        }
    }
}
