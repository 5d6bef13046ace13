//! The functions that a query over a table calls where it calculates or compares: they fail where SQLite would take a text
//! for a number.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use num_traits::ToPrimitive as _;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Error};

use super::super::super::inputs::excerpt;
use super::super::figures::{BETWEEN, CASTABLE, COMPARED, NUMBER, ONE_KIND};

/// Names of the functions.
pub(super) const NAMES: [&str; 5] = [BETWEEN, CASTABLE, COMPARED, NUMBER, ONE_KIND];
/// Longest text that an error shows, in bytes.
const MAX_SHOWN: usize = 60;

/// What one use of a value has seen.
#[derive(Default)]
struct Kinds {
    has_number: bool,
    text: Option<String>,
}

/// Registers the functions on `connection`, for one query.
pub(super) fn register(connection: &Connection) -> rusqlite::Result<()> {
    let stateful = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
    let flags = stateful | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function(NUMBER, 2, flags, number)?;
    connection.create_scalar_function(CASTABLE, 2, flags, castable)?;
    connection.create_scalar_function(COMPARED, 3, flags, compared)?;
    connection.create_scalar_function(BETWEEN, 3, flags, between)?;
    let seen: Mutex<HashMap<i64, Kinds>> = Mutex::default();
    connection.create_scalar_function(ONE_KIND, 3, stateful, move |call| {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        one_kind(call, seen.entry(call.get(0)?).or_default())
    })
}

fn number(call: &Context<'_>) -> rusqlite::Result<Value> {
    let Some(text) = text(call.get_raw(0)) else { return call.get(0) };
    read(&text).ok_or_else(|| no_number(&name(call, 1), &text))
}

/// A text that begins with a number, as `12 kg` does, may be cast; one with digits behind it would be cut within a number.
fn castable(call: &Context<'_>) -> rusqlite::Result<Value> {
    let value: Value = call.get(0)?;
    let Some(text) = text(call.get_raw(0)) else { return Ok(value) };
    let trimmed = text.trim();
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+');
    let begin = &trimmed[..trimmed.find(|c| !is_part(c)).unwrap_or(trimmed.len())];
    let has_more = trimmed[begin.len()..].contains(|c: char| c.is_ascii_digit());
    let is_number = read(trimmed).is_some() || (read(begin).is_some() && !has_more);
    if is_number { Ok(value) } else { Err(no_number(&name(call, 1), &text)) }
}

fn one_kind(call: &Context<'_>, seen: &mut Kinds) -> rusqlite::Result<Value> {
    let value: Value = call.get(1)?;
    match (&value, text(call.get_raw(1))) {
        (Value::Integer(_) | Value::Real(_), _) => seen.has_number = true,
        (_, Some(text)) if is_grouped(&text) => return Err(no_number(&name(call, 2), &text)),
        (_, Some(text)) if seen.text.is_none() => seen.text = Some(text),
        _ => {}
    }
    match &seen.text {
        Some(text) if seen.has_number => Err(no_number(&name(call, 2), text)),
        _ => Ok(value),
    }
}

fn compared(call: &Context<'_>) -> rusqlite::Result<Option<bool>> {
    let operator: String = call.get(0)?;
    let Some(order) = order(call.get_raw(1), call.get_raw(2))? else { return Ok(None) };
    Ok(Some(match operator.as_str() {
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }))
}

fn between(call: &Context<'_>) -> rusqlite::Result<Option<bool>> {
    let low = order(call.get_raw(0), call.get_raw(1))?.map(Ordering::is_ge);
    let high = order(call.get_raw(0), call.get_raw(2))?.map(Ordering::is_le);
    Ok(match (low, high) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    })
}

