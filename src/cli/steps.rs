//! Prints the steps of a run.

use serde_json::Value;

use super::{CliError, output};
use crate::api::views::steps::{CallView, StepView};
use crate::domain::attempt::{RunProgress, StepStatus};
use crate::domain::counted::counted;
use crate::domain::time::Timestamp;

/// Characters of the output or error of a step that are printed.
const MAX_CHARS: usize = 160;

/// Prints each step with its state, what it does, and the beginning of its output or error.
pub(super) fn print(steps: &[StepView]) -> Result<(), CliError> {
    steps.iter().try_for_each(|step| output::line(&format!("  {}", line(step))))
}

/// How many of the steps there are of each status, for a run whose own count is not known.
pub(super) fn counts(steps: &[StepView]) -> RunProgress {
    let of = |status: StepStatus| u32::try_from(steps.iter().filter(|step| step.status == status).count());
    RunProgress {
        done: of(StepStatus::Done).unwrap_or(u32::MAX),
        failed: of(StepStatus::Failed).unwrap_or(u32::MAX),
        blocked: of(StepStatus::Blocked).unwrap_or(u32::MAX),
        total: u32::try_from(steps.len()).unwrap_or(u32::MAX),
        ..RunProgress::default()
    }
}

fn line(step: &StepView) -> String {
    let what = step.tool.as_deref().or(step.instruction.as_deref()).unwrap_or_default();
    let head = format!("{:<8} {}: {}", step.status.as_str(), step.id, cut(what, 60));
    let output = step.output.as_ref().map(|output| match output.as_str() {
        Some(text) => text.to_owned(),
        None => output.to_string(),
    });
    let more = step.error.clone().or(output).unwrap_or_default();
    let artifact = step.artifact.as_ref().map_or(String::new(), |name| format!(" (artifact {name})"));
    let task = step.task.map_or(String::new(), |task| format!(" (task {task})"));
    let spent = spent(step).map_or(String::new(), |spent| format!(" ({spent})"));
    let more = if more.is_empty() { more } else { format!(": {}", cut(&more, MAX_CHARS)) };
    format!("{head}{more}{artifact}{task}{spent}")
}

