//! How alike two goals are by their words.

use std::collections::BTreeSet;

use super::masked_goal::masked_goal;

/// Least part of the words of a goal that a memory must share with it.
pub const MIN_WORDS: f64 = 0.5;
/// Least likeness by meaning, as the cosine of two embeddings.
pub const MIN_MEANING: f32 = 0.6;
/// Words of a goal that say nothing about it.
const COMMON: [&str; 36] = [
    "the", "and", "for", "with", "from", "that", "this", "what", "which", "who", "how", "are", "was", "were", "its",
    "into", "then", "them", "they", "all", "each", "every", "any", "not", "but", "has", "have", "can", "please",
    "tell", "give", "make", "write", "your", "about", "there",
];

/// The part of the words of `goal` that `other` has, too: 0 to 1. Numbers, dates and common words do not count; one shared word
/// is a likeness only when it is the only one.
#[must_use]
pub fn shared_words(goal: &str, other: &str) -> f64 {
    let (goal, other) = (words(goal), words(other));
    let shared = goal.intersection(&other).count();
    if goal.is_empty() || (shared < 2 && goal.len() > 1) {
        return 0.0;
    }
    f64::from(u32::try_from(shared).unwrap_or(u32::MAX)) / f64::from(u32::try_from(goal.len()).unwrap_or(u32::MAX))
}

fn words(goal: &str) -> BTreeSet<String> {
    let masked = masked_goal(goal);
    let words = masked.split(|letter: char| !letter.is_alphanumeric());
    let telling = words.filter(|word| word.chars().count() > 2 && !COMMON.contains(word));
    telling.map(|word| word.strip_suffix('s').filter(|stem| stem.len() > 2).unwrap_or(word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_alike_only_when_half_of_its_words_are_shared() {
        let board = "Please fetch in parallel pages of the status board and report, day 2026-11-11";
        for (goal, is_alike) in [
            ("fetch the status board and report the pages", true),
            ("Book a table for five on day 12", false),
            ("Compute the tax of 300 euros and report it", false),
            ("What is the capital of Peru?", false),
            ("report", true),
            ("12 34", false),
        ] {
            assert_eq!(shared_words(goal, board) >= MIN_WORDS, is_alike, "{goal}");
        }
    }
}
