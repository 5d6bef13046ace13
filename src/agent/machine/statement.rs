//! Classifies plain text of a model in place of a declared outcome: a result, or the report of a failure.
//!
//! It errs on the side of failure: a rejected result is requested again or reported as a failure, but an accepted
//! failure would deceive.

use serde_json::Value;

use super::json_text::text_or_json;
use crate::domain::calendar_words::names_weekday;

/// Word sequences of a text that tells that something was not done, lower case; each may go on with the rest of a word.
const FAILURES: [&str; 87] = [
    // Statements of the model about itself.
    "cannot",
    "can not",
    "can't",
    "cant ",
    "could not",
    "couldn't",
    "unable to",
    "not able to",
    "wasn't able",
    "sorry",
    "apologi",
    "unfortunately",
    "regret",
    "i don't have",
    "i do not have",
    "i need more",
    "as an ai",
    "gave up",
    "giving up",
    "won't",
    "will not",
    "would not",
    "did not",
    "didn't",
    "haven't",
    "have not",
    "hasn't",
    "has not",
    "was not",
    "wasn't",
    "were not",
    "weren't",
    "not been",
    "nothing was",
    "nothing could",
    "nothing has been",
    // Outcomes.
    "success false",
    "success no ",
    "success none",
    "success is false",
    "success was false",
    "succeeded false",
    "answer none",
    "answer null",
    "answer n a ",
    "no answer",
    "no result",
    "failed",
    "failure",
    "failing",
    "fails",
    "fail ",
    "unsuccessful",
    "not success",
    "not succeed",
    "without success",
    "not reached",
    "not achieved",
    "not met",
    "not fulfilled",
    "not completed",
    "not done",
    "not possible",
    "impossible",
    "incomplete",
    "aborted",
    // Obstacles.
    "does not exist",
    "doesn't exist",
    "do not exist",
    "don't exist",
    "not found",
    "no such",
    "no longer",
    "is missing",
    "are missing",
    "not available",
    "unavailable",
    "unreachable",
    "inaccessible",
    "not accessible",
    "no access",
    "denied",
    "forbidden",
    "timed out",
    "timeout",
    "an error",
    "server error",
];
/// Words that deny something.
const NEGATIONS: [&str; 8] = ["no", "not", "none", "nothing", "never", "without", "missing", "nor"];
/// Marks and words of calls, lower case.
const CALLS: [&str; 7] = ["<tool_call", "[tool_call", "<function", "<|", "action input", "```json", "```tool"];
/// Words that stand before the number of an HTTP status.
const STATUS_WORDS: [&str; 7] = ["status", "code", "http", "error", "returned", "answered", "responded"];

/// The result that a model gave as plain text; `None` when the text may be something else: JSON or a text that quotes
/// an object, a call, a question, or the report of a failure.
pub(super) fn stated(text: &str) -> Option<&str> {
    let text = text.trim();
    let lower = text.to_lowercase();
    let is_statement = !text.is_empty()
        && !text.starts_with(['{', '[', '<'])
        && !text.ends_with('?')
        && !lower.starts_with("error")
        && !CALLS.iter().any(|mark| lower.contains(mark))
        && !is_call_in_code(text)
        && !quotes_object(text)
        && failure_in(text).is_none();
    is_statement.then_some(text)
}

/// Whether `text` denies anything, as a reason why there is no result does.
pub(super) fn denies(text: &str) -> bool {
    let words = words_of(text);
    let is_denied = NEGATIONS.iter().any(|word| words.contains(&format!(" {word} "))) || words.contains("n't ");
    is_denied || failure_in(text).is_some()
}

/// The words of `text` that report a failure.
pub(super) fn failure_in(text: &str) -> Option<String> {
    let words = words_of(text);
    let phrase = FAILURES.iter().find(|phrase| words.contains(&format!(" {phrase}")));
    phrase.map(|phrase| phrase.trim().to_owned()).or_else(|| status_in(&words))
}

/// As [`failure_in`], for all texts in `value`.
pub(super) fn failure_within(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => failure_in(text),
        Value::Array(items) => items.iter().find_map(failure_within),
        Value::Object(fields) => fields.values().find_map(failure_within),
        _ => None,
    }
}