/// How long a step took and what it spent; `None` when nothing is known of it.
fn spent(step: &StepView) -> Option<String> {
    let mut parts = Vec::new();
    parts.extend(took(step.started_at.as_deref(), step.finished_at.as_deref()));
    // A tool step makes one call, unless it is tried again.
    let calls = step.calls.len() + usize::try_from(step.more_calls).unwrap_or_default();
    if calls > usize::from(step.tool.is_some()) {
        parts.push(counted(calls, "tool call"));
    }
    if step.model_calls > 0 {
        parts.push(counted(step.model_calls, "model call"));
    }
    parts.extend(step.usage.map(|usage| counted(usage.total(), "token")));
    parts.extend(step.cost_usd.map(|cost| format!("${cost:.4}")));
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The time between two times of the API, where both are there.
fn took(from: Option<&str>, until: Option<&str>) -> Option<String> {
    let read = |time: &str| Timestamp::read(&Value::from(time)).ok();
    let ms = read(until?)?.millis_since(read(from?)?);
    Some(if ms < 1_000 { format!("{ms} ms") } else { format!("{}.{} s", ms / 1_000, ms % 1_000 / 100) })
}

/// Prints all that is known of each step: what it is, what it was given, what it called, and its whole output or error.
pub(super) fn print_whole(steps: &[StepView]) -> Result<(), CliError> {
    for step in steps {
        output::line(&format!("step {}", step.id))?;
        let field = |name: &str, value: &str| output::line(&format!("  {name:<13}{value}"));
        field(
            "status",
            &spent(step)
                .map_or_else(|| step.status.as_str().to_owned(), |spent| format!("{} ({spent})", step.status.as_str())),
        )?;
        if let Some(started) = &step.started_at {
            field("started", &output::time(started))?;
        }
        if let Some(tool) = &step.tool {
            field("tool", tool)?;
        }
        block("instruction", step.instruction.as_deref())?;
        block("arguments", step.arguments.as_ref().map(as_text).as_deref())?;
        if !step.depends_on.is_empty() {
            field("after", &step.depends_on.join(", "))?;
        }
        if let Some(task) = step.task {
            field("task", &task.to_string())?;
        }
        step.calls.iter().filter(|_| step.tool.is_none() || step.calls.len() > 1).try_for_each(print_call)?;
        if step.more_calls > 0 {
            field("call", &format!("{} more", step.more_calls))?;
        }
        block("error", step.error.as_deref())?;
        block("output", step.output.as_ref().map(as_text).as_deref())?;
    }
    Ok(())
}

fn print_call(call: &CallView) -> Result<(), CliError> {
    let arguments = call.arguments.as_ref().map_or_else(String::new, |arguments| format!(" {arguments}"));
    let ended = match (&call.error, took(call.started_at.as_deref(), call.finished_at.as_deref())) {
        (Some(error), _) => format!(": {error}"),
        (None, Some(took)) => format!(" ({took})"),
        (None, None) if call.finished_at.is_none() => " (it did not return)".to_owned(),
        (None, None) => String::new(),
    };
    output::line(&format!("  {:<13}{}{arguments}{ended}", "call", call.tool))
}

/// A field whose value may have several lines.
fn block(name: &str, text: Option<&str>) -> Result<(), CliError> {
    let mut lines = text.into_iter().flat_map(str::lines);
    let Some(first) = lines.next() else { return Ok(()) };
    output::line(&format!("  {name:<13}{first}"))?;
    lines.try_for_each(|line| output::line(&format!("  {:<13}{line}", "")))
}

/// An output as text: what it is when it is text, else JSON.
fn as_text(output: &Value) -> String {
    match output {
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_else(|_| other.to_string()),
    }
}

/// The first `most` characters of a text, on one line.
fn cut(text: &str, most: usize) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match flat.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &flat[..end]),
        None => flat,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_step_is_one_line_with_its_state_and_what_came_of_it() {
        let step = |fields: serde_json::Value| serde_json::from_value::<StepView>(fields).expect("a step");
        for (fields, shown) in [
            (
                json!({"id": "a", "tool": "calculate", "status": "done", "output": {"value": 42}}),
                "done     a: calculate: {\"value\":42}",
            ),
            (
                json!({"id": "b", "instruction": "read\nit", "status": "failed", "error": "no such\nfile"}),
                "failed   b: read it: no such file",
            ),
            (json!({"id": "c", "tool": "t", "status": "pending"}), "pending  c: t"),
            (
                json!({"id": "d", "tool": "t", "status": "done", "output": "text", "artifact": "d.json"}),
                "done     d: t: text (artifact d.json)",
            ),
            (
                json!({
                    "id": "e", "instruction": "read it", "status": "done", "output": 1, "model_calls": 3, "cost_usd": 0.5,
                    "started_at": "2026-11-27T10:00:00.000Z", "finished_at": "2026-11-27T10:00:02.460Z",
                    "usage": {"prompt_tokens": 80, "completion_tokens": 20},
                    "calls": [{"id": "e#1", "tool": "t"}, {"id": "e#2", "tool": "t"}],
                }),
                "done     e: read it: 1 (2.4 s, 2 tool calls, 3 model calls, 100 tokens, $0.5000)",
            ),
            (
                json!({
                    "id": "f", "tool": "t", "status": "done", "calls": [{"id": "f#1", "tool": "t"}],
                    "started_at": "2026-11-27T10:00:00.000Z", "finished_at": "2026-11-27T10:00:00.060Z",
                }),
                "done     f: t (60 ms)",
            ),
            (
                json!({
                    "id": "g", "instruction": "look", "status": "done", "model_calls": 1,
                    "calls": [{"id": "g#1", "tool": "t"}], "usage": {"prompt_tokens": 1, "completion_tokens": 0},
                }),
                "done     g: look (1 tool call, 1 model call, 1 token)",
            ),
        ] {
            assert_eq!(line(&step(fields)), shown);
        }
        let long = step(json!({"id": "a", "tool": "t", "status": "done", "output": "ä".repeat(500)}));
        assert_eq!(line(&long).chars().count(), "done     a: t: ".len() + MAX_CHARS + 1);
    }
}
