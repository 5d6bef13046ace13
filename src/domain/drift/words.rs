//! The words of a result, as far as they tell results apart.

use std::collections::HashMap;

/// Bytes of a text that are read.
const MAX_BYTES: usize = 1_000;
/// Stands for every word with a digit: numbers differ from day to day.
const NUMBER: &str = "#";
/// Nearest results whose likeness counts.
const NEAREST: usize = 3;
/// Phrases of runs that did nothing useful and say so, in lower case: refusals, pages that are no answer, questions back, plans
/// instead of results, forms that were not filled in.
const PHRASES: [&str; 62] = [
    "access denied",
    "access is denied",
    "permission denied",
    "unauthorized",
    "unauthorised",
    "forbidden",
    "not found",
    "unable to",
    "cannot",
    "can't",
    "could not",
    "couldn't",
    "sorry",
    "apologies",
    "apologize",
    "apologise",
    "as an ai",
    "exception",
    "traceback",
    "most recent call last",
    "rate limit",
    "too many requests",
    "quota",
    "log in",
    "login",
    "sign in",
    "password",
    "captcha",
    "verify you are",
    "try again",
    "temporarily unavailable",
    "service unavailable",
    "bad gateway",
    "<!doctype",
    "<html",
    "please provide",
    "please enable",
    "please confirm",
    "would you like",
    "do you want",
    "should i ",
    "let me ",
    "i'll ",
    "i will ",
    "i would ",
    "[insert",
    "[number",
    "[your",
    "[date",
    "lorem ipsum",
    "\"error\"",
    "error:",
    "undefined",
    "nicht möglich",
    "leider",
    "kann nicht",
    "konnte nicht",
    "zugriff verweigert",
    "désolé",
    "impossible de",
    "lo siento",
    "no se pudo",
];

/// The phrases of failure in `text`, each once.
pub(super) fn phrases(text: &str) -> Vec<&'static str> {
    let text = beginning(text).to_lowercase().replace('’', "'");
    PHRASES.into_iter().filter(|phrase| text.contains(phrase)).collect()
}

/// How often each word stands in a text.
pub(super) struct Words {
    counts: HashMap<String, f64>,
    total: f64,
}

impl Words {
    pub(super) fn of(text: &str) -> Self {
        let text = beginning(text).to_lowercase();
        let words =
            text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').filter(|word| !word.is_empty());
        let (mut counts, mut total) = (HashMap::new(), 0.0);
        for word in words {
            let word = if word.contains(char::is_numeric) { NUMBER } else { word };
            *counts.entry(word.to_owned()).or_insert(0.0) += 1.0;
            total += 1.0;
        }
        Self { counts, total }
    }

    /// 1 minus the likeness to the nearest of `others`: 0 for the same words, 1 for none in common.
    pub(super) fn distance_to_nearest(&self, others: &[&Self]) -> f64 {
        let mut alike: Vec<f64> = others.iter().map(|other| self.likeness(other)).collect();
        alike.sort_by(|one, other| other.total_cmp(one));
        alike.truncate(NEAREST);
        let count = alike.iter().map(|_| 1.0).sum::<f64>().max(1.0);
        1.0 - alike.iter().sum::<f64>() / count
    }

    /// The part of its words that stand in none of `others`; 1 for no words at all.
    pub(super) fn new_beside(&self, others: &[&Self]) -> f64 {
        let is_new = |word: &String| !others.iter().any(|other| other.counts.contains_key(word));
        let new: f64 = self.counts.iter().filter(|(word, _)| is_new(word)).map(|(_, count)| count).sum();
        if self.total > 0.0 { new / self.total } else { 1.0 }
    }

    /// The Bhattacharyya coefficient of the two distributions of words: 1 for the same, 0 for nothing in common.
    fn likeness(&self, other: &Self) -> f64 {
        let shared = self.counts.iter().filter_map(|(word, count)| Some((count * other.counts.get(word)?).sqrt()));
        let whole = (self.total * other.total).sqrt();
        match (whole > 0.0, self.counts.is_empty() && other.counts.is_empty()) {
            (true, _) => shared.sum::<f64>() / whole,
            (false, true) => 1.0,
            (false, false) => 0.0,
        }
    }
}

fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_BYTES)]
}
