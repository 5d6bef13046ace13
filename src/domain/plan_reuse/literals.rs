//! Literals of a plan: their texts outside references, with the values of variables marked in them.

use std::collections::BTreeSet;

use crate::domain::calendar_words::names_day_or_month;
use crate::domain::plan::with_references;

/// Stands around the name of a variable in a marked text.
const MARK: char = '\u{1}';
/// Stands around a reference.
const REFERENCE: char = '\u{2}';
/// Least characters of a value that is looked for in texts.
const MIN_VALUE: usize = 3;

/// A variable with its value in one run, which may stand in the texts of its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a str,
}

/// Whether `value` is long enough to be told from other text.
pub(super) fn is_markable(value: &str) -> bool {
    value.chars().count() >= MIN_VALUE
}

/// The pieces of `text`, each with whether it is a reference; `None` for a text with one of the marks in it.
pub(super) fn pieces(text: &str) -> Option<Vec<(String, bool)>> {
    if text.contains([MARK, REFERENCE]) {
        return None;
    }
    let split = with_references(text, "$${", |inner| format!("{REFERENCE}{inner}{REFERENCE}"));
    Some(split.split(REFERENCE).enumerate().map(|(index, piece)| (piece.to_owned(), index % 2 == 1)).collect())
}

/// `text` with the name of a variable, between marks, in the place of each value of `values`, which begin with the longest.
pub(super) fn marked(text: &str, values: &[Value]) -> String {
    let mut marked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(found) = values.iter().find(|known| rest.starts_with(known.value)) {
            marked.extend([MARK.to_string().as_str(), found.name, MARK.to_string().as_str()]);
            rest = &rest[found.value.len()..];
        } else {
            marked.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    marked
}

/// A marked text with the values of another run in the places of its variables; `None` when it has no such variable.
pub(super) fn filled(marked: &str, values: &[Value]) -> Option<String> {
    let mut text = String::with_capacity(marked.len());
    for (index, piece) in marked.split(MARK).enumerate() {
        if index % 2 == 0 {
            text.push_str(piece);
        } else {
            text.push_str(values.iter().find(|known| known.name == piece)?.value);
        }
    }
    Some(text)
}

/// A marked text without its variables.
pub(super) fn without_marks(marked: &str) -> String {
    marked.split(MARK).step_by(2).collect::<Vec<_>>().join(" ")
}

/// Names of the variables in a marked text.
pub(super) fn variables_in(marked: &str) -> impl Iterator<Item = &str> {
    marked.split(MARK).skip(1).step_by(2)
}

/// What in `text` may have come from a clock: its numbers, without zeros in front, and the names of days and months.
pub(super) fn clock_like(text: &str) -> impl Iterator<Item = String> + '_ {
    let runs = text.split(|letter: char| !letter.is_alphanumeric());
    runs.flat_map(|run| {
        let word = run.to_lowercase();
        let named = names_day_or_month(&word).then_some(word);
        let numbers = run.split(|letter: char| !letter.is_ascii_digit()).filter(|digits| !digits.is_empty());
        let numbers = numbers.map(|digits| match digits.trim_start_matches('0') {
            "" => "0".to_owned(),
            digits => digits.to_owned(),
        });
        numbers.chain(named).collect::<Vec<_>>()
    })
}

/// [`clock_like`] of a text as a set.
pub(super) fn clock_like_set(text: &str) -> BTreeSet<String> {
    clock_like(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_marked_and_filled_in_again_but_not_in_references() {
        let one = [Value { name: "date", value: "2026-11-27" }, Value { name: "x", value: "a.b" }];
        let other = [Value { name: "date", value: "2026-11-28" }, Value { name: "x", value: "c" }];
        let pieces = pieces("see 2026-11-27 in ${a.b.2026-11-27} of a.b, $${a.b}").expect("no marks");
        let filled: String = pieces
            .iter()
            .map(|(piece, is_reference)| {
                if *is_reference {
                    format!("${{{piece}}}")
                } else {
                    super::filled(&marked(piece, &one), &other).expect("the same variables")
                }
            })
            .collect();
        assert_eq!(filled, "see 2026-11-28 in ${a.b.2026-11-27} of c, $${c}");
        assert_eq!(super::pieces("\u{1}x"), None);
    }

    #[test]
    fn numbers_and_names_of_days_may_come_from_a_clock() {
        let found: Vec<String> = clock_like("At 09:05 on Friday, v2 of nov; none").collect();
        assert_eq!(found, ["9", "5", "friday", "2", "nov"]);
    }
}
