//! What an instruction refers to, in data blocks.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::Value;

use super::blocks::{BLOCK_BYTES, artifact_of, clipped, data_block, data_block_of, share_of, total};
use crate::agent::machine::state::{State, Step};
use crate::domain::files::file_in;
use crate::domain::json::Size;
use crate::domain::plan::{Outputs, PlanStep, referenced, target};

/// Least bytes of the notes on one part of a long text.
const LEAST_NOTE_BYTES: usize = 500;

/// What the instruction of `step` refers to, in data blocks. A text that is read in parts is represented by the part of this
/// step, or by the notes on all parts.
///
/// `data_bytes` is what the model has room for, if that is known. `artifacts` are the artifacts whose content stands in `outputs`, by step, so that a cut block can name where to
/// read the rest.
pub(in crate::agent::machine) fn data_of(
    state: &State,
    step: &Step,
    outputs: &impl Outputs,
    artifacts: &HashMap<String, String>,
    data_bytes: Option<usize>,
) -> String {
    let mut shown = referred(&step.plan, outputs);
    shown.retain(|(reference, _)| {
        step.elements.as_ref().is_none_or(|readers| !readers.iter().any(|id| id == reference))
    });
    let limit = share_of(total(data_bytes), shown.len());
    let blocks = shown.iter().filter_map(|(reference, value)| {
        if let Some(part) = &step.part {
            if part.reference == *reference {
                let text = text_of(value);
                let text = text.get(part.from..part.to).unwrap_or_default();
                let name = format!("${{{reference}}}, part {} of {}", part.number, part.total);
                return Some(data_block(&name, &Value::from(text), BLOCK_BYTES));
            }
            if bytes_of(value) > limit {
                return None;
            }
        }
        if let Some(notes) = notes_on(state, step, reference, limit) {
            return Some(notes);
        }
        // A file is loaded under its whole name.
        let is_file = file_in(reference).is_some() && artifacts.contains_key(*reference);
        let origin = if is_file { reference } else { reference.split('.').next().unwrap_or_default() };
        let artifact = artifacts.get(origin).map(String::as_str).or_else(|| artifact_of(value));
        Some(data_block_of(&format!("${{{reference}}}"), value, limit, artifact))
    });
    let blocks: Vec<String> = blocks.collect();
    if blocks.is_empty() { String::new() } else { format!("{}\n\n", blocks.join("\n")) }
}

/// References of the instruction of `step` whose values are longer than a block may be.
pub(in crate::agent::machine) fn too_long<'a>(
    plan: &'a PlanStep,
    outputs: &'a impl Outputs,
    data_bytes: Option<usize>,
) -> Vec<(&'a str, &'a Value)> {
    let mut shown = referred(plan, outputs);
    let limit = share_of(total(data_bytes), shown.len());
    shown.retain(|(_, value)| bytes_of(value) > limit);
    shown
}

/// The text that parts are cut from.
pub(in crate::agent::machine) fn text_of(value: &Value) -> Cow<'_, str> {
    value.as_str().map_or_else(|| Cow::from(value.to_string()), Cow::from)
}

/// What `plan` shows its model: the targets of its references, then the outputs it depends on by name. A reference stays a name in the
/// instruction: its target is data and must not become part of the instruction.
fn referred<'a>(plan: &'a PlanStep, outputs: &'a impl Outputs) -> Vec<(&'a str, &'a Value)> {
    let references = referenced(plan.instruction.as_deref().unwrap_or_default());
    let others = plan.depends_on.iter().map(String::as_str).filter(|step| !references.contains(step));
    let named = references.iter().filter_map(|reference| Some((*reference, target(reference, outputs)?)));
    let named: Vec<_> = named.collect();
    named.into_iter().chain(others.filter_map(|step| Some((step, outputs.output(step)?)))).collect()
}

fn bytes_of(value: &Value) -> usize {
    value.as_str().map_or_else(|| Size::of(value).text, str::len)
}

/// The notes on the parts of what `reference` points at, `limit` bytes of them where that leaves enough for each, when `step` has had it read in parts.
fn notes_on(state: &State, step: &Step, reference: &str, limit: usize) -> Option<String> {
    let readers = step.elements.as_ref()?.iter().filter_map(|id| state.step(id));
    let readers = readers.filter(|reader| reader.part.as_ref().is_some_and(|part| part.reference == reference));
    let notes: Vec<Cow<'_, str>> = readers.filter_map(|reader| reader.output().map(text_of)).collect();
    if notes.is_empty() {
        return None;
    }
    let each = (limit / notes.len()).max(LEAST_NOTE_BYTES);
    let total = notes.len();
    let parts = notes.iter().zip(1..).map(|(note, number)| format!("Part {number}: {}", clipped(note.trim(), each)));
    let notes = parts.collect::<Vec<_>>().join("\n\n");
    let name = format!("${{{reference}}}, notes on its {total} parts");
    Some(data_block(&name, &Value::from(notes), 2 * BLOCK_BYTES))
}
