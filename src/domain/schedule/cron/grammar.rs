//! What a part of a field may look like.
//!
//! The parser takes names apart from what stands around them, so that `SUN1` would be the first weekday and `JAN1` the
//! eleventh month, and it drops what it does not understand. So each part is held against one small grammar first:
//! `*`, `?`, a value or a range, each with a step if need be; and `L`, `LW`, `15W`, `FRI#2`, `FRI#L`, `FRIL` in their
//! fields.

/// A field of an expression, in the order of the seven that there can be.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) allowed: &'static str,
    low: u32,
    high: u32,
    /// Names of its values, from the lowest on.
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

pub(super) const FIELDS: [Field; 7] = [
    Field { name: "second", allowed: "0-59", low: 0, high: 59, names: &[] },
    Field { name: "minute", allowed: "0-59", low: 0, high: 59, names: &[] },
    Field { name: "hour", allowed: "0-23", low: 0, high: 23, names: &[] },
    Field {
        name: "day of month",
        allowed: "1-31, L (the last), 15W (the weekday nearest to the 15th)",
        low: 1,
        high: 31,
        names: &[],
    },
    Field { name: "month", allowed: "1-12 or JAN-DEC", low: 1, high: 12, names: &MONTHS },
    Field {
        name: "day of week",
        allowed: "0-7 or SUN-SAT, FRI#2 (the second Friday), FRI#L (the last)",
        low: 0,
        high: 6,
        names: &DAYS,
    },
    Field { name: "year", allowed: "1-5000", low: 1, high: 5000, names: &[] },
];
const DAY_OF_MONTH: usize = 3;
const DAY_OF_WEEK: usize = 5;
const YEAR: usize = 6;

/// A part of the list that a field is.
pub(super) struct Part<'a> {
    /// Place of its field in [`FIELDS`].
    pub(super) field: usize,
    /// Where it begins, counted in characters from 1.
    pub(super) at: usize,
    pub(super) text: &'a str,
}

/// The parts of the text of a field that begins at the character `at`.
pub(super) fn parts(field: usize, at: usize, text: &str) -> Vec<Part<'_>> {
    // "+" before the weekdays wants them and the days of the month at once.
    let (mut at, text) = match text.strip_prefix('+') {
        Some(rest) if field == DAY_OF_WEEK => (at + 1, rest),
        _ => (at, text),
    };
    let mut parts = Vec::new();
    for text in text.split(',') {
        parts.push(Part { field, at, text });
        at += text.chars().count() + 1;
    }
    parts
}

/// The part that contradicts another of its field.
pub(super) fn clash<'a>(parts: &'a [Part<'a>]) -> Option<&'a Part<'a>> {
    let last = |word: &str| {
        parts.iter().filter(|part| part.field == DAY_OF_MONTH).rfind(|part| part.text.eq_ignore_ascii_case(word))
    };
    let (day, weekday) = (last("L")?, last("LW")?);
    Some(if day.at > weekday.at { day } else { weekday })
}

/// What is wrong with the form of a part. Values out of range are left to the parser.
pub(super) fn fault(part: &Part) -> Option<String> {
    let field = &FIELDS[part.field];
    let text = part.text.to_uppercase();
    if text.is_empty() {
        return Some("a part of a list is empty".to_owned());
    }
    if let Some((base, step)) = text.split_once('/') {
        return fault_of_step(part.field, base, step);
    }
    match part.field {
        DAY_OF_MONTH if is_special_day(&text) => None,
        DAY_OF_WEEK if text == "L" => Some("L alone is no weekday: FRI#L is the last Friday of a month".to_owned()),
        DAY_OF_WEEK if is_special_weekday(field, &text) => None,
        _ => fault_of_range(part.field, &text),
    }
}

fn fault_of_step(index: usize, base: &str, step: &str) -> Option<String> {
    let field = &FIELDS[index];
    let size = field.high - field.low + 1;
    let Some(steps) = number(step) else { return Some(format!("{step:?} is not a step: use a whole number")) };
    if base.is_empty() {
        return Some(format!("nothing stands before the step: use */{step}"));
    }
    if steps > size {
        return Some(format!("a step of {steps} is longer than the field: use at most {size}, or an interval"));
    }
    fault_of_range(index, base)
}

fn fault_of_range(index: usize, text: &str) -> Option<String> {
    let field = &FIELDS[index];
    if text == "*" || text == "?" {
        return None;
    }
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (Some(first), Some(last)) = (value(field, from), value(field, to)) else {
        let unknown = if value(field, from).is_none() { from } else { to };
        return Some(format!("{unknown:?} is no value of this field"));
    };
    if first <= last {
        return None;
    }
    let named = !field.names.is_empty() && number(from).is_none();
    match way_out(field, first, last, named) {
        Some(instead) if index != YEAR => Some(format!("the range goes backwards: write {instead}")),
        _ => Some("the range goes backwards".to_owned()),
    }
}

/// The two ranges that a range over the end of its field means.
fn way_out(field: &Field, first: u32, last: u32, named: bool) -> Option<String> {
    let show = |value: u32| {
        let place = usize::try_from(value - field.low).unwrap_or(usize::MAX);
        let name = field.names.get(place).filter(|_| named);
        name.map_or_else(|| value.to_string(), |name| (*name).to_owned())
    };
    let range = |from: u32, to: u32| match from.cmp(&to) {
        std::cmp::Ordering::Less => Some(format!("{}-{}", show(from), show(to))),
        std::cmp::Ordering::Equal => Some(show(from)),
        std::cmp::Ordering::Greater => None,
    };
    // Sunday is 7 as well as 0, and so may come before what a range begins with.
    let upper = if first > field.high { None } else { range(first, field.high) };
    let lower = (last >= field.low).then(|| range(field.low, last)).flatten()?;
    Some(upper.map_or(lower.clone(), |upper| format!("{upper},{lower}")))
}

fn is_special_day(text: &str) -> bool {
    ["L", "LW"].contains(&text) || text.strip_suffix('W').is_some_and(|day| number(day).is_some())
}

fn is_special_weekday(field: &Field, text: &str) -> bool {
    let day = match text.split_once('#') {
        Some((day, nth)) if nth == "L" || number(nth).is_some() => Some(day),
        Some(_) => None,
        None => text.strip_suffix('L'),
    };
    day.is_some_and(|day| value(field, day).is_some())
}

fn value(field: &Field, text: &str) -> Option<u32> {
    let named = || field.names.iter().zip(field.low..).find(|(name, _)| **name == text).map(|(_, value)| value);
    number(text).or_else(named)
}

fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}
