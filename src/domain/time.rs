//! Instants as the store keeps them: milliseconds since the Unix epoch.

use std::fmt;

use chrono::{DateTime, SecondsFormat, TimeZone, Utc};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::number;

/// An instant in milliseconds since the Unix epoch, UTC.
///
/// Serialised as an integer, because Qdrant's range filters are `f64` and hold milliseconds exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// Epoch numbers below this are read as seconds, from it on as milliseconds.
///
/// As seconds it is the year 5138, as milliseconds it is March 1973.
const SECONDS_BELOW: f64 = 1e11;
/// Longest part of a wrong value that an error repeats, in characters.
const SHOWN_CHARS: usize = 100;

/// The forms in which people and programs write a time, for errors and help.
pub const TIME_FORMS: &str = "RFC 3339 (2026-01-31T09:00:00Z), the local clock (2026-01-31 09:00 or 2026-01-31), or seconds or \
                              milliseconds since 1970";

impl Timestamp {
    /// The instant `ms` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This instant moved by `ms` milliseconds, stopping at the ends of the range.
    #[must_use]
    pub const fn plus_millis(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this instant; zero when `earlier` is later.
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }

    /// RFC 3339 in UTC with milliseconds, as the API shows it.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        Utc.timestamp_millis_opt(self.0)
            .single()
            .map_or_else(|| self.0.to_string(), |instant| instant.to_rfc3339_opts(SecondsFormat::Millis, true))
    }

    /// Reads a time that stands for itself: RFC 3339, epoch seconds or epoch milliseconds, as number or text. What is on
    /// the wall clock of a zone is read by [`Zone::read`](crate::domain::schedule::zone::Zone::read).
    ///
    /// # Errors
    /// Names the value when it is none of these, or lies outside the years 1970 to 9999.
    pub fn read(value: &Value) -> Result<Self, String> {
        let read = match value {
            Value::Number(number) => number.as_f64().and_then(Self::from_epoch),
            Value::String(text) => Self::from_text(text.trim()),
            _ => None,
        };
        read.ok_or_else(|| {
            let shown: String = value.to_string().chars().take(SHOWN_CHARS).collect();
            format!("{shown} is not a time: use {TIME_FORMS}")
        })
    }

    fn from_text(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse::<f64>() {
            return Self::from_epoch(number);
        }
        let instant = DateTime::parse_from_rfc3339(text).ok()?;
        Self::in_range(instant.timestamp_millis())
    }

    #[expect(clippy::cast_possible_truncation, reason = "the range is checked right after")]
    fn from_epoch(number: f64) -> Option<Self> {
        if !number.is_finite() {
            return None;
        }
        let millis = if number.abs() < SECONDS_BELOW { number * 1000.0 } else { number };
        Self::in_range(millis.round() as i64)
    }

    /// The instant `ms` milliseconds after the epoch, unless it lies outside the years 1970 to 9999.
    pub(in crate::domain) fn in_range(ms: i64) -> Option<Self> {
        (0..YEAR_10000).contains(&ms).then_some(Self(ms))
    }
}

/// First millisecond behind the years that are accepted, after the epoch.
const YEAR_10000: i64 = 253_402_300_800_000;

impl Timestamp {
    /// The instant that a stored `value` holds in milliseconds, as whole number, float or text. Times after the year
    /// 9999, and as long before the epoch, are cut. `None` for a value that is no number.
    #[must_use]
    pub fn of_stored(value: &Value) -> Option<Self> {
        #[expect(clippy::cast_possible_truncation, reason = "a float beyond the range becomes its end, and is cut")]
        let ms = value.as_i64().or_else(|| number::number_of(value).map(|ms| ms as i64))?;
        Some(Self(ms.clamp(-YEAR_10000, YEAR_10000 - 1)))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::of_stored(&value).ok_or_else(|| D::Error::custom("a time is milliseconds since the epoch"))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_spelling_of_one_instant_reads_the_same() {
        let expected = Timestamp::from_millis(1_767_225_600_000);
        for value in [
            json!("2026-01-01T00:00:00Z"),
            json!("2026-01-01T01:00:00+01:00"),
            json!("2026-01-01 01:00:00.000+01:00"),
            json!(1_767_225_600),
            json!(1_767_225_600.0),
            json!(1_767_225_600_000_i64),
            json!("1767225600"),
        ] {
            assert_eq!(Timestamp::read(&value), Ok(expected), "{value}");
        }
        assert_eq!(expected.to_rfc3339(), "2026-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_stored_time_is_read_in_whichever_form_and_cut_to_the_years_there_are() {
        for (value, ms) in [
            (json!(1_767_225_600_000_i64), 1_767_225_600_000),
            (json!(1_767_225_600_000.4), 1_767_225_600_000),
            (json!("1767225600000"), 1_767_225_600_000),
            (json!(0), 0),
            (json!(i64::MAX), YEAR_10000 - 1),
            (json!(u64::MAX), YEAR_10000 - 1),
            (json!(1e300), YEAR_10000 - 1),
            (json!("18446744073709551615"), YEAR_10000 - 1),
            (json!(i64::MIN), -YEAR_10000),
            (json!(-1e300), -YEAR_10000),
        ] {
            let read: Timestamp = serde_json::from_value(value.clone()).expect("readable");
            assert_eq!(read.as_millis(), ms, "{value}");
            assert!(DateTime::parse_from_rfc3339(&read.to_rfc3339()).is_ok() || ms < 0, "{read}");
        }
        for value in [json!(null), json!("soon"), json!([1]), json!(true)] {
            assert!(serde_json::from_value::<Timestamp>(value.clone()).is_err(), "{value}");
        }
    }

    #[test]
    fn what_is_not_a_time_is_named() {
        let naive = json!("2026-01-01T00:00:00");
        for value in [json!("tomorrow"), json!(-5), json!(1e300), json!([]), json!(""), naive] {
            let error = Timestamp::read(&value).expect_err("not a time");
            assert!(error.contains(&value.to_string()), "{error}");
        }
    }
}