/// The words of `text` in lower case, each between blanks, without the marks around them.
fn words_of(text: &str) -> String {
    let text = text.to_lowercase().replace('’', "'");
    // The version would stand between the word and the status.
    let text = ["http/1.0", "http/1.1", "http/2", "http/3"].iter().fold(text, |text, name| text.replace(name, "http"));
    let words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '\'');
    let words: Vec<&str> = words.map(|word| word.trim_matches('\'')).filter(|word| !word.is_empty()).collect();
    format!(" {} ", words.join(" "))
}

/// The number of an HTTP status of failure, with the word before it.
fn status_in(words: &str) -> Option<String> {
    let words: Vec<&str> = words.split_whitespace().collect();
    let is_status = |word: &str| word.len() == 3 && word.parse().is_ok_and(|status: u16| (400..600).contains(&status));
    let found = words.windows(2).find(|pair| STATUS_WORDS.contains(&pair[0]) && is_status(pair[1]));
    found.map(|pair| pair.join(" "))
}

/// Whether an object begins anywhere in `text`, with a name in quotes or without.
fn quotes_object(text: &str) -> bool {
    text.match_indices('{').any(|(at, _)| {
        let inner = text[at + 1..].trim_start();
        let name = inner.trim_start_matches(|letter: char| letter.is_alphanumeric() || letter == '_');
        inner.starts_with(['"', '\'', '“']) || name.len() < inner.len() && name.trim_start().starts_with(':')
    })
}

/// Whether `text` as a whole is a call in code: `name(argument="value")`.
fn is_call_in_code(text: &str) -> bool {
    let Some((name, arguments)) = text.trim_matches('`').split_once('(') else { return false };
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_.".contains(c));
    is_name(name.trim()) && arguments.trim_end().ends_with(')') && arguments.contains(['=', '"', '\''])
}

/// Words by which a goal asks for a date.
const DATE_QUESTIONS: [&str; 6] =
    ["which date is", "what date is", "what is the date", "what's the date", "today's date", "the current date"];
/// Words after these by which it asks for something else.
const OF_DATES: [&str; 6] = ["format", "formats", "column", "field", "range", "style"];
/// Words by which a goal asks for a number.
const NUMBER_QUESTIONS: [&str; 9] = [
    " how many ",
    " how much ",
    " sum of ",
    " the total of ",
    " the average of ",
    " the mean of ",
    " the median of ",
    " the number of ",
    " the factorial of ",
];
/// Words that are numbers, or stand for one, in answers.
const NUMBER_WORDS: [&str; 24] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "dozen",
    "hundred", "thousand", "million", "none", "no", "nothing", "all", "both", "every", "each",
];

/// Words by which a goal asks for JSON and nothing else.
const BARE_JSON: [&str; 8] = [
    " only the json ",
    " only json ",
    " only valid json ",
    " just the json ",
    " just json ",
    " nothing but json ",
    " nothing but the json ",
    " json only ",
];

/// What an answer lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lack {
    /// In words for the model.
    pub(super) what: &'static str,
    /// Whether no answer without it can be right, in whatever language it is.
    pub(super) is_certain: bool,
}

