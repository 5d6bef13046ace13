//! Days and times: how they are written, and how far they are from each other.

use chrono::{DateTime, Datelike as _, Days, FixedOffset, Months, NaiveDate, NaiveDateTime, TimeDelta};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::ToPrimitive as _;

/// Seconds of a day.
const DAY: i64 = 86_400;
/// Digits of the fraction of a second; a time with more of them is not read.
const MAX_FRACTION: usize = 9;
/// Nanoseconds of a second.
const NANOS: i64 = 1_000_000_000;
/// Years that are calculated with.
const YEARS: std::ops::RangeInclusive<i32> = 1..=9999;
/// Years of a day without quotes; `1000-10-10` is a difference.
const BARE_YEARS: std::ops::RangeInclusive<i32> = 1900..=2199;
const OUT_OF_RANGE: &str = "the date is beyond the years 1 to 9999";

/// A day, or a time of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Day(NaiveDate),
    /// A time on the wall clock, and how far that is from UTC when it is known.
    Time(NaiveDateTime, Option<FixedOffset>),
}

/// How far one moment is from another.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Distance {
    Days(i64),
    /// Seconds, exactly.
    Seconds(BigRational),
}

/// A span that is added to a moment.
#[derive(Debug)]
pub(super) enum Span {
    /// Months of the calendar.
    Months(i64),
    /// Seconds, exactly.
    Seconds(BigRational),
}

impl Moment {
    /// Reads an ISO text: a day, or a time with or without an offset.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        if !text.get(..10).is_some_and(is_iso_day) {
            return None;
        }
        if text.len() == 10 {
            return NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(Self::Day);
        }
        let fraction = text.split_once('.').map_or("", |(_, behind)| behind);
        if fraction.bytes().take_while(u8::is_ascii_digit).count() > MAX_FRACTION {
            return None;
        }
        let utc = text.strip_suffix(['Z', 'z']).map(|wall| format!("{wall}+00:00"));
        let with_offset = utc.as_deref().unwrap_or(text);
        let short = || DateTime::parse_from_str(with_offset, "%Y-%m-%dT%H:%M%:z");
        if let Ok(time) = DateTime::parse_from_rfc3339(text).or_else(|_| short()) {
            return Some(Self::Time(time.naive_local(), Some(*time.offset())));
        }
        let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
        let time = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())?;
        Some(Self::Time(time, None))
    }

    /// The moment that `text` begins with, and its bytes, when nothing behind it could belong to a number.
    pub(super) fn bare(text: &str) -> Option<(Self, usize)> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '.' | '+');
        let day = text.get(..10).filter(|day| is_iso_day(day))?;
        let in_range = day[..4].parse().is_ok_and(|year| BARE_YEARS.contains(&year));
        let behind = text[10..].chars().next();
        let length = match behind {
            Some('T') => text.find(|c| !is_part(c)).unwrap_or(text.len()),
            Some(next) if is_part(next) && !matches!(next, '+' | '-') => return None,
            _ => 10,
        };
        Self::read(&text[..length]).filter(|_| in_range).map(|moment| (moment, length))
    }

    /// The day of a year, month and day of the month.
    pub(super) fn of_parts(year: u32, month: u32, day: u32) -> Option<Self> {
        let year = i32::try_from(year).ok().filter(|year| YEARS.contains(year))?;
        NaiveDate::from_ymd_opt(year, month, day).map(Self::Day)
    }

    /// The day.
    pub(super) fn day(self) -> NaiveDate {
        match self {
            Self::Day(day) => day,
            Self::Time(time, _) => time.date(),
        }
    }

    /// How far `self` is behind `earlier`.
    ///
    /// # Errors
    /// When one of them says less than the other.
    pub(super) fn since(self, earlier: Self) -> Result<Distance, String> {
        match (self, earlier) {
            (Self::Day(late), Self::Day(early)) => Ok(Distance::Days((late - early).num_days())),
            (Self::Time(late, None), Self::Time(early, None)) => Ok(Distance::Seconds(seconds(late - early, 0))),
            (Self::Time(late, Some(one)), Self::Time(early, Some(other))) => {
                let moved = i64::from(other.local_minus_utc()) - i64::from(one.local_minus_utc());
                Ok(Distance::Seconds(seconds(late - early, moved)))
            }
            (Self::Time(..), Self::Time(..)) => {
                Err("one time has an offset from UTC and the other has none: write both with, or both without"
                    .to_owned())
            }
            _ => {
                Err("one is a day and the other a time: write both as 2026-12-25, or both as 2026-12-25T10:00"
                    .to_owned())
            }
        }
    }

    /// The moment `span` later; earlier when it is below zero.
    ///
    /// # Errors
    /// When no such day exists, or `self` is a day and `span` is no whole number of days.
    pub(super) fn plus(self, span: &Span) -> Result<Self, String> {
        let moved = match span {
            Span::Months(months) => self.plus_months(*months)?,
            Span::Seconds(seconds) => {
                let seconds =
                    Some(seconds).filter(|seconds| seconds.is_integer()).and_then(|whole| whole.to_integer().to_i64());
                let seconds = seconds.ok_or("the span is no whole number of seconds, or too long")?;
                self.plus_seconds(seconds)?
            }
        };
        if YEARS.contains(&moved.day().year()) { Ok(moved) } else { Err(OUT_OF_RANGE.to_owned()) }
    }

    fn plus_seconds(self, seconds: i64) -> Result<Self, String> {
        match self {
            Self::Day(_) if seconds % DAY != 0 => {
                Err("hours are added to a day: write the time of the day, as in 2026-12-25T00:00".to_owned())
            }
            Self::Day(day) => {
                let days = Days::new((seconds / DAY).unsigned_abs());
                let moved = if seconds < 0 { day.checked_sub_days(days) } else { day.checked_add_days(days) };
                moved.map(Self::Day).ok_or_else(|| OUT_OF_RANGE.to_owned())
            }
            Self::Time(time, offset) => {
                let moved = TimeDelta::try_seconds(seconds).and_then(|delta| time.checked_add_signed(delta));
                moved.map(|moved| Self::Time(moved, offset)).ok_or_else(|| OUT_OF_RANGE.to_owned())
            }
        }
    }

    fn plus_months(self, months: i64) -> Result<Self, String> {
        let before = self.day();
        let count = u32::try_from(months.unsigned_abs()).map_err(|_| OUT_OF_RANGE)?;
        let count = Months::new(count);
        let after = if months < 0 { before.checked_sub_months(count) } else { before.checked_add_months(count) };
        let after = after.ok_or(OUT_OF_RANGE)?;
        if after.day() != before.day() {
            return Err(format!(
                "{} has no day {}: begin at a day that each month has, or add days",
                after.format("%Y-%m"),
                before.day()
            ));
        }
        Ok(match self {
            Self::Day(_) => Self::Day(after),
            Self::Time(time, offset) => Self::Time(after.and_time(time.time()), offset),
        })
    }

    /// ISO text.
    pub(super) fn written(self) -> String {
        match self {
            Self::Day(day) => day.format("%Y-%m-%d").to_string(),
            Self::Time(time, None) => time.format("%Y-%m-%dT%H:%M:%S%.f").to_string(),
            Self::Time(time, Some(offset)) if offset.local_minus_utc() == 0 => {
                format!("{}Z", time.format("%Y-%m-%dT%H:%M:%S%.f"))
            }
            Self::Time(time, Some(offset)) => format!("{}{offset}", time.format("%Y-%m-%dT%H:%M:%S%.f")),
        }
    }

    /// Name of its day of the week.
    pub(super) fn weekday(self) -> String {
        self.day().format("%A").to_string()
    }
}

