//! Whether a result of a schedule is unlike its earlier results. A silent failure looks like a success, but rarely like the
//! successes before it.
//!
//! What is compared: the words, the length, the form of a JSON value, phrases of failure, and what the run did. Each is measured
//! on the scale of the earlier results, and the sum decides, so that a busy day alone is no alarm.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::Size;
use super::number;
use words::{Words, phrases};

mod words;

/// Name under which a result carries that it is suspect, with the reasons.
pub const MARK: &str = "suspect";
/// Fewest earlier results that a new one is compared with.
pub const MIN_EARLIER: usize = 7;
/// Most earlier results that count, the newest.
pub const MAX_EARLIER: usize = 30;
/// Sum of the scores from which a result is suspect. This and the scales were chosen on half of the texts of the test
/// `agent::drift`, and measured on the other half.
const LIMIT: f64 = 5.0;
/// A score from which it is named as a reason.
const REASON: f64 = 1.0;
/// Highest score of the words, and of the new words.
const MAX_WORDS: f64 = 4.0;
/// Least spread of the distance to the nearest results, of new words, and of the logarithm of the length.
const SPREADS: [f64; 3] = [0.2, 0.15, 0.5];
/// Highest score of a result that is shorter than all others, and of one that is longer.
const MAX_SHORTER: f64 = 3.0;
const MAX_LONGER: f64 = 2.0;
/// Score of each phrase of failure that no earlier result has, and the highest of all.
const PHRASE: f64 = 3.0;
const MAX_PHRASES: f64 = 4.0;
/// Score of a text where values stood, and of a value where texts stood; of a value that lacks all that the others have.
const TEXT_FOR_VALUE: f64 = 4.0;
const VALUE_FOR_TEXT: f64 = 3.0;
/// Score of a run without tool calls where all others made some, of one with steps undone where the others did all, and of one
/// that took several times the tokens of any other.
const NO_CALLS: f64 = 3.0;
const UNDONE: f64 = 2.0;
const COSTLY: f64 = 1.0;
const COSTLY_TIMES: u64 = 3;
/// The part of the earlier results that must have something, so that its absence counts.
const USUAL: f64 = 0.9;
/// Depth of a JSON value that is looked at, its most elements of a list, and the most paths that are kept.
const MAX_DEPTH: usize = 3;
const MAX_ELEMENTS: usize = 20;
const MAX_PATHS: usize = 64;
/// Longest path that is kept, in bytes.
const MAX_PATH_BYTES: usize = 100;

/// The form of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResultForm {
    /// Length as text, in characters.
    #[serde(deserialize_with = "number::count")]
    pub chars: u64,
    /// Paths within a JSON object or list, such as `.items[].name`; empty for a text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
}

impl ResultForm {
    /// The form of `output`.
    #[must_use]
    pub fn of(output: &Value) -> Self {
        let length = output.as_str().map_or_else(|| Size::of(output).text, |text| text.chars().count());
        let mut paths = Vec::new();
        add_paths(output, String::new(), 0, &mut paths);
        Self { chars: u64::try_from(length).unwrap_or(u64::MAX), paths }
    }

    const fn is_value(&self) -> bool {
        !self.paths.is_empty()
    }
}

/// A run that succeeded, as far as it is compared.
#[derive(Clone, Copy, Debug)]
pub struct EndedRun<'a> {
    /// The beginning of its result, as text.
    pub text: &'a str,
    /// The form of its result.
    pub form: &'a ResultForm,
    /// Tool calls that it made.
    pub tool_calls: u32,
    /// Steps of its plans that were not done.
    pub undone_steps: usize,
    /// Tokens that it spent.
    pub tokens: u64,
}

/// What makes `run` unlike the `earlier` runs of its schedule, newest first: a sentence each, the weightiest first. Empty when
/// it is like them, or there are fewer than [`MIN_EARLIER`].
#[must_use]
pub fn unlike(run: &EndedRun<'_>, earlier: &[EndedRun<'_>]) -> Vec<String> {
    if earlier.len() < MIN_EARLIER {
        return Vec::new();
    }
    let earlier = &earlier[..earlier.len().min(MAX_EARLIER)];
    let mut scores = wording(run, earlier);
    scores.extend([length(run, earlier), form(run, earlier), failure(run, earlier)].into_iter().flatten());
    scores.extend(conduct(run, earlier));
    if scores.iter().map(|(score, _)| score).sum::<f64>() < LIMIT {
        return Vec::new();
    }
    scores.sort_by(|one, other| other.0.total_cmp(&one.0));
    scores.into_iter().filter(|(score, _)| *score >= REASON).map(|(_, reason)| reason).collect()
}

/// A score, with the reason in words.
type Score = (f64, String);

