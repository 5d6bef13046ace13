//! Numbers and addresses of an answer that stand in nothing that the model was shown.

use std::collections::{BTreeSet, HashSet};

use crate::domain::addresses::{addresses, normal_form, without_addresses};

/// Most numbers that are named.
const MOST: usize = 5;

/// The numbers in `answer` with two digits or more that no source holds and that were not `shown`, each once.
pub(super) fn ungrounded<'a>(
    answer: &str,
    sources: impl Iterator<Item = &'a str>,
    shown: &BTreeSet<String>,
) -> Vec<String> {
    let mut stated =
        numbers(answer).filter(|number| number.chars().filter(char::is_ascii_digit).count() > 1).peekable();
    if stated.peek().is_none() {
        return Vec::new();
    }
    let mut known: HashSet<String> = sources.flat_map(numbers).flat_map(with_roundings).collect();
    stated.filter(|number| !shown.contains(number) && known.insert(number.clone())).take(MOST).collect()
}

/// The numbers and addresses in `answer` that no source holds and that were not `shown`: a few of them, each once.
pub(super) fn unknown_in(answer: &str, sources: &[&str], shown: &BTreeSet<String>) -> Vec<String> {
    let mut unknown = unknown_addresses(answer, sources);
    // The numbers of an address belong to it.
    unknown.extend(ungrounded(&without_addresses(answer), sources.iter().copied(), shown));
    unknown
}

/// The addresses in `answer` that no source holds, each once.
fn unknown_addresses(answer: &str, sources: &[&str]) -> Vec<String> {
    let mut stated = addresses(answer).map(normal_form).peekable();
    if stated.peek().is_none() {
        return Vec::new();
    }
    let mut known: HashSet<String> = sources.iter().flat_map(|source| addresses(source)).map(normal_form).collect();
    stated.filter(|address| known.insert(address.clone())).take(MOST).collect()
}

/// Whether `answer` has one of the numbers in `shown` that have two digits or more.
pub(super) fn states_one_of(answer: &str, shown: &BTreeSet<String>) -> bool {
    numbers(answer).any(|number| number.len() > 1 && shown.contains(&number))
}

/// Whether `answer` has the number or the address `stated`.
pub(super) fn states(answer: &str, stated: &str) -> bool {
    numbers(answer).any(|number| number == stated) || addresses(answer).any(|address| normal_form(address) == stated)
}

/// Whole numbers that a calculation may bring along: hundreds, days, minutes, seconds, bytes.
const CONSTANTS: [&str; 10] = ["100", "1000", "360", "365", "366", "1024", "1440", "3600", "86400", "1000000"];

/// The whole numbers of three digits and more in the `arguments` of a calculation that no source holds and that were not
/// `shown`.
pub(super) fn brought_along<'a>(
    arguments: &str,
    sources: impl Iterator<Item = &'a str>,
    shown: &BTreeSet<String>,
) -> Vec<String> {
    let mut brought = ungrounded(arguments, sources, shown);
    brought.retain(|number| number.len() > 2 && !number.contains('.') && !CONSTANTS.contains(&number.as_str()));
    brought
}

/// Whether a `calculation` such as `2 * 3 = 6` uses every number of `goal` before its result, and there is one, and no number of
/// its own: as they stand, or, where the goal speaks of percent, as a percentage such as 1.15 for 15 %.
pub(super) fn uses_all(calculation: &str, goal: &str) -> bool {
    let value = |number: String| number.parse::<f64>().unwrap_or(f64::NAN);
    let expression = calculation.rsplit_once('=').map_or(calculation, |(expression, _)| expression);
    let used: Vec<f64> = numbers(expression).map(value).collect();
    let speaks_of_percent = goal.contains('%') || goal.to_lowercase().contains("percent");
    let forms = |wanted: f64| {
        let forms = vec![wanted, wanted / 100.0, 1.0 + wanted / 100.0, 1.0 - wanted / 100.0];
        if speaks_of_percent { forms } else { forms[..1].to_vec() }
    };
    let is_used = |wanted: f64| forms(wanted).iter().any(|form| used.iter().any(|used| (used - form).abs() < 1e-9));
    let wanted: Vec<f64> = numbers(goal).map(value).collect();
    let is_known = |used: &f64| {
        let is_constant = CONSTANTS.iter().any(|constant| constant.parse() == Ok(*used));
        is_constant || wanted.iter().any(|wanted| forms(*wanted).iter().any(|form| (used - form).abs() < 1e-9))
    };
    !wanted.is_empty() && wanted.iter().all(|wanted| is_used(*wanted)) && used.iter().all(is_known)
}

