//! Time zones of the IANA database: which instants a time on the wall clock stands for.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, LocalResult, NaiveDate, NaiveDateTime, Offset as _, TimeZone as _};
use chrono_tz::{TZ_VARIANTS, Tz};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::domain::time::Timestamp;

/// No wall-clock time is further from UTC than this, in seconds, and no gap is longer.
const REACH_S: i64 = 26 * 3600;

/// A time zone by its IANA name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(Tz);

/// Text that names no zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time zone: use a name of the IANA database, such as Europe/Berlin, America/New_York or UTC")]
pub struct UnknownZone(String);

/// What a wall-clock time stands for, in seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instants {
    One(i64),
    /// The clock is set back over it.
    Two(i64, i64),
    /// The clock is set forward over it; the first instant after the gap.
    Gap(i64),
}

impl Zone {
    /// Coordinated Universal Time.
    pub const UTC: Self = Self(Tz::UTC);

    /// The wall-clock time at `utc`, both in seconds.
    pub(super) fn wall(self, utc: i64) -> i64 {
        utc + self.offset(utc)
    }

    fn offset(self, utc: i64) -> i64 {
        let naive = DateTime::from_timestamp(utc, 0).unwrap_or_default().naive_utc();
        i64::from(self.0.offset_from_utc_datetime(&naive).fix().local_minus_utc())
    }

    pub(super) fn instants(self, wall: i64) -> Instants {
        let naive = DateTime::from_timestamp(wall, 0).unwrap_or_default().naive_utc();
        let utc = |offset: <Tz as chrono::TimeZone>::Offset| wall - i64::from(offset.fix().local_minus_utc());
        match self.0.offset_from_local_datetime(&naive) {
            LocalResult::Single(offset) => Instants::One(utc(offset)),
            LocalResult::Ambiguous(one, other) => {
                let (one, other) = (utc(one), utc(other));
                Instants::Two(one.min(other), one.max(other))
            }
            LocalResult::None => Instants::Gap(first(wall - REACH_S, wall + REACH_S, |utc| self.wall(utc) > wall)),
        }
    }

    /// The instant in `(first_pass, second_pass]` at which the clock is set back.
    pub(super) fn set_back(self, first_pass: i64, second_pass: i64) -> i64 {
        let before = self.offset(first_pass);
        first(first_pass, second_pass, |utc| self.offset(utc) != before)
    }

    /// Reads a time: one that names no offset is on the wall clock of this zone, everything else as
    /// [`Timestamp::read`] does. A time that the zone leaves out is the first one after it.
    ///
    /// # Errors
    /// As [`Timestamp::read`].
    pub fn read(self, value: &Value) -> Result<Timestamp, String> {
        let text = value.as_str().unwrap_or_default().trim();
        let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
        let naive = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
        let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|day| day.and_hms_opt(0, 0, 0));
        let Some(naive) = naive.or_else(day) else { return Timestamp::read(value) };
        let wall = naive.and_utc();
        let fraction_ms = i64::from(wall.timestamp_subsec_millis());
        let ms = match self.instants(wall.timestamp()) {
            Instants::One(utc) | Instants::Two(utc, _) => utc.saturating_mul(1000).saturating_add(fraction_ms),
            Instants::Gap(utc) => utc.saturating_mul(1000),
        };
        Timestamp::in_range(ms).ok_or_else(|| format!("{value} is not a time of the years 1970 to 9999"))
    }

    /// RFC 3339 with the offset of the zone, to the second.
    #[must_use]
    pub fn show(self, at: Timestamp) -> String {
        self.format(at, "%Y-%m-%dT%H:%M:%S%:z")
    }

    /// The day in the zone, as 2026-01-31.
    #[must_use]
    pub fn date(self, at: Timestamp) -> String {
        self.format(at, "%Y-%m-%d")
    }

    fn format(self, at: Timestamp, pattern: &str) -> String {
        self.0
            .timestamp_millis_opt(at.as_millis())
            .single()
            .map_or_else(|| at.to_rfc3339(), |local| local.format(pattern).to_string())
    }
}

/// The first instant for which `is` holds, which does at `to` and not at `from`, and changes once in between.
fn first(mut from: i64, mut to: i64, is: impl Fn(i64) -> bool) -> i64 {
    while to - from > 1 {
        let middle = from + (to - from) / 2;
        if is(middle) { to = middle } else { from = middle }
    }
    to
}

impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(text: &str) -> Result<Self, UnknownZone> {
        let text = text.trim();
        let named = text.parse().ok();
        let alike = || TZ_VARIANTS.iter().copied().find(|zone| zone.name().eq_ignore_ascii_case(text));
        named.or_else(alike).map(Self).ok_or_else(|| UnknownZone(text.to_owned()))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.name())
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_time_without_offset_is_on_the_wall_clock_of_the_zone() {
        let berlin: Zone = "europe/berlin".parse().expect("a zone, in any case");
        let read = |text: &str| berlin.read(&json!(text)).expect("a time").to_rfc3339();
        assert_eq!(read("2026-07-01T09:00:00"), "2026-07-01T07:00:00.000Z");
        assert_eq!(read("2026-07-01 09:00"), "2026-07-01T07:00:00.000Z");
        assert_eq!(read("2026-07-01"), "2026-06-30T22:00:00.000Z");
        assert_eq!(read("2026-07-01T09:00:00Z"), "2026-07-01T09:00:00.000Z");
        assert_eq!(read("2026-03-29T02:30:00"), "2026-03-29T01:00:00.000Z", "the clock is set forward over it");
        assert_eq!(read("2026-07-01T09:00:00.250"), "2026-07-01T07:00:00.250Z");
        assert_eq!(read("1971-01-02"), "1971-01-01T23:00:00.000Z", "not taken for seconds since the epoch");
        assert!(berlin.read(&json!("tomorrow")).is_err());
        assert!(berlin.read(&json!("1969-12-31")).expect_err("too early").contains("1969-12-31"));
        assert_eq!(berlin.show(Timestamp::from_millis(1_782_889_200_000)), "2026-07-01T09:00:00+02:00");
    }

    #[test]
    fn what_is_no_zone_is_named() {
        assert!("Europe/Berln".parse::<Zone>().expect_err("none").to_string().contains("Berln"));
    }
}