/// What `goal` asks for and `answer` does not have: a day of the week, bare JSON, a date, a number.
pub(super) fn lack_of(goal: &str, answer: &str) -> Option<Lack> {
    let (goal, answer) = (goal.to_lowercase().replace('’', "'"), answer.to_lowercase());
    let words = |text: &str, is_wanted: fn(&str) -> bool| text.split(|c: char| !c.is_alphanumeric()).any(is_wanted);
    let asks_weekday = goal.contains("day of the week") || words(&goal, |word| word == "weekday");
    if asks_weekday && !words(&answer, names_weekday) {
        return Some(Lack { what: "a day of the week", is_certain: false });
    }
    let spaced = words_of(&goal);
    let wants_json = BARE_JSON.iter().any(|wish| spaced.contains(wish));
    if wants_json && text_or_json(&answer).is_string() {
        return Some(Lack { what: "JSON and nothing else", is_certain: true });
    }
    if answer.contains(|c: char| c.is_numeric()) {
        return None;
    }
    let asks_date = DATE_QUESTIONS.iter().any(|question| {
        let behind = |(at, _)| goal[at + question.len()..].split_whitespace().next().unwrap_or_default();
        goal.match_indices(question).map(behind).any(|word| !OF_DATES.iter().any(|other| word.starts_with(other)))
    });
    if asks_date {
        return Some(Lack { what: "a date", is_certain: true });
    }
    let asks_number = NUMBER_QUESTIONS.iter().any(|question| spaced.contains(question));
    let has_number = words(&answer, |word| NUMBER_WORDS.contains(&word));
    (asks_number && !has_number).then_some(Lack { what: "a number", is_certain: true })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_plain_statement_is_a_result() {
        for result in [
            "The factorial of 10 is **3628800**.",
            "The result is $\\boxed{3628800}$.",
            "f(10) = 3628800",
            "The set {1, 2} has two members.",
            "It has 503 rows; the code is 7.",
            "The cantata lasts 20 minutes.",
        ] {
            assert_eq!(stated(&format!(" {result}\n")), Some(result));
        }
        for other in [
            "",
            "{\"x\": 1}",
            "[1, 2]",
            "Which board do you mean?",
            "<tool_call>",
            "I call it. <tool_call>calculate</tool_call>",
            "Here:\n```json\n{}\n```",
            "I compute {\"name\": \"calculate\", \"arguments\": {\"expression\": \"10!\"}} now.",
            "I compute {name: \"calculate\"} now.",
            "The step gave {'response': '503'}, and that is it.",
            "calculate(expression=\"10!\")",
            "`functions.calculate(\"10!\")`",
            "Action: calculate\nAction Input: 10!",
        ] {
            assert_eq!(stated(other), None, "{other}");
        }
    }

    #[test]
    fn news_of_a_failure_is_no_result() {
        for news in [
            "I’m sorry, the page is gone.",
            "I cannot do that.",
            "It was not possible to read it.",
            "Error: timeout",
            "success: false\nanswer: none\nreason: the page has moved",
            "* success: false\n* answer: none",
            "**Success:** *false*",
            "\"success\": \"false\"",
            "`success` = `false`",
            "answer: none\nreason: the page is missing",
            "The goal was not reached.",
            "The goal has **not** been *reached*.",
            "The task failed because the server returned 500.",
            "The server returned 500.",
            "The page answered with status 404.",
            "HTTP/1.1 503",
            "This cannot be done.",
            "This can’t be done.",
            "The file does not exist.",
            "The file doesn't exist.",
            "The page was not found.",
            "The attempt was unsuccessful.",
            "A failure of the network.",
            "The script did not run.",
            "It timed out.",
            "Access is denied.",
            "Nothing was delivered.",
            "The service is unavailable.",
            "Unfortunately, the disk is full.",
        ] {
            assert_eq!(stated(news), None, "{news}");
        }
        assert_eq!(failure_within(&json!({"n": 1, "l": ["fine", {"x": "The run FAILED"}]})).as_deref(), Some("failed"));
        assert_eq!(failure_within(&json!({"failed": 0, "l": ["all went well"]})), None);
    }

    #[test]
    fn a_day_a_date_or_a_number_that_is_asked_for_must_be_there() {
        let goal = "Which date is today, and which day of the week?";
        let (day, date, number) = (Some("a day of the week"), Some("a date"), Some("a number"));
        for (goal, answer, missing) in [
            (goal, "It is 2026-11-28.", day),
            (goal, "It is Saturday.", date),
            (goal, "It is Saturday, 2026-11-28.", None),
            (goal, "sat, 28 Nov", None),
            ("Name the weekday.", "It is sunny.", day),
            ("What’s the date in Tokyo?", "Sunday", date),
            ("What is the date format of the file?", "day, then month", None),
            ("Sum up the weekdays page", "It has three rows.", None),
            ("Name the sum of the column amount of sales.csv", "The result shows the entire table.", number),
            ("How many rows has it?", "It has three.", None),
            ("How many rows has it?", "None of them.", None),
            ("How many rows has it?", "7", None),
            ("How many rows has it?", "٧", None),
            ("Name the total amount", "It is in the table.", None),
            (
                "Give the sum and the product. Answer with only the JSON.",
                "12 + 5 * 3 = 27",
                Some("JSON and nothing else"),
            ),
            ("Give the sum and the product. Answer with only the JSON.", "```json\n{\"sum\": 17}\n```", None),
            ("How many rows has the JSON file?", "7", None),
        ] {
            assert_eq!(lack_of(goal, answer).map(|lack| lack.what), missing, "{goal} {answer}");
        }
    }
}
