//! Patterns of LIKE and GLOB, matched so that the time limit of the query holds within one comparison.

use super::query_clock::{QueryClock, TimeLimitReached};

/// One part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Any characters, or none.
    Many,
    /// Any one character.
    One,
    /// This character.
    Exactly(char),
    /// One character of these ranges, or none of them when `negated`.
    Of { ranges: Vec<(char, char)>, negated: bool },
    /// No character: the pattern is broken here, so it matches nothing.
    Nothing,
}

/// A pattern that has been read.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    parts: Vec<Part>,
    /// Whether upper and lower case of ASCII letters are the same.
    folds: bool,
}

impl Pattern {
    /// A pattern of LIKE: `%` is any text, `_` one character; `escape` before a character takes it literally.
    pub(super) fn like(text: &str, escape: Option<char>) -> Self {
        let mut letters = text.chars();
        let mut parts = Vec::new();
        while let Some(letter) = letters.next() {
            parts.push(match letter {
                letter if Some(letter) == escape => letters.next().map_or(Part::Nothing, Part::Exactly),
                '%' => Part::Many,
                '_' => Part::One,
                letter => Part::Exactly(letter),
            });
        }
        Self { parts, folds: true }
    }

    /// A pattern of GLOB: `*` is any text, `?` one character, `[a-z]` and `[^a-z]` one of a set.
    pub(super) fn glob(text: &str) -> Self {
        let letters: Vec<char> = text.chars().collect();
        let (mut parts, mut at) = (Vec::new(), 0);
        while let Some(letter) = letters.get(at) {
            at += 1;
            parts.push(match letter {
                '*' => Part::Many,
                '?' => Part::One,
                '[' => {
                    let (part, after) = set(&letters, at);
                    at = after;
                    part
                }
                letter => Part::Exactly(*letter),
            });
        }
        Self { parts, folds: false }
    }

    /// Whether the whole of `text` matches. Goes back to the last `%` only, which decides all patterns of this kind: time
    /// grows with the length of the text times the length of the pattern at worst, and `clock` ends it.
    pub(super) fn matches(&self, text: &str, clock: &QueryClock) -> Result<bool, TimeLimitReached> {
        let mut rest = text.chars();
        let mut at = 0;
        // Where to go on when what follows the last `%` does not match: the part after it, and the text it has not eaten.
        let mut back: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            clock.step()?;
            match self.parts.get(at) {
                Some(Part::Many) => {
                    at += 1;
                    back = Some((at, rest.clone()));
                    continue;
                }
                None if rest.as_str().is_empty() => return Ok(true),
                Some(part) => {
                    let mut next = rest.clone();
                    match next.next() {
                        Some(letter) if self.is_met(part, letter, clock)? => {
                            rest = next;
                            at += 1;
                            continue;
                        }
                        Some(_) => {}
                        // Whatever the last `%` eats, there is less text than parts.
                        None => return Ok(false),
                    }
                }
                None => {}
            }
            let Some((part, from)) = &mut back else { return Ok(false) };
            if from.next().is_none() {
                return Ok(false);
            }
            (at, rest) = (*part, from.clone());
        }
    }

    fn is_met(&self, part: &Part, letter: char, clock: &QueryClock) -> Result<bool, TimeLimitReached> {
        Ok(match part {
            Part::Many | Part::One => true,
            Part::Nothing => false,
            Part::Exactly(wanted) if self.folds => wanted.eq_ignore_ascii_case(&letter),
            Part::Exactly(wanted) => *wanted == letter,
            Part::Of { ranges, negated } => {
                clock.steps(ranges.len())?;
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&letter)) != *negated
            }
        })
    }
}

/// Reads a set of GLOB whose `[` stands before `at`; returns where the pattern continues.
fn set(letters: &[char], mut at: usize) -> (Part, usize) {
    let negated = letters.get(at) == Some(&'^');
    at += usize::from(negated);
    let mut ranges: Vec<(char, char)> = Vec::new();
    // The first character of a set is a member, even a bracket.
    if letters.get(at) == Some(&']') {
        ranges.push((']', ']'));
        at += 1;
    }
    let mut before = None;
    while let Some(letter) = letters.get(at) {
        at += 1;
        match (letter, letters.get(at), before) {
            (']', ..) => return (Part::Of { ranges, negated }, at),
            ('-', Some(last), Some(first)) if *last != ']' => {
                ranges.push((first, *last));
                before = None;
                at += 1;
            }
            _ => {
                ranges.push((*letter, *letter));
                before = Some(*letter);
            }
        }
    }
    (Part::Nothing, at)
}
