//! The functions of SQLite whose time grows with the product of their arguments, replaced by others that end in time.
//!
//! SQLite looks at its time limit between the steps of its machine, and a call of a function is one step: its own `LIKE` takes
//! minutes for a long text and a long pattern. The functions here take and give the same, in linear time or under the
//! clock. Operators are functions too: `a LIKE b` calls `like(b, a)`.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Instant;

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, ffi};

use super::super::MAX_BYTES;
use super::pattern::Pattern;
use super::query_clock::{QueryClock, TimeLimitReached};

impl From<TimeLimitReached> for Error {
    fn from(_: TimeLimitReached) -> Self {
        Self::SqliteFailure(ffi::Error::new(ffi::SQLITE_INTERRUPT), None)
    }
}

/// Registers the functions on `connection`, for queries that end at `deadline`.
pub(super) fn replace_slow(connection: &Connection, deadline: Instant) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    for arguments in [2, 3] {
        connection.create_scalar_function("like", arguments, flags, move |call| like(call, deadline))?;
    }
    connection.create_scalar_function("glob", 2, flags, move |call| glob(call, deadline))?;
    connection.create_scalar_function("instr", 2, flags, move |call| instr(call, deadline))?;
    connection.create_scalar_function("replace", 3, flags, move |call| replace(call, deadline))?;
    for (name, left, right) in [("trim", true, true), ("ltrim", true, false), ("rtrim", false, true)] {
        for arguments in [1, 2] {
            connection.create_scalar_function(name, arguments, flags, move |call| trim(call, left, right, deadline))?;
        }
    }
    Ok(())
}

fn like(call: &Context<'_>, deadline: Instant) -> rusqlite::Result<Option<bool>> {
    let escape = if call.len() == 3 {
        let Some(escape) = text(call.get_raw(2)) else { return Ok(None) };
        let mut letters = escape.chars();
        let (Some(escape), None) = (letters.next(), letters.next()) else {
            return Err(Error::UserFunctionError("ESCAPE expression must be a single character".into()));
        };
        Some(escape)
    } else {
        None
    };
    matching(call, deadline, |pattern| Pattern::like(pattern, escape))
}

fn glob(call: &Context<'_>, deadline: Instant) -> rusqlite::Result<Option<bool>> {
    matching(call, deadline, Pattern::glob)
}

fn matching(call: &Context<'_>, deadline: Instant, read: impl Fn(&str) -> Pattern) -> rusqlite::Result<Option<bool>> {
    let clock = QueryClock::start(deadline)?;
    let (Some(pattern), Some(text)) = (text(call.get_raw(0)), text(call.get_raw(1))) else { return Ok(None) };
    Ok(Some(read(&pattern).matches(&text, &clock)?))
}

fn instr(call: &Context<'_>, deadline: Instant) -> rusqlite::Result<Option<i64>> {
    let clock = QueryClock::start(deadline)?;
    let (haystack, needle) = (call.get_raw(0), call.get_raw(1));
    if let (ValueRef::Blob(haystack), ValueRef::Blob(needle)) = (haystack, needle) {
        return Ok(Some(Needle::new(needle).find(haystack, 0, &clock)?.map_or(0, |at| count(at) + 1)));
    }
    let (Some(haystack), Some(needle)) = (text(haystack), text(needle)) else { return Ok(None) };
    let found = Needle::new(needle.as_bytes()).find(haystack.as_bytes(), 0, &clock)?;
    Ok(Some(found.map_or(0, |at| count(haystack[..at].chars().count()) + 1)))
}

fn replace(call: &Context<'_>, deadline: Instant) -> rusqlite::Result<Option<String>> {
    let clock = QueryClock::start(deadline)?;
    let (Some(whole), Some(wanted)) = (text(call.get_raw(0)), text(call.get_raw(1))) else { return Ok(None) };
    if wanted.is_empty() {
        return Ok(Some(whole.into_owned()));
    }
    let Some(instead) = text(call.get_raw(2)) else { return Ok(None) };
    let needle = Needle::new(wanted.as_bytes());
    let (mut out, mut from) = (String::new(), 0);
    while let Some(at) = needle.find(whole.as_bytes(), from, &clock)? {
        if out.len() + (at - from) + instead.len() > MAX_BYTES {
            return Err(Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_TOOBIG), None));
        }
        out.push_str(&whole[from..at]);
        out.push_str(&instead);
        from = at + wanted.len();
    }
    out.push_str(&whole[from..]);
    Ok(Some(out))
}

