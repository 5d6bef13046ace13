//! Steps of a run in answers of the API.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::attempt::{StepRecord, StepStatus};

/// Longest output shown with a task, in bytes of JSON. `GET /api/v1/tasks/{id}/steps` shows outputs whole.
const SHORT: usize = 2_048;

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    /// Name of the step.
    pub id: String,
    /// 0 for a step of the first plan; grows with each new plan.
    #[serde(default)]
    pub plan: u32,
    /// Tool that it calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// What the model does in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// Status of the step.
    pub status: StepStatus,
    /// Its output; the beginning as text when it was cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Size of an output that was cut, in bytes of JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<usize>,
    /// Artifact that holds an output too long for the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// Why it failed, or was not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl From<StepRecord> for StepView {
    fn from(step: StepRecord) -> Self {
        let artifact = step.output.as_ref().and_then(artifact_of).map(str::to_owned);
        Self {
            id: step.id,
            plan: step.plan,
            tool: step.tool,
            instruction: step.instruction,
            status: step.status,
            output: step.output,
            output_bytes: None,
            artifact,
            error: step.error,
        }
    }
}

impl StepView {
    /// The step, with a long output cut to its beginning.
    #[must_use]
    pub fn short(mut self) -> Self {
        let Some(output) = &self.output else { return self };
        let text = output.to_string();
        if text.len() > SHORT {
            let plain = output.as_str().unwrap_or(&text);
            let end = plain.floor_char_boundary(SHORT);
            self.output = Some(Value::from(format!("{}…", &plain[..end])));
            self.output_bytes = Some(text.len());
        }
        self
    }
}

/// Name of the artifact that holds the whole of an output, where there is one.
fn artifact_of(output: &Value) -> Option<&str> {
    output.get("artifact").and_then(|artifact| artifact.as_str().or_else(|| artifact.get("name")?.as_str()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(output: Value) -> StepView {
        let (tool, instruction) = (Some("t".to_owned()), None);
        let output = Some(output);
        StepRecord { id: "a".into(), plan: 0, tool, instruction, status: StepStatus::Done, output, error: None }.into()
    }

    #[test]
    fn long_outputs_are_cut_and_say_so() {
        for output in [json!({"n": 1}), json!("x".repeat(2_000))] {
            let shown = view(output.clone()).short();
            assert_eq!((shown.output, shown.output_bytes), (Some(output), None));
        }
        for output in [json!("ä".repeat(2_000)), json!({"rows": vec!["x".repeat(100); 30]})] {
            let shown = view(output.clone()).short();
            assert_eq!(shown.output_bytes, Some(output.to_string().len()));
            let text = shown.output.and_then(|text| text.as_str().map(str::to_owned)).expect("a text");
            assert!(text.ends_with('…') && text.len() <= SHORT + 3, "{} bytes", text.len());
        }
    }

    #[test]
    fn an_output_that_became_an_artifact_names_it() {
        for output in [json!({"artifact": "s1-1.json", "bytes": 9}), json!({"artifact": {"name": "s1-1.json"}})] {
            assert_eq!(view(output).artifact.as_deref(), Some("s1-1.json"));
        }
        assert_eq!(view(json!({"artifact": 3})).artifact, None);
    }
}
