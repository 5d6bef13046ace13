//! How well texts fit a question, by the words that they share (BM25).

use std::collections::{HashMap, HashSet};

/// Saturation of repeated words, and weight of the length of a text: the usual constants of BM25.
const K1: f64 = 1.2;
const B: f64 = 0.75;
/// Words that say nothing about what is asked for.
const COMMON: [&str; 40] = [
    "a", "an", "and", "are", "as", "at", "be", "by", "can", "for", "from", "give", "has", "how", "i", "if", "in",
    "into", "is", "it", "its", "me", "my", "not", "of", "on", "one", "or", "that", "the", "this", "to", "use", "what",
    "when", "which", "with", "you", "your", "all",
];

/// The score of each of `texts` for `question`, in their order; 0 for one that shares no word with it.
#[must_use]
pub fn scores<'a>(question: &str, texts: impl IntoIterator<Item = &'a str>) -> Vec<f64> {
    let wanted: HashSet<String> = words(question).collect();
    let counted: Vec<(HashMap<String, u32>, usize)> = texts.into_iter().map(|text| count(&wanted, text)).collect();
    let count = as_float(counted.len());
    let mean = as_float(counted.iter().map(|(_, length)| length).sum()) / count.max(1.0);
    let rarity: HashMap<&str, f64> = wanted
        .iter()
        .map(|word| {
            let known = as_float(counted.iter().filter(|(times, _)| times.contains_key(word)).count());
            (word.as_str(), (1.0 + (count - known + 0.5) / (known + 0.5)).ln())
        })
        .collect();
    let score = |(times, length): &(HashMap<String, u32>, usize)| {
        let length = 1.0 - B + B * as_float(*length) / mean.max(1.0);
        let of_word = |(word, times): (&String, &u32)| {
            let times = f64::from(*times);
            rarity[word.as_str()] * times * (K1 + 1.0) / (times + K1 * length)
        };
        times.iter().map(of_word).sum()
    };
    counted.iter().map(score).collect()
}

/// How often each of the `wanted` words stands in `text`, and how many words it has.
fn count(wanted: &HashSet<String>, text: &str) -> (HashMap<String, u32>, usize) {
    let (mut times, mut length) = (HashMap::new(), 0);
    for word in words(text) {
        length += 1;
        if wanted.contains(&word) {
            *times.entry(word).or_default() += 1;
        }
    }
    (times, length)
}

/// The words of a text without endings, lower case, common ones left out.
pub fn words(text: &str) -> impl Iterator<Item = String> {
    let plain = text.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase);
    plain.filter(|word| word.len() > 1 && !COMMON.contains(&word.as_str())).map(|word| stem(&word))
}

/// `word` without the endings of plurals and tenses.
fn stem(word: &str) -> String {
    let endings = ["ations", "ation", "ings", "ing", "ies", "ed", "es", "e", "s", "y"];
    let cut = endings.iter().find_map(|ending| word.strip_suffix(ending).filter(|rest| rest.len() >= 3));
    cut.unwrap_or(word).to_owned()
}

#[expect(clippy::cast_precision_loss, reason = "counts of words are small")]
const fn as_float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_compared_without_their_endings() {
        let stems: Vec<String> = words("Computing computes computed computations").collect();
        assert_eq!(stems, vec!["comput"; 4]);
    }

    #[test]
    fn the_text_with_the_rarest_words_of_the_question_is_first_and_others_score_nothing() {
        let texts = ["The gate opens at nine", "The code of the gate is 12", "Nothing to see", ""];
        let scores = scores("What is the code of the gate?", texts);
        assert!(scores[1] > scores[0] && scores[0] > 0.0, "{scores:?}");
        assert_eq!(scores[2..], [0.0, 0.0]);
        assert!(super::scores("code", []).is_empty());
    }
}