fn trim(call: &Context<'_>, left: bool, right: bool, deadline: Instant) -> rusqlite::Result<Option<String>> {
    QueryClock::start(deadline)?;
    let Some(whole) = text(call.get_raw(0)) else { return Ok(None) };
    let cut: HashSet<char> = if call.len() == 2 {
        let Some(letters) = text(call.get_raw(1)) else { return Ok(None) };
        letters.chars().collect()
    } else {
        HashSet::from([' '])
    };
    let mut rest: &str = &whole;
    if left {
        rest = rest.trim_start_matches(|letter| cut.contains(&letter));
    }
    if right {
        rest = rest.trim_end_matches(|letter| cut.contains(&letter));
    }
    Ok(Some(rest.to_owned()))
}

/// Bytes to look for, with what Knuth, Morris and Pratt need to do so in linear time.
struct Needle<'a> {
    bytes: &'a [u8],
    /// For each length of a part that matched, the length of its longest end that is a beginning of the whole.
    shorter: Vec<u32>,
}

impl<'a> Needle<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut shorter = vec![0_u32; bytes.len()];
        let mut length = 0_u32;
        for at in 1..bytes.len() {
            while length > 0 && bytes[length as usize] != bytes[at] {
                length = shorter[length as usize - 1];
            }
            length += u32::from(bytes[length as usize] == bytes[at]);
            shorter[at] = length;
        }
        Self { bytes, shorter }
    }

    /// Where the bytes begin in `haystack`, from `from` on.
    fn find(&self, haystack: &[u8], from: usize, clock: &QueryClock) -> Result<Option<usize>, TimeLimitReached> {
        if self.bytes.is_empty() {
            return Ok(Some(from));
        }
        let mut length = 0;
        for (at, byte) in haystack.iter().enumerate().skip(from) {
            clock.step()?;
            while length > 0 && self.bytes[length] != *byte {
                length = self.shorter[length - 1] as usize;
            }
            length += usize::from(self.bytes[length] == *byte);
            if length == self.bytes.len() {
                return Ok(Some(at + 1 - length));
            }
        }
        Ok(None)
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A value as SQLite writes it as text; `None` for NULL.
fn text(value: ValueRef<'_>) -> Option<Cow<'_, str>> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string().into()),
        ValueRef::Real(number) => Some(real(number).into()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes)),
    }
}

