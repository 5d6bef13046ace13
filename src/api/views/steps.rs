//! Steps of a run in answers of the API.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::attempt::{MadeCall, StepRecord, StepStatus};
use crate::domain::conversation::Usage;
use crate::domain::id::TaskId;
use crate::domain::time::Timestamp;

/// Longest output shown with a task, in bytes of JSON. `GET /api/v1/tasks/{id}/steps` shows outputs whole.
const SHORT: usize = 2_048;

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Step)]
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
    /// Arguments of the tool, with their references; the beginning as text when they were cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
    /// Size of arguments that were cut, in bytes of JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments_bytes: Option<usize>,
    /// Steps that had to succeed first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// Status of the step.
    pub status: StepStatus,
    /// The task by which another agent carries it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
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
    /// When its last try began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// Its tool calls, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<CallView>,
    /// Tool calls that are left out of `calls`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_calls: u32,
    /// Model calls.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub model_calls: u32,
    /// Tokens of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Their cost in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

/// A tool call of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ToolCall)]
pub struct CallView {
    /// Id of the call within the run.
    pub id: String,
    /// The tool.
    pub tool: String,
    /// Arguments that the model chose, when they are short; those of a tool step are its `arguments`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it returned; absent while it is under way, and when its run was cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl From<MadeCall> for CallView {
    fn from(call: MadeCall) -> Self {
        Self {
            id: call.id,
            tool: call.tool,
            arguments: call.arguments,
            started_at: call.started_at.map(Timestamp::to_rfc3339),
            finished_at: call.finished_at.map(Timestamp::to_rfc3339),
            error: call.error,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl From<StepRecord> for StepView {
    fn from(step: StepRecord) -> Self {
        let artifact = step.output.as_ref().and_then(artifact_of).map(str::to_owned);
        Self {
            id: step.id,
            plan: step.plan,
            tool: step.tool,
            instruction: step.instruction,
            arguments: step.arguments,
            arguments_bytes: None,
            depends_on: step.depends_on,
            status: step.status,
            task: step.task,
            output: step.output,
            output_bytes: None,
            artifact,
            error: step.error,
            started_at: step.started_at.map(Timestamp::to_rfc3339),
            finished_at: step.finished_at.map(Timestamp::to_rfc3339),
            calls: step.calls.into_iter().map(CallView::from).collect(),
            more_calls: step.more_calls,
            model_calls: step.model_calls,
            usage: (step.model_calls > 0).then_some(step.usage),
            cost_usd: (step.cost_usd > 0.0).then_some(step.cost_usd),
        }
    }
}

impl StepView {
    /// The step, with long arguments and a long output cut to their beginnings.
    #[must_use]
    pub fn short(mut self) -> Self {
        self.output_bytes = self.output.as_mut().and_then(cut);
        self.arguments_bytes = self.arguments.as_mut().and_then(cut);
        self
    }
}

/// Cuts a long value to its beginning, as text; its size, when it was cut.
fn cut(value: &mut Value) -> Option<usize> {
    let text = value.to_string();
    if text.len() <= SHORT {
        return None;
    }
    let plain = value.as_str().unwrap_or(&text);
    let end = plain.floor_char_boundary(SHORT);
    *value = Value::from(format!("{}…", &plain[..end]));
    Some(text.len())
}

/// Name of the artifact that holds the whole of an output, where there is one.
fn artifact_of(output: &Value) -> Option<&str> {
    output.get("artifact").and_then(|artifact| artifact.as_str().or_else(|| artifact.get("name")?.as_str()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(output: &Value) -> StepView {
        serde_json::from_value(json!({"id": "a", "tool": "t", "status": "done", "output": output})).expect("a step")
    }

    #[test]
    fn long_outputs_are_cut_and_say_so() {
        for output in [json!({"n": 1}), json!("x".repeat(2_000))] {
            let shown = view(&output).short();
            assert_eq!((shown.output, shown.output_bytes), (Some(output), None));
        }
        for output in [json!("ä".repeat(2_000)), json!({"rows": vec!["x".repeat(100); 30]})] {
            let shown = view(&output).short();
            assert_eq!(shown.output_bytes, Some(output.to_string().len()));
            let text = shown.output.and_then(|text| text.as_str().map(str::to_owned)).expect("a text");
            assert!(text.ends_with('…') && text.len() <= SHORT + 3, "{} bytes", text.len());
        }
    }

    #[test]
    fn an_output_that_became_an_artifact_names_it() {
        for output in [json!({"artifact": "s1-1.json", "bytes": 9}), json!({"artifact": {"name": "s1-1.json"}})] {
            assert_eq!(artifact_of(&output), Some("s1-1.json"));
        }
        assert_eq!(artifact_of(&json!({"artifact": 3})), None);
    }
}