/// How far its words are from those of the nearest results, and how many of them are new.
fn wording(run: &EndedRun<'_>, earlier: &[EndedRun<'_>]) -> Vec<Score> {
    let own = Words::of(run.text);
    let others: Vec<Words> = earlier.iter().map(|run| Words::of(run.text)).collect();
    let without = |index: usize| {
        let rest = others.iter().enumerate().filter(move |(other, _)| *other != index);
        rest.map(|(_, words)| words).collect::<Vec<_>>()
    };
    let all: Vec<&Words> = others.iter().collect();
    let distances: Vec<f64> =
        others.iter().enumerate().map(|(index, words)| words.distance_to_nearest(&without(index))).collect();
    let new: Vec<f64> = others.iter().enumerate().map(|(index, words)| words.new_beside(&without(index))).collect();
    let far = above(own.distance_to_nearest(&all), &distances, SPREADS[0]).min(MAX_WORDS);
    let unknown = above(own.new_beside(&all), &new, SPREADS[1]).min(MAX_WORDS);
    vec![
        (far, "it has few words in common with any of them".to_owned()),
        (unknown, "many of its words stand in none of them".to_owned()),
    ]
}

fn length(run: &EndedRun<'_>, earlier: &[EndedRun<'_>]) -> Option<Score> {
    // A few characters more or less are nothing beside a short result.
    #[expect(clippy::cast_precision_loss, reason = "the length of a text")]
    let log = |chars: u64| (chars as f64 + 8.0).ln();
    let logs: Vec<f64> = earlier.iter().map(|run| log(run.form.chars)).collect();
    let (least, most) =
        (earlier.iter().map(|run| run.form.chars).min()?, earlier.iter().map(|run| run.form.chars).max()?);
    let chars = run.form.chars;
    let reason = format!("it has {chars} characters, they have {least} to {most}");
    let (middle, spread) = middle_and_spread(&logs);
    let off = (log(chars) - middle) / spread.max(SPREADS[2]);
    if chars < least {
        Some(((-off - 1.0).clamp(0.0, MAX_SHORTER), reason))
    } else if chars > most {
        Some(((off - 1.0).clamp(0.0, MAX_LONGER), reason))
    } else {
        None
    }
}

fn form(run: &EndedRun<'_>, earlier: &[EndedRun<'_>]) -> Option<Score> {
    let values = part(earlier, |run| run.form.is_value());
    if values >= USUAL && !run.form.is_value() {
        return Some((TEXT_FOR_VALUE, "it is a text, they are JSON values".to_owned()));
    }
    if values <= 1.0 - USUAL && run.form.is_value() {
        return Some((VALUE_FOR_TEXT, "it is a JSON value, they are texts".to_owned()));
    }
    let mut usual: Vec<&String> = earlier.iter().flat_map(|run| &run.form.paths).collect();
    usual.sort();
    usual.dedup();
    usual.retain(|path| part(earlier, |run| run.form.paths.contains(path)) >= USUAL);
    let gone: Vec<&str> =
        usual.iter().filter(|path| !run.form.paths.contains(path)).map(|path| path.as_str()).collect();
    if gone.is_empty() {
        return None;
    }
    let score = VALUE_FOR_TEXT * ratio(gone.len(), usual.len());
    Some((score, format!("it lacks what they have: {}", gone[..gone.len().min(5)].join(", "))))
}

fn failure(run: &EndedRun<'_>, earlier: &[EndedRun<'_>]) -> Option<Score> {
    let known: Vec<&str> = earlier.iter().flat_map(|run| phrases(run.text)).collect();
    let new: Vec<&str> = phrases(run.text).into_iter().filter(|phrase| !known.contains(phrase)).collect();
    if new.is_empty() {
        return None;
    }
    let score = (PHRASE * ratio(new.len(), 1)).min(MAX_PHRASES);
    let said: Vec<String> = new.iter().map(|phrase| format!("{:?}", phrase.trim())).collect();
    Some((score, format!("it reads like a failure: it has {}, which none of them has", said.join(", "))))
}

fn conduct(run: &EndedRun<'_>, earlier: &[EndedRun<'_>]) -> Vec<Score> {
    let mut scores = Vec::new();
    if run.tool_calls == 0 && earlier.iter().all(|run| run.tool_calls > 0) {
        scores.push((NO_CALLS, "its run called no tool, those of the others did".to_owned()));
    }
    if run.undone_steps > 0 && earlier.iter().all(|run| run.undone_steps == 0) {
        scores.push((UNDONE, format!("{} of its run were not done, all of the others were", steps(run.undone_steps))));
    }
    let most = earlier.iter().map(|run| run.tokens).max().unwrap_or_default();
    if most > 0 && run.tokens > most.saturating_mul(COSTLY_TIMES) {
        scores.push((COSTLY, format!("its run took {} tokens, the others at most {most}", run.tokens)));
    }
    scores
}