/// A real number as SQLite writes it: `12.5`, `1.0`, `1.0e+20`. With 17 digits where 15 do not tell it from its neighbours; the
/// last of these may be another.
fn real(number: f64) -> String {
    if !number.is_finite() {
        return if number > 0.0 { "Inf" } else { "-Inf" }.to_owned();
    }
    let mut scientific = format!("{number:e}");
    if scientific.split('e').next().is_some_and(|digits| digits.bytes().filter(u8::is_ascii_digit).count() > 15) {
        scientific = format!("{number:.16e}");
    }
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i64 = exponent.parse().unwrap_or(0);
    if (-4..17).contains(&exponent) {
        let decimals = digits.split_once('.').map_or(0, |(_, decimals)| count(decimals.len()));
        let decimals = usize::try_from(decimals - exponent).unwrap_or(0);
        return with_a_decimal(&format!("{number:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", with_a_decimal(digits), exponent.unsigned_abs())
}

/// `number` without zeros at its end, but for one after the point.
fn with_a_decimal(number: &str) -> String {
    let Some((whole, decimals)) = number.split_once('.') else { return format!("{number}.0") };
    let decimals = decimals.trim_end_matches('0');
    format!("{whole}.{}", if decimals.is_empty() { "0" } else { decimals })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use rusqlite::types::Value;

    use super::*;

    fn pair() -> (Connection, Connection) {
        let own = Connection::open_in_memory().expect("a database");
        replace_slow(&own, Instant::now() + Duration::from_hours(1)).expect("functions");
        (own, Connection::open_in_memory().expect("a database"))
    }

    fn answer(connection: &Connection, query: &str, values: &[Value]) -> Result<Value, String> {
        let values = rusqlite::params_from_iter(values.iter().cloned());
        connection.query_row(query, values, |row| row.get(0)).map_err(|error| error.to_string())
    }

    const CALLS: [(&str, usize); 12] = [
        ("SELECT ?1 LIKE ?2", 2),
        ("SELECT ?1 NOT LIKE ?2 ESCAPE ?3", 3),
        ("SELECT ?1 LIKE ?2 ESCAPE '_'", 2),
        ("SELECT ?1 GLOB ?2", 2),
        ("SELECT instr(?1, ?2)", 2),
        ("SELECT replace(?1, ?2, ?3)", 3),
        ("SELECT trim(?1)", 1),
        ("SELECT trim(?1, ?2)", 2),
        ("SELECT ltrim(?1, ?2)", 2),
        ("SELECT rtrim(?1, ?2)", 2),
        ("SELECT ltrim(?1)", 1),
        ("SELECT rtrim(?1)", 1),
    ];

    fn values() -> impl Strategy<Value = Value> {
        prop_oneof![
            8 => r"[aAbB%_*?\[\]^ÄäßZ -]{0,12}".prop_map(Value::Text),
            2 => r"(%|_|\*|\?|a|b|\[a-b\]|\[\^a\]|\[\]a\]|ä){0,8}".prop_map(Value::Text),
            1 => Just(Value::Null),
            1 => any::<i64>().prop_map(Value::Integer),
            1 => (-800_000..800_000_i32).prop_map(|eighths| Value::Real(f64::from(eighths) / 8.0)),
            1 => prop::sample::select(vec![0.1, 1e15, 1e14, 1e-5, 1e-4, -2.5, 1e300, 0.0, f64::INFINITY, 123_456_789.125])
                .prop_map(Value::Real),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_functions_answer_as_those_of_sqlite(values in prop::collection::vec(values(), 3)) {
            thread_local!(static BOTH: (Connection, Connection) = pair());
            BOTH.with(|(own, theirs)| {
                for (query, count) in CALLS {
                    let values = &values[..count];
                    prop_assert_eq!(answer(own, query, values), answer(theirs, query, values), "{} {:?}", query, values);
                }
                Ok(())
            })?;
        }
    }

    #[test]
    fn each_call_ends_at_the_deadline() {
        let connection = Connection::open_in_memory().expect("a database");
        let started = Instant::now();
        replace_slow(&connection, started + Duration::from_millis(200)).expect("functions");
        let zeros = Value::Text("0".repeat(1_000_000));
        let pattern = |first: &str| Value::Text(format!("{first}{}1", "0".repeat(500_000)));
        for (query, values) in [
            ("SELECT ?1 LIKE ?2", [zeros.clone(), pattern("%")]),
            ("SELECT ?1 GLOB ?2", [zeros.clone(), pattern("*")]),
            ("SELECT ?1 GLOB ?2", [zeros.clone(), Value::Text("*[1-9]".repeat(1_000) + &"[0a-z]".repeat(100_000))]),
        ] {
            let error = connection.query_row(query, values, |row| row.get::<_, Value>(0)).expect_err(query);
            assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::OperationInterrupted), "{error}");
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }

    #[test]
    fn long_arguments_take_linear_time() {
        let (own, _) = pair();
        let zeros = Value::Text("0".repeat(1_000_000));
        let needle = Value::Text("0".repeat(500_000) + "1");
        let letters = Value::Text((1..500_000_u32).filter_map(|at| char::from_u32(at + 256)).collect::<String>() + "0");
        let started = Instant::now();
        assert_eq!(answer(&own, "SELECT instr(?1, ?2)", &[zeros.clone(), needle.clone()]), Ok(Value::Integer(0)));
        let same = answer(&own, "SELECT replace(?1, ?2, 'x')", &[zeros.clone(), needle]);
        assert_eq!(same, Ok(zeros.clone()));
        assert_eq!(answer(&own, "SELECT trim(?1, ?2)", &[zeros.clone(), letters]), Ok(Value::Text(String::new())));
        let grown = answer(&own, "SELECT replace(?1, '0', ?1)", &[zeros]);
        assert!(grown.expect_err("too big").contains("too big"));
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
}