/// The numbers that the `output` of a call shows: those that stood in its arguments only the model knows, unless a source
/// holds them or they were `shown` before.
pub(super) fn shown_by<'a>(
    output: &str,
    arguments: &str,
    sources: impl Iterator<Item = &'a str>,
    shown: &BTreeSet<String>,
) -> Vec<String> {
    let known: HashSet<String> = sources.flat_map(numbers).collect();
    let claimed: HashSet<String> =
        numbers(arguments).filter(|number| !known.contains(number) && !shown.contains(number)).collect();
    numbers(output).filter(|number| !claimed.contains(number)).flat_map(with_roundings).collect()
}

/// A number as it stands, and with its fraction cut or rounded to fewer places, as people state it.
fn with_roundings(number: String) -> Vec<String> {
    let Some((whole, fraction)) = number.split_once('.') else { return vec![number] };
    let value: f64 = number.parse().unwrap_or(f64::NAN);
    let places = 0..fraction.len().min(4);
    let cut = places
        .clone()
        .map(|places| if places == 0 { whole.to_owned() } else { number[..=whole.len() + places].to_owned() });
    let rounded = places.map(|places| format!("{value:.places$}"));
    let plain = |text: String| numbers(&text).next().unwrap_or_default();
    let others: Vec<String> = cut.chain(rounded).map(plain).collect();
    std::iter::once(number).chain(others).collect()
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
            ("23:26:10, about 17.33 or 17.3 or 18", "2026-11-27T23:26:10.994Z 17.333333 17.8", vec![]),
            ("17.34", "17.333333", vec!["17.34"]),
            ("no number...", "", vec![]),
        ] {
            assert_eq!(ungrounded(answer, [source].into_iter(), &BTreeSet::new()), open, "{answer}");
        }
    }

    #[test]
    fn what_a_calculation_brings_along_is_small_or_a_constant() {
        let brought = |expression| brought_along(expression, ["17 * 23 + 4 = 391?"].into_iter(), &BTreeSet::new());
        assert_eq!(brought("723 + 4"), ["723"]);
        assert_eq!(brought("17 * 23 * 1.155 + 391 * 365 / 100 * 12"), Vec::<String>::new());
    }

    #[test]
    fn a_calculation_uses_the_numbers_of_a_goal_as_they_stand_or_as_percentages() {
        let goal = "Add 15 % tax to 1,240, then divide the result by 4.";
        for (expression, uses) in [
            ("(1240 * 1.15) / 4", true),
            ("(1240 + 15% of 1240) / 4", true),
            ("1240 * 0.15 / 4", true),
            ("1240 * 1.15", false),
            ("1240 / 4", false),
            ("", false),
        ] {
            assert_eq!(uses_all(expression, goal), uses, "{expression}");
        }
        assert!(!uses_all("1 + 1", "Say hello."), "a goal without numbers");
        assert!(!uses_all("50 * 2 = 100", "Multiply 50 by 2, then add 100."), "a result is no part of the calculation");
        assert!(!uses_all("1.05 * 20", "What is 5 times 20?"), "no percentage is spoken of");
        assert!(!uses_all("12 + 5 * 3 = 27", "Give the sum and the product of 12 and 5."), "3 is its own");
    }

    #[test]
    fn a_number_that_only_the_model_put_into_a_call_is_not_shown_by_its_result() {
        let shown = BTreeSet::from(["70".to_owned()]);
        let by = |output, arguments| shown_by(output, arguments, ["the sum of 12 and 5"].into_iter(), &shown);
        assert_eq!(by("{\"value\":\"600\"}", "600"), Vec::<String>::new());
        assert_eq!(by("{\"value\":\"60\"}", "12*5"), ["60"]);
        assert_eq!(by("{\"value\":\"70\"}", "70"), ["70"], "it was known before");
        assert_eq!(by("12 of 600", "12"), ["12", "600"]);
    }
}