/// `delta` and `more` seconds, exactly.
fn seconds(delta: TimeDelta, more: i64) -> BigRational {
    let whole = BigRational::from_integer(BigInt::from(delta.num_seconds() + more));
    whole + BigRational::new(BigInt::from(delta.subsec_nanos()), BigInt::from(NANOS))
}

/// Whether `text` is four digits, two and two.
fn is_iso_day(text: &str) -> bool {
    text.bytes().enumerate().all(|(at, byte)| if [4, 7].contains(&at) { byte == b'-' } else { byte.is_ascii_digit() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(late: &str, early: &str) -> String {
        let read = |text: &str| Moment::read(text).unwrap_or_else(|| panic!("no time: {text}"));
        match read(late).since(read(early)) {
            Ok(Distance::Seconds(seconds)) => format!("{seconds} s"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn fractions_of_seconds_are_neither_lost_nor_rounded() {
        for (late, early, expected) in [
            ("2026-12-25T10:00:00.9Z", "2026-12-25T10:00:00Z", "9/10 s"),
            ("2026-12-25T10:00:00Z", "2026-12-25T10:00:00.9Z", "-9/10 s"),
            ("2026-12-25T12:00:01.000000001+02:00", "2026-12-25T10:00:00z", "1000000001/1000000000 s"),
            ("2026-12-25T10:00:00.5", "2026-12-25 09:59:59.25", "5/4 s"),
            ("2026-12-25T10:00", "2026-12-25T09:00", "3600 s"),
        ] {
            assert_eq!(between(late, early), expected, "{late} - {early}");
        }
        assert_eq!(Moment::read("2026-12-25T10:00:00.1234567891Z"), None, "more digits than are kept");
        let later =
            Moment::read("2026-12-25T10:00:00.9Z").map(|time| time.plus(&Span::Seconds(BigInt::from(60).into())));
        assert_eq!(later.and_then(Result::ok).map(Moment::written).as_deref(), Some("2026-12-25T10:01:00.900Z"));
    }
}
