//! Texts that are too long for one question: steps that read a part each take notes for the step that needs the whole.

use serde_json::json;

use super::Machine;
use super::prompts::{text_of, too_long};
use super::state::{Part, Status, Step};
use crate::domain::event::{EventKind, Level};
use crate::domain::failure::{BudgetLimit, Failure};
use crate::domain::plan::PlanStep;

/// Most bytes of a part, for a model of which no limit is known: some 8,000 tokens of English, which with the notes of many parts fits the windows of most models.
const PART_BYTES: usize = 30_000;
/// The tool by which a model reads the rest of a long output itself.
const READER: &str = "read_artifact";

impl Machine {
    /// Whether step `index`, which is about to ask the model, refers to more text than one question holds; then it waits for
    /// steps that read the parts. A step whose model can read artifacts chooses itself what it reads.
    pub(super) fn reads_in_parts(&mut self, index: usize) -> bool {
        let step = &self.state.steps[index];
        let has_begun = step.elements.is_some() || matches!(&step.status, Status::Acting(act) if act.turns > 0);
        if has_begun || step.part.is_some() || self.takes_turns() {
            return false;
        }
        if self.tools_of(step).iter().any(|tool| tool.name == READER) {
            return false;
        }
        let parts = parts_of(&step.plan, &self.targets(), self.setup.data_bytes);
        if parts.is_empty() {
            return false;
        }
        match self.check_size(parts.len()) {
            Ok(()) => self.add_readers(index, parts),
            Err(why) => {
                let references: Vec<String> = parts.iter().filter(|part| part.number == 1).map(named).collect();
                let message = format!(
                    "{} must be read in {} parts, a step each; {why}: refer to less of it, query it with query_table, or raise the \
                     budget of the agent",
                    references.join(" and "),
                    parts.len()
                );
                self.fail(index, Failure::over_budget(BudgetLimit::Steps, message));
            }
        }
        true
    }

    fn add_readers(&mut self, index: usize, parts: Vec<Part>) {
        let Step { plan, revision, .. } = self.state.steps[index].clone();
        let message = format!("step {} reads {} parts of what is too long for one question", plan.id, parts.len());
        let data = [("step", json!(plan.id)), ("parts", json!(parts.len()))];
        self.note(EventKind::StepSplit, Level::Info, message, &data);
        let mut readers = Vec::new();
        for (number, part) in (1..).zip(parts) {
            let id = self.free_id(&format!("{}-part", plan.id), number);
            let reader = PlanStep { id: id.clone(), tools: Some(Vec::new()), ..plan.clone() };
            let reader = Step::new(reader, revision);
            self.state.steps.push(Step { part: Some(part), element_of: Some(plan.id.clone()), ..reader });
            readers.push(id);
        }
        let step = &mut self.state.steps[index];
        step.plan.depends_on.extend(readers.iter().cloned());
        step.elements = Some(readers);
        step.status = Status::Pending;
    }
}

fn named(part: &Part) -> String {
    format!("${{{}}}", part.reference)
}

/// The parts of everything that `plan` refers to and that is too long for a model with room for `data_bytes`.
fn parts_of(plan: &PlanStep, outputs: &impl crate::domain::plan::Outputs, data_bytes: Option<usize>) -> Vec<Part> {
    // The other references of the step need room as well.
    let most = data_bytes.map_or(PART_BYTES, |room| PART_BYTES.min(room / 4 * 3).max(1));
    let cut = |(reference, value): (&str, &serde_json::Value)| {
        let pieces = pieces(&text_of(value), most);
        let total = pieces.len();
        let part = |(number, (from, to))| Part { reference: reference.to_owned(), number, total, from, to };
        (1..).zip(pieces).map(part).collect::<Vec<_>>()
    };
    too_long(plan, outputs, data_bytes).into_iter().flat_map(cut).collect()
}

/// Cuts `text` into pieces of at most `most` bytes, at the ends of lines or words where there are any.
fn pieces(text: &str, most: usize) -> Vec<(usize, usize)> {
    let mut pieces = Vec::new();
    let mut from = 0;
    while from < text.len() {
        let end = text.floor_char_boundary(from + most.max(4));
        let late = text.floor_char_boundary(from + most / 4 * 3).max(from);
        let to = if end == text.len() {
            end
        } else {
            let behind = |mark: char| text[late..end].rfind(mark).map(|at| late + at + mark.len_utf8());
            behind('\n').or_else(|| behind(' ')).unwrap_or(end)
        };
        pieces.push((from, to));
        from = to;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_lines_then_words_then_characters_and_nothing_is_lost() {
        let lines = "A line of thirty-one letters..\n".repeat(3_000);
        let words = "word ".repeat(20_000);
        let letters = "é".repeat(50_000);
        for text in [lines.as_str(), words.as_str(), letters.as_str(), "short", ""] {
            let cut = pieces(text, PART_BYTES);
            let joined: String = cut.iter().map(|(from, to)| &text[*from..*to]).collect();
            assert_eq!(joined, text);
            assert!(cut.iter().all(|(from, to)| to > from && to - from <= PART_BYTES), "{cut:?}");
        }
        assert!(pieces(&lines, PART_BYTES).iter().all(|(_, to)| lines[..*to].ends_with('\n')));
        assert!(pieces(&words, PART_BYTES).iter().all(|(_, to)| words[..*to].ends_with(' ')));
    }
}
