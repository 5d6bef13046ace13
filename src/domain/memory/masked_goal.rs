//! The form of a goal that goals with other numbers, dates and ids share.

use crate::domain::approval::hash;
use crate::domain::calendar_words::names_day_or_month;

/// Most bytes of a goal that are read.
const MAX_BYTES: usize = 20_000;
/// Stands for what was masked.
const MASK: char = '#';
/// Marks between the parts of a date, a time or an address, which become part of the mask.
const JOINTS: [char; 5] = ['-', ':', '.', '/', '+'];

/// `goal` in lower case, with a mask for every number, date, time, id and query of an address, and single blanks.
#[must_use]
pub fn masked_goal(goal: &str) -> String {
    let goal = goal[..goal.floor_char_boundary(MAX_BYTES)].to_lowercase();
    goal.split_whitespace().map(masked_word).collect::<Vec<_>>().join(" ")
}

/// Hash of [`masked_goal`], hexadecimal.
#[must_use]
pub fn goal_hash(goal: &str) -> String {
    hash(&["goal", &masked_goal(goal)])
}

/// A word of a goal, without blanks, masked.
fn masked_word(word: &str) -> String {
    // The query of an address varies from run to run.
    let word = match word.split_once('?') {
        Some((address, query)) if address.contains("://") && !query.is_empty() => address,
        _ => word,
    };
    let mut masked = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        if !first.is_alphanumeric() {
            masked.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let end = rest.find(|letter: char| !letter.is_alphanumeric()).unwrap_or(rest.len());
        let run = &rest[..end];
        if run.contains(|letter: char| letter.is_numeric()) || names_day_or_month(run) {
            join_mask(&mut masked);
        } else {
            masked.push_str(run);
        }
        rest = &rest[end..];
    }
    masked
}

/// Appends a mask; one that follows another with nothing but a joint between them melts into it.
fn join_mask(masked: &mut String) {
    let before = masked.trim_end_matches(JOINTS);
    if before.ends_with(MASK) {
        let end = before.len();
        masked.truncate(end);
    } else {
        masked.push(MASK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_that_differ_in_numbers_dates_and_ids_have_one_form() {
        for (one, other) in [
            ("Report of 2026-11-27, day 9", "Report  of 2027-01-02, day 10"),
            ("What came in on Friday 27 November?", "what came in on Monday 2 March?"),
            ("Read https://x.example/items/17?since=a", "Read https://x.example/items/183?since=b"),
            ("Look at 7d0f3a88-8876 at 09:05", "Look at 550e8400-e29b at 10:15"),
        ] {
            assert_eq!(masked_goal(one), masked_goal(other));
            assert_eq!(goal_hash(one), goal_hash(other));
        }
        assert_eq!(masked_goal("Report of 2026-11-27T09:00:00+01:00 for A."), "report of # for a.");
    }

    #[test]
    fn goals_that_differ_in_words_keep_their_forms_apart() {
        assert_ne!(goal_hash("Report of Berlin"), goal_hash("Report of Paris"));
        assert_ne!(goal_hash("Read https://x.example/a"), goal_hash("Read https://y.example/a"));
        assert_ne!(goal_hash("who is it?"), goal_hash("who is it"));
    }
}
