//! Whether an answer followed from the outputs of tools alone, so that equal outputs give it again.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Moment;
use super::literals::clock_like;
use crate::domain::approval::{canonical, hash};
use crate::domain::tool::as_artifact_output;

/// Headers of an answer of a web server that change although the page does not.
const VOLATILE_HEADERS: [&str; 9] =
    ["date", "age", "expires", "etag", "last-modified", "set-cookie", "x-request-id", "server-timing", "cf-ray"];

/// Words of a goal whose answer changes with the clock, in lower case.
const CLOCK_WORDS: [&str; 77] = [
    "today",
    "tonight",
    "now",
    "tomorrow",
    "yesterday",
    "date",
    "dates",
    "time",
    "times",
    "clock",
    "calendar",
    "day",
    "days",
    "week",
    "weeks",
    "weekend",
    "weekday",
    "month",
    "months",
    "year",
    "years",
    "hour",
    "hours",
    "minute",
    "minutes",
    "second",
    "seconds",
    "ago",
    "until",
    "till",
    "since",
    "before",
    "after",
    "late",
    "later",
    "early",
    "earlier",
    "overdue",
    "due",
    "deadline",
    "expire",
    "expires",
    "expired",
    "expiry",
    "age",
    "old",
    "older",
    "soon",
    "next",
    "last",
    "recent",
    "recently",
    "morning",
    "noon",
    "evening",
    "midnight",
    "remaining",
    "elapsed",
    "countdown",
    "ends",
    "ended",
    "starts",
    "started",
    "heute",
    "jetzt",
    "morgen",
    "gestern",
    "datum",
    "uhr",
    "uhrzeit",
    "tage",
    "woche",
    "monat",
    "jahr",
    "stunden",
    "bis",
    "seit",
];

/// What an answer was given from.
#[derive(Clone, Debug)]
pub struct AnswerBasis<'a> {
    /// The answer, with the reason for it.
    pub answer: &'a Value,
    /// The goal and the instructions of the plan.
    pub asked: Vec<&'a str>,
    /// The outputs of its tools.
    pub outputs: Vec<&'a Value>,
    /// The moment that the model was told.
    pub moment: &'a Moment,
}

/// Whether nothing tells that the answer depends on anything but the outputs: neither the goal nor the answer speaks of the
/// clock, and each number of the answer stands in the outputs or in the goal.
#[must_use]
pub fn follows_from_outputs(basis: &AnswerBasis) -> bool {
    let is_of_clock = |word: &str| CLOCK_WORDS.contains(&word.to_lowercase().as_str());
    let asks_for_clock = basis.asked.iter().any(|text| words(text).any(is_of_clock));
    if asks_for_clock {
        return false;
    }
    let stated: BTreeSet<String> = texts_of(basis.answer).iter().flat_map(|text| clock_like(text)).collect();
    if stated.is_empty() {
        return true;
    }
    let moment = basis.moment.words();
    let shown: Vec<String> = basis.outputs.iter().map(ToString::to_string).collect();
    let known: BTreeSet<String> =
        basis.asked.iter().copied().chain(shown.iter().map(String::as_str)).flat_map(clock_like).collect();
    stated.iter().all(|stated| known.contains(stated) && !moment.contains(stated))
}

/// Hash of the outputs of the tools of a run, in the order of its plan, without what changes from call to call; `None` when one
/// of them is not whole. Headers count whole when the plan `names_headers`.
#[must_use]
pub fn outputs_hash(outputs: &[(&str, &Value)], names_headers: bool) -> Option<String> {
    let mut parts = vec!["outputs".to_owned()];
    for (tool, output) in outputs {
        if as_artifact_output(output).is_some() {
            return None;
        }
        parts.push((*tool).to_owned());
        parts.push(canonical(&if names_headers { (*output).clone() } else { without_volatile(output) }));
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Some(hash(&parts))
}

fn without_volatile(output: &Value) -> Value {
    let mut output = output.clone();
    if output.get("status").is_some()
        && let Some(headers) = output.get_mut("headers").and_then(Value::as_object_mut)
    {
        headers.retain(|name, _| !VOLATILE_HEADERS.contains(&name.to_lowercase().as_str()));
    }
    output
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// The texts in `value`, numbers as texts.
fn texts_of(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts_of).collect(),
        Value::Object(fields) => fields.values().flat_map(texts_of).collect(),
        Value::Number(number) => vec![number.to_string()],
        Value::Null | Value::Bool(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn follows(goal: &str, answer: &str, output: &Value) -> bool {
        let moment = Moment { date: "2026-11-27".to_owned(), hour: "09".to_owned(), minute: "05".to_owned() };
        let answer = json!({"output": answer, "reason": "the page says so"});
        follows_from_outputs(&AnswerBasis {
            answer: &answer,
            asked: vec![goal],
            outputs: vec![output],
            moment: &moment,
        })
    }

    #[test]
    fn an_answer_with_a_number_or_a_day_of_the_clock_depends_on_the_clock() {
        let page = json!({"body": "43 services are green, 2 are red; 27 were green in November"});
        for (goal, answer, expected) in [
            ("Which services are red?", "None of them.", true),
            ("Which services are red?", "Two of 43 services are red.", true),
            ("Which services are red?", "41 of them are green.", false),
            ("Which services are red?", "As of 2026-11-27, 2 are red.", false),
            ("Which services are red?", "27 are green.", false),
            ("Which services are red?", "It was so in November.", false),
            ("Which services are red?", "On Friday 2 are red.", false),
            ("Which of the top 43 services are red?", "2 of the top 43.", true),
            ("Which services are red today?", "None of them.", false),
            ("Is the certificate expired?", "No.", false),
            ("How many days until the release?", "None.", false),
        ] {
            assert_eq!(follows(goal, answer, &page), expected, "{goal} {answer}");
        }
    }

    #[test]
    fn what_a_server_adds_to_a_page_is_no_part_of_it() {
        let page =
            |etag: &str, body: &str| json!({"status": 200, "headers": {"etag": etag, "link": "x"}, "body": body});
        let hash = |output: &Value, names_headers| outputs_hash(&[("http_request", output)], names_headers);
        assert_eq!(hash(&page("1", "a"), false), hash(&page("2", "a"), false));
        assert_ne!(hash(&page("1", "a"), true), hash(&page("2", "a"), true));
        assert_ne!(hash(&page("1", "a"), false), hash(&page("1", "b"), false));
        let apart = json!({"artifact": "a", "bytes": 50_000, "preview": "x"});
        assert_eq!(hash(&apart, false), None, "not all of it was seen");
    }
}
