//! The parts of a long text that fit a question.

use serde_json::Value;

use super::ranking;

/// Least and most bytes of a piece, unless a single word or a line is longer or shorter.
const PIECE: usize = 300;
const LONGEST_PIECE: usize = 800;
/// Part of the best score below which a piece does not fit.
const LEAST: f64 = 0.4;
/// Most bytes of a text that are looked through.
const READ: usize = 4 * 1024 * 1024;
/// Stands where something was left out.
const GAP: &str = "\n[…]\n";

/// Stands before the beginning of a text in which nothing fits.
pub const NOTHING_FITS: &str = "[Nothing in it fits; it begins:]";

/// A long text, as far as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passages {
    /// What is shown.
    pub text: String,
    /// What that is.
    pub extent: Extent,
}

/// What of a text is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// The parts that fit the question.
    Fitting,
    /// The beginning, because nothing fits.
    Beginning,
}

impl Passages {
    /// The text, which says itself when nothing in it fits.
    #[must_use]
    pub fn marked(self) -> String {
        match self.extent {
            Extent::Whole | Extent::Fitting => self.text,
            Extent::Beginning => format!("{NOTHING_FITS}\n{}", self.text),
        }
    }
}

/// What of `value` fits `question`, in at most `limit` bytes: of the longest text in it when that is most of it, else of the
/// whole as JSON. All of it when it is short enough.
#[must_use]
pub fn of_value(value: &Value, question: &str, limit: usize) -> Passages {
    let whole = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let longest = longest_text(value).filter(|text| text.len() > limit && text.len() > whole.len() / 2);
    of(longest.unwrap_or(&whole), question, limit)
}

/// The parts of `text` that fit `question`, in their order, in at most `limit` bytes: its beginning when none does.
#[must_use]
pub fn of(text: &str, question: &str, limit: usize) -> Passages {
    if text.len() <= limit {
        return Passages { text: text.to_owned(), extent: Extent::Whole };
    }
    let pieces = pieces(&text[..text.floor_char_boundary(READ)]);
    // An address says where a text is, and not what is looked for in it.
    let asked: Vec<&str> = question.split_whitespace().filter(|word| !word.contains("://")).collect();
    let scores = ranking::scores(&asked.join(" "), pieces.iter().copied());
    let best = scores.iter().copied().fold(0.0, f64::max);
    let fits = |index: &usize| scores[*index] > 0.0 && scores[*index] >= best * LEAST;
    let mut order: Vec<usize> = (0..pieces.len()).filter(fits).collect();
    order.sort_by(|one, other| scores[*other].total_cmp(&scores[*one]));
    // A mark may stand before each chosen piece, and behind the last one.
    let mut room = limit.saturating_sub(GAP.len());
    let mut chosen: Vec<usize> = Vec::new();
    for index in order {
        let needs = pieces[index].len() + GAP.len();
        if needs <= room {
            room -= needs;
            chosen.push(index);
        }
    }
    if chosen.is_empty() {
        let end = text.floor_char_boundary(limit.saturating_sub(GAP.len()));
        return Passages { text: format!("{}{}", &text[..end], GAP.trim_end()), extent: Extent::Beginning };
    }
    chosen.sort_unstable();
    Passages { text: joined(&pieces, &chosen), extent: Extent::Fitting }
}

/// The chosen pieces, with marks where others stood between them.
fn joined(pieces: &[&str], chosen: &[usize]) -> String {
    let mut text = String::new();
    let mut next = 0;
    for index in chosen {
        if *index != next {
            text.push_str(GAP.trim_start_matches(if text.is_empty() { '\n' } else { '\0' }));
        }
        text.push_str(pieces[*index]);
        next = index + 1;
    }
    if next != pieces.len() {
        text.push_str(GAP.trim_end());
    }
    text
}

/// `text` in pieces that end where a line, or else a word, ends.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut start, mut end) = (0, 0);
    for line in text.split_inclusive('\n') {
        end += line.len();
        while end - start > LONGEST_PIECE {
            let cut = start + text[start..end].floor_char_boundary(LONGEST_PIECE);
            let cut =
                text[start..cut].rfind(char::is_whitespace).map_or(cut, |at| text.ceil_char_boundary(start + at + 1));
            pieces.push(&text[start..cut]);
            start = cut;
        }
        if end - start >= PIECE {
            pieces.push(&text[start..end]);
            start = end;
        }
    }
    if start < end {
        pieces.push(&text[start..end]);
    }
    pieces
}

fn longest_text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Array(items) => items.iter().filter_map(longest_text).max_by_key(|text| text.len()),
        Value::Object(fields) => fields.values().filter_map(longest_text).max_by_key(|text| text.len()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn handbook() -> String {
        let section = |number: usize| match number {
            83 => "Drivers open the back gate with the code QX-7719.\n".to_owned(),
            _ => format!("Shelf {number} holds boxes that are counted by two persons on the first day of a month.\n"),
        };
        (0..150).map(section).collect()
    }

    #[test]
    fn what_fits_the_question_is_found_in_the_middle_of_a_long_text() {
        let Passages { text: found, extent } = of(&handbook(), "What is the code of the back gate?", 1_000);
        assert_eq!(extent, Extent::Fitting);
        assert!(found.contains("QX-7719") && found.len() <= 1_000, "{found}");
        assert!(found.starts_with("[…]\n") && found.ends_with("[…]"), "{found}");
        let page = json!({"status": 200, "text": handbook()});
        assert!(of_value(&page, "code of the back gate", 1_000).text.contains("the code QX-7719.\n"));
    }

    #[test]
    fn short_texts_stay_whole_and_others_give_their_beginning_when_nothing_fits() {
        let whole = Passages { text: r#"{"a":1}"#.to_owned(), extent: Extent::Whole };
        assert_eq!(of_value(&json!({"a": 1}), "x", 100), whole);
        assert_eq!(whole.marked(), r#"{"a":1}"#);
        let Passages { text: found, extent } = of(&handbook(), "zebra", 100);
        assert_eq!(extent, Extent::Beginning);
        assert!(found.starts_with("Shelf 0 holds") && found.ends_with("\n[…]") && found.len() <= 100, "{found}");
    }

    proptest! {
        #[test]
        fn pieces_are_the_text_and_passages_keep_to_their_limit(text in "(?s).{0,3000}", question in ".{0,40}", limit in 20_usize..2_000) {
            prop_assert_eq!(pieces(&text).concat(), text.clone());
            prop_assert!(of(&text, &question, limit).text.len() <= limit.max(GAP.len()));
        }
    }
}
