//! The next wall-clock time that an expression matches: day by day within the months and years that match, then the time of
//! the day at once. So a search costs no more than the days between, and one for a day that no calendar has costs nothing.

use chrono::{DateTime, Datelike as _, Days, NaiveDate, NaiveTime, Timelike as _};
use croner::Cron;
use croner::time::Weekday;

/// The last year that is searched.
const LAST_YEAR: i32 = 5_000;
/// Days and weekdays repeat after so many years.
const CYCLE_YEARS: i32 = 400;

/// What an expression matches, ready to be searched.
#[derive(Clone, Debug)]
pub(super) struct WallClockSearch {
    hours: Vec<u32>,
    minutes: Vec<u32>,
    seconds: Vec<u32>,
    /// Whether any calendar has one of its days, such as 30 February.
    has_days: bool,
}

impl WallClockSearch {
    pub(super) fn new(cron: &Cron) -> Self {
        let pattern = &cron.pattern;
        let hours = (0..24).filter(|hour| pattern.hour_match(*hour).unwrap_or(false)).collect();
        let minutes = (0..60).filter(|minute| pattern.minute_match(*minute).unwrap_or(false)).collect();
        let seconds = (0..60).filter(|second| pattern.second_match(*second).unwrap_or(false)).collect();
        let first = NaiveDate::from_ymd_opt(2000, 1, 1).unwrap_or_default();
        let has_days = next_day(first, 2000 + CYCLE_YEARS - 1, |_| true, cron).is_some();
        Self { hours, minutes, seconds, has_days }
    }

    /// Whether it matches a time in each of the 24 hours.
    pub(super) fn is_hourly(&self) -> bool {
        self.hours.len() == 24
    }

    /// The first time from `wall` on, in seconds since 1970-01-01 00:00:00 on the same clock.
    pub(super) fn next(&self, cron: &Cron, wall: i64) -> Option<i64> {
        if !self.has_days {
            return None;
        }
        let from = DateTime::from_timestamp(wall, 0)?.naive_utc();
        let in_year = |year| cron.pattern.year_match(year).unwrap_or(false);
        let day = next_day(from.date(), LAST_YEAR, in_year, cron)?;
        let (day, time) = match self.time(if day == from.date() { from.time() } else { NaiveTime::MIN }) {
            Some(time) => (day, time),
            None => {
                (next_day(day.checked_add_days(Days::new(1))?, LAST_YEAR, in_year, cron)?, self.time(NaiveTime::MIN)?)
            }
        };
        Some(day.and_time(time).and_utc().timestamp())
    }

    /// The first time of day from `from` on.
    fn time(&self, from: NaiveTime) -> Option<NaiveTime> {
        let at = |values: &[u32], least: u32| values.get(values.partition_point(|value| *value < least)).copied();
        let first = |values: &[u32]| values.first().copied();
        let (hour, minute, second) = (from.hour(), from.minute(), from.second());
        let in_minute = || Some((hour, minute, at(&self.seconds, second)?));
        let in_hour = || Some((hour, at(&self.minutes, minute + 1)?, first(&self.seconds)?));
        let later = || Some((at(&self.hours, hour + 1)?, first(&self.minutes)?, first(&self.seconds)?));
        let has = |values: &[u32], value: u32| values.binary_search(&value).is_ok();
        let found = match (has(&self.hours, hour), has(&self.minutes, minute)) {
            (true, true) => in_minute().or_else(in_hour).or_else(later),
            (true, false) => in_hour().or_else(later),
            (false, _) => later(),
        };
        let (hour, minute, second) = found?;
        NaiveTime::from_hms_opt(hour, minute, second)
    }
}

/// The first day from `from` on, and up to the end of the year `last`, that matches; `in_year` says which years do.
fn next_day(from: NaiveDate, last: i32, in_year: impl Fn(i32) -> bool, cron: &Cron) -> Option<NaiveDate> {
    let mut day = from;
    while day.year() <= last {
        day = if !in_year(day.year()) {
            NaiveDate::from_ymd_opt(day.year() + 1, 1, 1)?
        } else if !cron.pattern.month_match(day.month()).unwrap_or(false) {
            let (year, month) = if day.month() == 12 { (day.year() + 1, 1) } else { (day.year(), day.month() + 1) };
            NaiveDate::from_ymd_opt(year, month, 1)?
        } else {
            let weekday = Weekday::from_days_from_sunday(day.weekday().num_days_from_sunday());
            if cron.pattern.day_match(day.year(), day.month(), day.day(), weekday).unwrap_or(false) {
                return Some(day);
            }
            day.succ_opt()?
        };
    }
    None
}
