//! What the model must answer: strict JSON schemas, and the tolerant reading of what it does answer.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::domain::approval::Need;
use crate::domain::conversation::ResponseSchema;
use crate::domain::json::read;
use crate::domain::plan::PlanStep;

/// Schema of a plan. Strict schemas know no free-form objects, so `arguments` is JSON as text.
pub(super) fn plan() -> ResponseSchema {
    let step = object(&json!({
        "id": {"type": "string", "description": "short unique name: letters, digits, _ and -"},
        "tool": {"type": ["string", "null"], "description": "tool to call; null for an instruction step"},
        "arguments": {
            "type": "string",
            "description": "arguments of the tool as the text of a JSON object; \"{}\" for an instruction step",
        },
        "instruction": {"type": ["string", "null"], "description": "what to do with judgement; null for a tool step"},
        "depends_on": {"type": "array", "items": {"type": "string"}, "description": "steps that must succeed first"},
        "capability": {"type": ["string", "null"], "description": "what it takes to do the step, in a word or two"},
        "estimated_s": {"type": ["integer", "null"], "description": "how long it will take, in seconds"},
    }));
    let schema = object(&json!({
        "analysis": {"type": "string", "description": "what the goal requires, in a few sentences"},
        "steps": {"type": "array", "items": step},
    }));
    ResponseSchema { name: "plan", schema }
}

/// Schema of the final answer.
pub(super) fn answer() -> ResponseSchema {
    let schema = object(&json!({
        "success": {"type": "boolean", "description": "whether the goal was reached"},
        "answer": {"type": "string", "description": "the result for whoever set the goal; empty on failure"},
        "reason": {"type": "string", "description": "why this counts as success or failure"},
    }));
    ResponseSchema { name: "answer", schema }
}

fn object(properties: &Value) -> Value {
    let required: Vec<&String> = properties.as_object().map(|fields| fields.keys().collect()).unwrap_or_default();
    let required = json!(required);
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

#[derive(Deserialize)]
struct WrittenPlan {
    steps: Vec<WrittenStep>,
}

#[derive(Deserialize)]
struct WrittenStep {
    id: String,
    #[serde(default)]
    tool: Option<String>,
    #[serde(default)]
    arguments: Value,
    #[serde(default)]
    instruction: Option<String>,
    #[serde(default)]
    depends_on: Option<Vec<String>>,
    #[serde(default)]
    capability: Option<String>,
    #[serde(default)]
    estimated_s: Option<f64>,
}

/// The answer of a model that declares how the run ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) success: bool,
    pub(super) answer: Value,
    pub(super) reason: String,
}

/// Reads the steps of a plan.
///
/// # Errors
/// What is wrong, in words for the model.
pub(super) fn read_plan(text: &str) -> Result<Vec<PlanStep>, String> {
    let written: WrittenPlan = read_json(text).map_err(|error| format!("this is not a plan in JSON: {error}"))?;
    written.steps.into_iter().map(WrittenStep::read).collect()
}

impl WrittenStep {
    fn read(self) -> Result<PlanStep, String> {
        let filled = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let tool = filled(self.tool);
        let arguments = match self.arguments {
            Value::String(text) if text.trim().is_empty() => Value::Null,
            Value::String(text) => read(&text)
                .map_err(|error| format!("step {:?}: arguments must be the text of a JSON object: {error}", self.id))?,
            other => other,
        };
        // Models like to describe a tool step in `instruction`; the tool is what counts.
        let instruction = if tool.is_some() { None } else { filled(self.instruction) };
        let arguments = if tool.is_some() { arguments } else { Value::Null };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, which is what is meant"
        )]
        let estimated_s = self.estimated_s.map(|seconds| seconds.ceil() as u32);
        Ok(PlanStep {
            id: self.id,
            tool,
            arguments,
            instruction,
            depends_on: self.depends_on.unwrap_or_default(),
            capability: filled(self.capability),
            estimated_s,
            approval: Need::None,
        })
    }
}

/// Reads a final answer. An `answer` that is JSON, or the text of a JSON object or array, becomes that value.
///
/// # Errors
/// What is wrong, in words for the model.
pub(super) fn read_answer(text: &str) -> Result<Declared, String> {
    #[derive(Deserialize)]
    struct Written {
        success: bool,
        #[serde(default)]
        answer: Value,
        #[serde(default)]
        reason: String,
    }
    let written: Written = read_json(text).map_err(|error| format!("this is not an answer in JSON: {error}"))?;
    let answer = match written.answer {
        Value::String(text) => text_or_json(&text),
        other => other,
    };
    if written.success && (answer.is_null() || answer == "") {
        return Err("success is true, but answer is empty: give the result itself".to_owned());
    }
    Ok(Declared { success: written.success, answer, reason: written.reason })
}

/// The value when `text` is a JSON object or array and nothing else; otherwise the text.
pub(super) fn text_or_json(text: &str) -> Value {
    match read(inner_json(text)) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
        _ => Value::String(text.to_owned()),
    }
}

/// What the JSON in `text` says; numbers keep their digits.
fn read_json<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    read(inner_json(text)).and_then(serde_json::from_value)
}

/// `text` without the code fence that models put around JSON.
fn inner_json(text: &str) -> &str {
    let text = text.trim();
    let Some(fenced) = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")) else { return text };
    fenced.split_once('\n').map_or(fenced, |(_, body)| body).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_strict_throughout() {
        fn check(schema: &Value) {
            if let Some(properties) = schema["properties"].as_object() {
                let names: Vec<&String> = properties.keys().collect();
                assert_eq!(schema["required"], json!(names));
                assert_eq!(schema["additionalProperties"], json!(false));
                properties.values().for_each(check);
            }
            if schema.get("items").is_some() {
                check(&schema["items"]);
            }
        }
        check(&plan().schema);
        check(&answer().schema);
    }

    #[test]
    fn arguments_are_read_as_text_or_object() {
        let read = |arguments: Value| {
            let text = json!({"steps": [{"id": "a", "tool": "t", "arguments": arguments}]}).to_string();
            read_plan(&text).map(|steps| steps[0].arguments.clone())
        };
        assert_eq!(read(json!("{\"x\": 1}")), Ok(json!({"x": 1})));
        assert_eq!(read(json!({"x": 1})), Ok(json!({"x": 1})));
        assert_eq!(read(json!("")), Ok(Value::Null));
        assert!(read(json!("{x")).expect_err("no JSON").contains("step \"a\""));
    }

    #[test]
    fn a_described_tool_step_is_a_tool_step_and_fences_are_ignored() {
        let text = "```json\n{\"steps\": [{\"id\": \"a\", \"tool\": \"t\", \"instruction\": \"do t\"}]}\n```";
        let steps = read_plan(text).expect("a plan");
        assert_eq!((steps[0].tool.as_deref(), steps[0].instruction.as_deref()), (Some("t"), None));
    }

    #[test]
    fn success_without_an_answer_is_not_believed() {
        assert!(read_answer(r#"{"success": true, "answer": "", "reason": "done"}"#).is_err());
        assert!(read_answer("all good!").is_err());
        let declared = read_answer(r#"{"success": true, "answer": "{\"n\": 1}", "reason": "r"}"#).expect("an answer");
        assert_eq!(declared.answer, json!({"n": 1}));
        let number = read_answer(r#"{"success": true, "answer": "3628800", "reason": "r"}"#).expect("an answer");
        assert_eq!(number.answer, json!("3628800"));
    }
}
