//! Time zones of the IANA database: which instants a time on the wall clock stands for.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, FixedOffset, LocalResult, NaiveDate, NaiveDateTime, Offset as _, TimeZone as _};
use chrono_tz::{TZ_VARIANTS, Tz};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::domain::time::Timestamp;

pub mod data;

/// No wall-clock time is further from UTC than this, in seconds, and no gap is longer.
const REACH_S: i64 = 26 * 3600;

/// A time zone by its IANA name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(Tz);

/// Why text does not name a zone that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownZone {
    /// No name of the database.
    #[error("{0:?} is no time zone: use a name of the IANA database, such as Europe/Berlin, America/New_York or UTC")]
    Unknown(String),
    /// An abbreviation: for half a year only, for several places, or without the change of clocks that its readers expect.
    #[error("{name:?} is an abbreviation and no place: use {meant}")]
    Abbreviation {
        /// What was given.
        name: String,
        /// The zones that are probably meant.
        meant: &'static str,
    },
    /// A distance from UTC.
    #[error(
        "{0:?} is an offset and no time zone: use the name of a place, such as Europe/Berlin, or Etc/GMT-2 for UTC+2"
    )]
    Offset(String),
}

/// Abbreviations, in upper case, with the zones that are probably meant. The database has some of them as zones of their
/// own, most without any change of clocks: EST is UTC-5 all year round.
const ABBREVIATIONS: &[(&[&str], &str)] = &[
    (&["EST", "EDT", "ET", "EST5EDT"], "America/New_York"),
    (&["CST", "CDT", "CT", "CST6CDT"], "America/Chicago (or Asia/Shanghai for China)"),
    (&["MST", "MDT", "MT", "MST7MDT"], "America/Denver (or America/Phoenix, without summer time)"),
    (&["PST", "PDT", "PT", "PST8PDT"], "America/Los_Angeles"),
    (&["AKST", "AKDT"], "America/Anchorage"),
    (&["HST", "HDT"], "Pacific/Honolulu"),
    (&["AST", "ADT"], "America/Halifax"),
    (&["NST", "NDT"], "America/St_Johns"),
    (&["BRT"], "America/Sao_Paulo"),
    (&["WET", "WEST"], "Europe/Lisbon"),
    (&["BST"], "Europe/London"),
    (&["CET", "CEST", "MET", "MEST", "MEZ", "MESZ"], "Europe/Berlin, or another city of central Europe"),
    (&["EET", "EEST"], "Europe/Athens, or another city of eastern Europe"),
    (&["MSK"], "Europe/Moscow"),
    (&["SAST"], "Africa/Johannesburg"),
    (&["IST"], "Asia/Kolkata (or Europe/Dublin, Asia/Jerusalem)"),
    (&["SGT"], "Asia/Singapore"),
    (&["HKT"], "Asia/Hong_Kong"),
    (&["JST"], "Asia/Tokyo"),
    (&["KST"], "Asia/Seoul"),
    (&["AEST", "AEDT", "AET"], "Australia/Sydney (or Australia/Brisbane, without summer time)"),
    (&["ACST", "ACDT"], "Australia/Adelaide"),
    (&["AWST"], "Australia/Perth"),
    (&["NZST", "NZDT"], "Pacific/Auckland"),
];

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

    /// The zone called `name` in the database, in any case.
    fn named(name: &str) -> Option<Self> {
        let alike = || TZ_VARIANTS.iter().copied().find(|zone| zone.name().eq_ignore_ascii_case(name));
        name.parse().ok().or_else(alike).map(Self)
    }

    /// Why the zone should not be used, although the database has it.
    ///
    /// # Errors
    /// [`UnknownZone::Abbreviation`] for EST and its like.
    pub fn check(self) -> Result<(), UnknownZone> {
        abbreviation(self.0.name()).map_or(Ok(()), Err)
    }

    /// The wall-clock time at `utc`, both in seconds.
    pub(super) fn wall(self, utc: i64) -> i64 {
        utc + self.offset(utc)
    }

    fn offset(self, utc: i64) -> i64 {
        if let Some(offset) = data::offset(self.0, utc) {
            return offset;
        }
        let naive = DateTime::from_timestamp(utc, 0).unwrap_or_default().naive_utc();
        i64::from(self.0.offset_from_utc_datetime(&naive).fix().local_minus_utc())
    }

    pub(super) fn instants(self, wall: i64) -> Instants {
        let gap = || Instants::Gap(first(wall - REACH_S, wall + REACH_S, |utc| self.wall(utc) > wall));
        if let Some(instants) = data::instants(self.0, wall, gap) {
            return instants;
        }
        let naive = DateTime::from_timestamp(wall, 0).unwrap_or_default().naive_utc();
        let utc = |offset: <Tz as chrono::TimeZone>::Offset| wall - i64::from(offset.fix().local_minus_utc());
        match self.0.offset_from_local_datetime(&naive) {
            LocalResult::Single(offset) => Instants::One(utc(offset)),
            LocalResult::Ambiguous(one, other) => {
                let (one, other) = (utc(one), utc(other));
                Instants::Two(one.min(other), one.max(other))
            }
            LocalResult::None => gap(),
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

    /// RFC 3339 with the offset of the zone, to the second; `Z` where the zone is at UTC, as everywhere else.
    #[must_use]
    pub fn show(self, at: Timestamp) -> String {
        let shown = self.format(at, "%Y-%m-%dT%H:%M:%S%:z");
        shown.strip_suffix("+00:00").map(|wall| format!("{wall}Z")).unwrap_or(shown)
    }

    /// The day in the zone, as 2026-01-31.
    #[must_use]
    pub fn date(self, at: Timestamp) -> String {
        self.format(at, "%Y-%m-%d")
    }

    /// The weekday, date, time and zone in words, as "Thursday 2026-11-26 18:22, Europe/Berlin (UTC+01:00)".
    #[must_use]
    pub fn describe(self, at: Timestamp) -> String {
        let (wall, offset) = (self.format(at, "%A %Y-%m-%d %H:%M"), self.format(at, "%:z"));
        format!("{wall}, {self} (UTC{offset})")
    }

    fn format(self, at: Timestamp, pattern: &str) -> String {
        let seconds = i32::try_from(self.offset(at.as_millis().div_euclid(1000))).unwrap_or_default();
        FixedOffset::east_opt(seconds)
            .and_then(|offset| offset.timestamp_millis_opt(at.as_millis()).single())
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
        if let Some(abbreviation) = abbreviation(text) {
            return Err(abbreviation);
        }
        Self::named(text).ok_or_else(|| {
            let distance = text.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
            let is_offset =
                distance.starts_with(['+', '-', '\u{2212}']) || text.ends_with(|letter: char| letter.is_ascii_digit());
            if is_offset { UnknownZone::Offset(text.to_owned()) } else { UnknownZone::Unknown(text.to_owned()) }
        })
    }
}

fn abbreviation(name: &str) -> Option<UnknownZone> {
    let upper = name.to_ascii_uppercase();
    let (_, meant) = ABBREVIATIONS.iter().find(|(names, _)| names.contains(&upper.as_str()))?;
    Some(UnknownZone::Abbreviation { name: name.to_owned(), meant })
}

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
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
    /// Reads any zone of the database, so that a schedule that was stored with EST keeps working. Input of people is
    /// read by [`FromStr`] or checked by [`Zone::check`].
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(name.trim()).map_or_else(|| name.parse().map_err(serde::de::Error::custom), Ok)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
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

    /// British Columbia keeps summer time since November 2026; the data compiled in do not know. No other test of this
    /// program uses the zone.
    #[test]
    fn newer_data_of_the_machine_are_used() {
        let mut data = data::ZoneData::new("2026f");
        data.add("America/Vancouver", include_bytes!("zone/vancouver-2026f.tzif")).expect("a zone");
        assert!(data.add("America/Toronto", b"TZif, but nothing of it").is_err());
        assert!(data.install());
        assert_eq!(data::ZoneData::version(), "2026f");
        let vancouver: Zone = "America/Vancouver".parse().expect("a zone");
        let read = |text: &str| vancouver.read(&json!(text)).expect("a time").to_rfc3339();
        assert_eq!(read("2026-12-15T09:00:00"), "2026-12-15T16:00:00.000Z");
        assert_eq!(read("2026-07-15T09:00:00"), "2026-07-15T16:00:00.000Z");
        assert_eq!(read("2040-01-15T09:00:00"), "2040-01-15T16:00:00.000Z");
        assert_eq!(read("2025-12-15T09:00:00"), "2025-12-15T17:00:00.000Z", "the past stays");
        assert_eq!(read("2025-03-09T02:30:00"), "2025-03-09T10:00:00.000Z", "a gap ends where it ends");
        assert_eq!(read("2025-11-02T01:30:00"), "2025-11-02T08:30:00.000Z", "the first of two");
        assert_eq!(vancouver.show(Timestamp::from_millis(1_797_350_400_000)), "2026-12-15T09:00:00-07:00");
        let spec = crate::domain::schedule::timing::Recurrence::Cron("0 9 * * *".to_owned());
        let timing = crate::domain::schedule::timing::Timing::new(&spec, vancouver, (None, None), Timestamp::default())
            .expect("a timing");
        let after = vancouver.read(&json!("2026-12-24T12:00:00")).expect("a time");
        let next = timing.next(after).expect("a firing");
        assert_eq!(next.to_rfc3339(), "2026-12-25T16:00:00.000Z");
        let berlin: Zone = "Europe/Berlin".parse().expect("a zone");
        assert_eq!(
            berlin.read(&json!("2026-12-15T09:00:00")).expect("a time").to_rfc3339(),
            "2026-12-15T08:00:00.000Z"
        );
    }

    #[test]
    fn what_is_no_zone_is_named() {
        assert!("Europe/Berln".parse::<Zone>().expect_err("none").to_string().contains("Berln"));
        for offset in ["+02:00", "UTC+2", "GMT-5", "-0500"] {
            assert!(offset.parse::<Zone>().expect_err(offset).to_string().contains("is an offset"), "{offset}");
        }
    }

    #[test]
    fn an_abbreviation_is_explained_and_a_stored_one_is_kept() {
        for (abbreviation, meant) in [
            ("EST", "America/New_York"),
            ("est5edt", "America/New_York"),
            ("PST", "America/Los_Angeles"),
            ("MST", "America/Denver"),
            ("CET", "Europe/Berlin"),
            ("CEST", "Europe/Berlin"),
            ("IST", "Asia/Kolkata"),
            ("HST", "Pacific/Honolulu"),
        ] {
            let error = abbreviation.parse::<Zone>().expect_err(abbreviation).to_string();
            assert!(error.contains(meant) && error.contains(abbreviation), "{error}");
        }
        for fine in ["UTC", "GMT", "Etc/GMT+5", "America/New_York", "Japan"] {
            assert!(fine.parse::<Zone>().expect(fine).check().is_ok(), "{fine}");
        }
        let stored: Zone = serde_json::from_value(json!("EST")).expect("a zone of the database");
        assert!(stored.to_string() == "EST" && stored.check().is_err());
        assert!(serde_json::from_value::<Zone>(json!("PST")).is_err());
    }

    proptest! {
        #[test]
        fn a_time_that_is_shown_is_read_as_it_was(seconds in 0_i64..4_000_000_000, zone in 0..TZ_VARIANTS.len()) {
            let zone = Zone(TZ_VARIANTS[zone]);
            let at = Timestamp::from_millis(seconds * 1000);
            // Offsets of long ago have seconds, which RFC 3339 does not show.
            prop_assume!(zone.offset(seconds) % 60 == 0);
            prop_assert_eq!(zone.read(&json!(zone.show(at))), Ok(at));
            // On the wall clock it is this time, or the earlier one of two.
            let wall = zone.show(at)[..19].to_owned();
            let read = zone.read(&json!(wall)).expect("a time");
            prop_assert!(read <= at && zone.show(read)[..19] == wall);
        }

        #[test]
        fn no_text_breaks_the_reader(text in "[0-9TZ:+. -]{0,40}|\\PC{0,20}", zone in 0..TZ_VARIANTS.len()) {
            let zone = Zone(TZ_VARIANTS[zone]);
            if let Ok(at) = zone.read(&json!(text)) {
                prop_assert!(Timestamp::in_range(at.as_millis()).is_some());
            }
            drop(text.parse::<Zone>());
            drop(crate::domain::schedule::duration::parse_duration_ms(&text));
        }
    }
}