fn steps(count: usize) -> String {
    if count == 1 { "1 step".to_owned() } else { format!("{count} steps") }
}

/// By how many spreads `value` lies above the middle of `values`; `least` is the least spread.
fn above(value: f64, values: &[f64], least: f64) -> f64 {
    let (middle, spread) = middle_and_spread(values);
    ((value - middle) / spread.max(least)).max(0.0)
}

/// The median of `values`, and their median distance from it on the scale of a standard deviation: neither is moved by a few
/// odd ones.
fn middle_and_spread(values: &[f64]) -> (f64, f64) {
    let middle = median(values);
    let distances: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
    (middle, 1.4826 * median(&distances))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

/// The part of `runs` of which `has` is true.
fn part(runs: &[EndedRun<'_>], has: impl Fn(&EndedRun<'_>) -> bool) -> f64 {
    ratio(runs.iter().filter(|run| has(run)).count(), runs.len())
}

#[expect(clippy::cast_precision_loss, reason = "a few dozen of something")]
fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Adds the paths of objects and lists within `value`, and of what stands in them.
fn add_paths(value: &Value, path: String, depth: usize, paths: &mut Vec<String>) {
    if paths.len() >= MAX_PATHS || path.len() > MAX_PATH_BYTES {
        return;
    }
    let mut add = |path: String| {
        if !paths.contains(&path) {
            paths.push(path);
        }
    };
    match value {
        Value::Object(fields) if depth < MAX_DEPTH => {
            add(format!("{path}{{}}"));
            for (name, value) in fields.iter().take(MAX_PATHS) {
                add_paths(value, format!("{path}.{name}"), depth + 1, paths);
            }
        }
        Value::Array(elements) if depth < MAX_DEPTH => {
            add(format!("{path}[]"));
            for value in elements.iter().take(MAX_ELEMENTS) {
                add_paths(value, format!("{path}[]"), depth + 1, paths);
            }
        }
        _ if !path.is_empty() => add(path),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_form_of_a_value_is_its_paths() {
        let form = ResultForm::of(&json!({"items": [{"name": "a", "tags": {"x": 1}}, {"price": 2}], "note": null}));
        let expected = ["{}", ".items[]", ".items[]{}", ".items[].name", ".items[].tags", ".items[].price", ".note"];
        let mut paths = form.paths.clone();
        paths.sort();
        let mut expected = expected.map(str::to_owned).to_vec();
        expected.sort();
        assert_eq!(paths, expected);
        assert_eq!(ResultForm::of(&json!("Füße")), ResultForm { chars: 4, paths: Vec::new() });
        let wide: Value =
            (0..1_000).map(|number| (format!("k{number}"), json!(1))).collect::<serde_json::Map<_, _>>().into();
        assert_eq!(ResultForm::of(&wide).paths.len(), MAX_PATHS);
    }

    #[test]
    fn each_kind_of_unlikeness_has_its_reason() {
        let text =
            |number: u32| format!("Day {number}: all five services are green, the slowest answered in {number} ms.");
        let texts: Vec<String> = (100..110).map(text).collect();
        let forms: Vec<ResultForm> = texts.iter().map(|text| ResultForm::of(&json!(text))).collect();
        let runs: Vec<EndedRun<'_>> = texts.iter().zip(&forms).map(|(text, form)| usual(text, form)).collect();
        let like = "Day 112: all five services are green, the slowest answered in 98 ms.";
        let form = ResultForm::of(&json!(like));
        assert_eq!(unlike(&usual(like, &form), &runs), Vec::<String>::new());
        assert_eq!(unlike(&usual("Sorry, access denied", &ResultForm::default()), &runs[..6]), Vec::<String>::new());

        let denied = "Sorry, access denied.";
        let form = ResultForm::of(&json!(denied));
        let reasons = unlike(&usual(denied, &form), &runs).join("\n");
        for part in ["reads like a failure", "\"access denied\", \"sorry\"", "words stand in none"] {
            assert!(reasons.contains(part), "{part}: {reasons}");
        }
        let form = ResultForm::of(&json!({}));
        let lazy = EndedRun { tool_calls: 0, undone_steps: 1, tokens: 9_000, ..usual("{}", &form) };
        let reasons = unlike(&lazy, &runs).join("\n");
        for part in [
            "has 2 characters",
            "JSON value, they are texts",
            "called no tool",
            "1 step of its run",
            "took 9000 tokens",
        ] {
            assert!(reasons.contains(part), "{part}: {reasons}");
        }
    }

    fn usual<'a>(text: &'a str, form: &'a ResultForm) -> EndedRun<'a> {
        EndedRun { text, form, tool_calls: 2, undone_steps: 0, tokens: 1_000 }
    }
}
