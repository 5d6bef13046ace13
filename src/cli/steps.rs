//! Prints the steps of a run.

use super::{CliError, output};
use crate::api::views::steps::StepView;

/// Characters of the output or error of a step that are printed.
const MAX_CHARS: usize = 160;

/// Prints each step with its state, what it does, and the beginning of its output or error.
pub(super) fn print(steps: &[StepView]) -> Result<(), CliError> {
    steps.iter().try_for_each(|step| output::line(&format!("  {}", line(step))))
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
    if more.is_empty() { format!("{head}{artifact}") } else { format!("{head}: {}{artifact}", cut(&more, MAX_CHARS)) }
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
        ] {
            assert_eq!(line(&step(fields)), shown);
        }
        let long = step(json!({"id": "a", "tool": "t", "status": "done", "output": "ä".repeat(500)}));
        assert_eq!(line(&long).chars().count(), "done     a: t: ".len() + MAX_CHARS + 1);
    }
}
