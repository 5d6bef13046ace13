//! Numbers of an answer that stand in nothing that the model was shown.

use std::collections::HashSet;

/// Most numbers that are named.
const MOST: usize = 5;

/// The numbers in `answer` with two digits or more that no source holds, each once.
pub(super) fn ungrounded<'a>(answer: &str, sources: impl Iterator<Item = &'a str>) -> Vec<String> {
    let stated = numbers(answer).filter(|number| number.chars().filter(char::is_ascii_digit).count() > 1);
    let mut open: Vec<String> = Vec::new();
    for number in stated {
        if !open.contains(&number) {
            open.push(number);
        }
    }
    if open.is_empty() {
        return open;
    }
    let known: HashSet<String> = sources.flat_map(numbers).collect();
    open.retain(|number| !known.contains(number));
    open.truncate(MOST);
    open
}

/// The numbers of a text, without separators of thousands, zeros at the end of a fraction, and zeros in front.
fn numbers(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ',')).filter_map(|written| {
        let plain = written.trim_matches(['.', ',']).replace(',', "");
        if !plain.contains(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let whole = if whole.is_empty() { "0" } else { whole };
        Some(if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_grounded_however_it_is_written() {
        for (answer, source, open) in [
            ("It is 523.", "What is 17 * 23 + 4?", vec!["523"]),
            ("3,628,800", "{\"value\":\"3628800\"}", vec![]),
            ("12.50 euros", "12.5", vec![]),
            ("2026-11-27, 09:05", "Friday 2026-11-27 9:5", vec![]),
            ("step 3 of 7", "", vec![]),
            ("41, 42 and 41", "42", vec!["41"]),
            ("no number...", "", vec![]),
        ] {
            assert_eq!(ungrounded(answer, [source].into_iter()), open, "{answer}");
        }
    }
}
