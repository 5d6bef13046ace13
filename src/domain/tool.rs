//! Descriptions of tools and their calls, for plans, prompts and policy.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::failure::Failure;

/// Name of the tool by which the model declares that a step cannot be done.
pub const FAIL_STEP: &str = "fail_step";
/// Name of the tool that makes a task.
pub const CREATE_TASK: &str = "create_task";

/// The name in `known` that `written` means: the same name, or the only one that differs in nothing but case,
/// separators, a namespace before it (`functions.calculate`) or a number behind it (`calculate:0`).
#[must_use]
pub fn resolve_name<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    if let Some(name) = known.iter().find(|name| **name == written) {
        return Some(name);
    }
    // Some models append a marker of their own.
    let written = written.split("<|").next().unwrap_or_default().trim();
    let numbered =
        written.rsplit_once(':').filter(|(_, end)| !end.is_empty() && end.bytes().all(|b| b.is_ascii_digit()));
    let written = numbered.map_or(written, |(name, _)| name);
    let last = written.rsplit(['.', ':', '/']).next().unwrap_or_default();
    [written, last].into_iter().map(bare).filter(|name| !name.is_empty()).find_map(|name| {
        let mut fitting = known.iter().filter(|known| bare(known) == name);
        let first = fitting.next()?;
        fitting.next().is_none().then_some(*first)
    })
}

/// The letters and digits of a name, lower case.
fn bare(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// What a tool can do to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Only reads.
    Read,
    /// Changes what qron keeps: files of the task, state, artifacts, tasks.
    Write,
    /// May change something outside qron.
    External,
}

/// Description of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Name, `snake_case`, unique among the tools of a run.
    pub name: String,
    /// What it does and when to use it, for the model. A sentence that begins with `Answers {"` names the fields of its
    /// output.
    pub description: String,
    /// JSON schema of its arguments: an object.
    pub parameters: Value,
    /// JSON schema of what it answers; `true` where nothing is promised. An output that is too long for the run is
    /// replaced by [`artifact_output`], which this schema does not describe.
    pub output: Value,
    /// The strongest effect a call can have.
    pub effect: Effect,
    /// Whether a call with an unknown outcome can be repeated without harm.
    pub idempotent: bool,
    /// Whether what it answers comes from outside: a server, a file, a database, or what other tasks have left. Such values are
    /// untrusted, unlike what is computed from the arguments.
    pub untrusted: bool,
}

impl ToolSpec {
    /// Whether a call with `arguments` and an unknown outcome can be repeated without harm: always for idempotent
    /// tools, and for a call whose `method` is a safe HTTP method (the schema's default counts).
    #[must_use]
    pub fn is_repeatable(&self, arguments: &Value) -> bool {
        let default = self.parameters.pointer("/properties/method/default");
        let method = arguments.get("method").or(default).and_then(Value::as_str);
        self.idempotent || method.is_some_and(|method| ["GET", "HEAD", "OPTIONS"].contains(&method))
    }
}

/// A tool call that passed the allow-list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Id of the call within the run; with the task id it is the idempotency key.
    pub id: String,
    /// The step that makes it.
    pub step: String,
    /// Name of the tool.
    pub tool: String,
    /// Arguments with every reference resolved.
    pub arguments: Value,
}

/// Result of a tool call.
pub type ToolResult = Result<Value, Failure>;

/// Reference to an artifact that holds an output which was too long for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArtifactOutput<'a> {
    /// Name of the artifact.
    pub name: &'a str,
    /// Bytes of the output as JSON.
    pub bytes: u64,
}

/// The value that replaces an output that became the artifact `name`: where it is, and what of it fits the goal.
#[must_use]
pub fn artifact_output(name: &str, bytes: usize, preview: &str) -> Value {
    json!({ "artifact": name, "bytes": bytes, "preview": preview })
}

/// The artifact that `output` refers to, when [`artifact_output`] made it.
#[must_use]
pub fn as_artifact_output(output: &Value) -> Option<ArtifactOutput<'_>> {
    let fields = output.as_object().filter(|fields| fields.len() == 3)?;
    fields.get("preview")?.as_str()?;
    Some(ArtifactOutput { name: fields.get("artifact")?.as_str()?, bytes: fields.get("bytes")?.as_u64()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_nearly_right_means_the_only_tool_that_fits() {
        let known = ["calculate", "http_request", "read_file", "readFile"];
        for written in [
            "calculate",
            "Calculate",
            "functions.calculate",
            "default_api:calculate",
            "functions.calculate:0",
            "calculate()",
            "CALCULATE",
            "calculate<|channel|>commentary",
            "tools/calculate",
            " calculate ",
        ] {
            assert_eq!(resolve_name(written, &known), Some("calculate"), "{written}");
        }
        assert_eq!(resolve_name("httpRequest", &known), Some("http_request"));
        assert_eq!(resolve_name("http-request", &known), Some("http_request"));
        assert_eq!(resolve_name("readFile", &known), Some("readFile"), "exact");
        for unclear in ["ReadFile", "calc", "", "...", "functions.", "fly", "calculate_all"] {
            assert_eq!(resolve_name(unclear, &known), None, "{unclear}");
        }
    }
}