/// How `left` and `right` are ordered; `None` when one of them is NULL. A text that is a number counts as one beside a number.
fn order(left: ValueRef<'_>, right: ValueRef<'_>) -> rusqlite::Result<Option<Ordering>> {
    if left == ValueRef::Null || right == ValueRef::Null {
        return Ok(None);
    }
    let texts = (text(left), text(right));
    let numbers = (number_of(left, texts.0.as_deref()), number_of(right, texts.1.as_deref()));
    let failed = |text: &str| Err(no_number("", text));
    let ordered = match (&texts, &numbers) {
        // Digits in a column of texts are names.
        ((Some(one), Some(other)), (Some(_), Some(_)) | (None, None)) => one.cmp(other),
        (_, (Some(one), Some(other))) => compare(one, other),
        // The first digits of a day are a year.
        ((Some(one), Some(other)), _) if [one, other].into_iter().any(|text| is_day(text)) => one.cmp(other),
        ((_, Some(text)), (Some(_), None)) | ((Some(text), _), (None, Some(_))) => return failed(text),
        // Bytes are greater than everything else.
        _ => match (left, right) {
            (ValueRef::Blob(one), ValueRef::Blob(other)) => one.cmp(other),
            (ValueRef::Blob(_), _) => Ordering::Greater,
            _ => Ordering::Less,
        },
    };
    Ok(Some(ordered))
}

fn number_of(value: ValueRef<'_>, text: Option<&str>) -> Option<Value> {
    match value {
        ValueRef::Integer(whole) => Some(Value::Integer(whole)),
        ValueRef::Real(real) => Some(Value::Real(real)),
        _ => text.and_then(read),
    }
}

fn compare(one: &Value, other: &Value) -> Ordering {
    let real = |value: &Value| match value {
        Value::Integer(whole) => whole.to_f64().unwrap_or_default(),
        Value::Real(real) => *real,
        _ => 0.0,
    };
    match (one, other) {
        (Value::Integer(one), Value::Integer(other)) => one.cmp(other),
        _ => real(one).partial_cmp(&real(other)).unwrap_or(Ordering::Equal),
    }
}

/// The number that the whole of `text` is.
fn read(text: &str) -> Option<Value> {
    let text = text.trim();
    if !text.bytes().all(|byte| byte.is_ascii_digit() || b"-+.eE".contains(&byte)) {
        return None;
    }
    let whole = text.parse().ok().map(Value::Integer);
    whole.or_else(|| text.parse().ok().filter(|real: &f64| real.is_finite()).map(Value::Real))
}

/// Whether `text` is a number whose digits are grouped, or that has a decimal comma: 1,234 or 1.234,50 or 0,5.
fn is_grouped(text: &str) -> bool {
    let text = text.trim().trim_start_matches(['-', '+']);
    let mut groups = text.split([',', '.', '\'']);
    let first = groups.next().unwrap_or_default();
    let groups: Vec<&str> = groups.take(20).collect();
    let is_digits = |group: &&str| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit());
    let Some((last, inner)) = groups.split_last() else { return false };
    let is_shaped = inner.iter().all(|group| group.len() == 3) && (inner.is_empty() || first.len() <= 3);
    let separated = inner.len() + usize::from(text.contains([',', '\''])) > 0;
    is_digits(&first) && is_digits(last) && inner.iter().all(is_digits) && is_shaped && separated
}

/// Whether `text` begins as a day or month does: 2026-12.
fn is_day(text: &str) -> bool {
    text.as_bytes().get(..5).is_some_and(|begin| begin[4] == b'-' && begin[..4].iter().all(u8::is_ascii_digit))
}

fn text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
        _ => None,
    }
}

fn name(call: &Context<'_>, at: usize) -> String {
    text(call.get_raw(at)).unwrap_or_default()
}

fn no_number(name: &str, text: &str) -> Error {
    let text = excerpt(text, MAX_SHOWN);
    let (subject, column) = if name.is_empty() { ("a value", "COLUMN") } else { (name, name) };
    let reason = format!(
        "{subject} is used as a number, and {text:?} is none: leave such cells out, as in WHERE typeof({column}) <> 'text', \
         or make numbers of them, as in CAST(replace({column}, ',', '') AS REAL)"
    );
    Error::UserFunctionError(reason.into())
}
