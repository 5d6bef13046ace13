//! Cron expressions: what they match on a clock on the wall, and where a wrong one is wrong.
//!
//! Knows no time zones: it searches through wall-clock times, of which every day has all. What becomes of a time that
//! a zone leaves out or has twice is decided in [`timing`](super::timing).

use croner::parser::CronParser;
use croner::{Cron, errors::CronError};
use grammar::{FIELDS, Field, Part};
use search::WallClockSearch;

mod grammar;
mod search;

/// Longest expression, in characters.
const MAX_CHARS: usize = 200;
/// Names for whole expressions.
const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * SUN"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// Text that is no cron expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCron {
    /// It has too few or too many fields.
    #[error(
        "cron expression {text:?} has {count} fields: use 5 (minute, hour, day of month, month, day of week), 6 with a \
         second before them, 7 with a year after them, or a name such as @daily"
    )]
    Fields {
        /// The expression.
        text: String,
        /// How many it has.
        count: usize,
    },
    /// It is one word that looks like a name and is none.
    #[error("{0:?} is not the name of a cron expression: use @yearly, @monthly, @weekly, @daily or @hourly")]
    Name(String),
    /// A part of a field cannot be read.
    #[error(
        "cron expression {text:?}: {field} {part:?} at character {at}: {reason}; use {allowed}, *, and of these lists \
         (1,2), ranges (1-5) and steps (*/5)"
    )]
    Part {
        /// The expression.
        text: String,
        /// The field.
        field: &'static str,
        /// The part of the field.
        part: String,
        /// Where the part begins, counted from 1.
        at: usize,
        /// What is wrong with it.
        reason: String,
        /// What may stand there.
        allowed: &'static str,
    },
    /// It is far longer than any that makes sense.
    #[error("the cron expression has {0} characters: use at most {MAX_CHARS}")]
    TooLong(usize),
}

/// A cron expression that can be read.
#[derive(Clone, Debug)]
pub struct CronExpression {
    cron: Cron,
    search: WallClockSearch,
}

impl CronExpression {
    /// Reads an expression of five fields, six with seconds first, seven with a year last, or a name such as `@daily`.
    ///
    /// # Errors
    /// [`InvalidCron`], which says where it is wrong.
    pub fn parse(text: &str) -> Result<Self, InvalidCron> {
        if text.chars().count() > MAX_CHARS {
            return Err(InvalidCron::TooLong(text.chars().count()));
        }
        let expression = if text.trim_start().starts_with('@') {
            let name = text.trim().to_ascii_lowercase();
            let known = NICKNAMES.iter().find(|(nickname, _)| *nickname == name);
            known.map(|(_, expression)| *expression).ok_or_else(|| InvalidCron::Name(text.trim().to_owned()))?
        } else {
            text
        };
        let fields = fields(expression);
        let first = match fields.len() {
            5 => 1,
            6 | 7 => 0,
            count => return Err(InvalidCron::Fields { text: text.to_owned(), count }),
        };
        let parts: Vec<Part> = fields
            .iter()
            .enumerate()
            .flat_map(|(index, (at, field))| grammar::parts(first + index, *at, field))
            .collect();
        let wrong = |part: &Part, reason: String| {
            let Field { name, allowed, .. } = FIELDS[part.field];
            let (text, part, at) = (text.to_owned(), part.text.to_owned(), part.at);
            InvalidCron::Part { text, field: name, part, at, reason, allowed }
        };
        if let Some((part, reason)) = parts.iter().find_map(|part| Some((part, grammar::fault(part)?))) {
            return Err(wrong(part, reason));
        }
        if let Some(part) = grammar::clash(&parts) {
            return Err(wrong(part, "L and LW do not go together".to_owned()));
        }
        let cron = CronParser::new().parse(expression).map_err(|error| {
            // Part by part, so that the error names the one that is wrong.
            let found = parts.iter().find_map(|part| Some((part, fault_alone(part)?)));
            found.map_or_else(
                || InvalidCron::Part {
                    text: text.to_owned(),
                    field: "the whole",
                    part: expression.to_owned(),
                    at: 1,
                    reason: reason(&error),
                    allowed: "5 to 7 fields",
                },
                |(part, reason)| wrong(part, reason),
            )
        })?;
        let search = WallClockSearch::new(&cron);
        Ok(Self { cron, search })
    }

    /// Whether it fires in each of the 24 hours, and so means "this often" more than "at this time of day".
    #[must_use]
    pub fn is_hourly(&self) -> bool {
        self.search.is_hourly()
    }

    /// The first wall-clock time from `wall` on that it matches, in seconds since 1970-01-01 00:00:00 on the same
    /// clock; `None` when there is none up to the year 5000.
    pub(super) fn next_wall(&self, wall: i64) -> Option<i64> {
        self.search.next(&self.cron, wall)
    }
}

/// The fields with the place where each begins, counted in characters from 1.
fn fields(text: &str) -> Vec<(usize, &str)> {
    let mut fields = Vec::new();
    let mut begin = None;
    for (place, (byte, letter)) in text.char_indices().enumerate() {
        match (letter.is_whitespace(), begin) {
            (false, None) => begin = Some((place + 1, byte)),
            (true, Some((at, from))) => {
                fields.push((at, &text[from..byte]));
                begin = None;
            }
            _ => {}
        }
    }
    if let Some((at, from)) = begin {
        fields.push((at, &text[from..]));
    }
    fields
}

/// What is wrong with a part when every other field is left open.
fn fault_alone(part: &Part) -> Option<String> {
    let mut alone = ["*"; 7];
    alone[part.field] = part.text;
    CronParser::new().parse(&alone.join(" ")).err().map(|error| reason(&error))
}

/// What the parser says, as a part of a sentence.
fn reason(error: &CronError) -> String {
    let said = match error {
        CronError::InvalidPattern(said) | CronError::IllegalCharacters(said) | CronError::ComponentError(said) => said,
        other => return other.to_string(),
    };
    let said = said.replace("CronPattern contains", "it contains");
    let said = said.trim_end_matches('.');
    let mut letters = said.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().collect::<String>() + letters.as_str())
}

#[cfg(test)]
mod tests;
