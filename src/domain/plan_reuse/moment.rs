//! A moment on a wall clock, taken apart, so that two moments can be compared by day, week, month and hour.

use chrono::{Datelike as _, NaiveDate};
use serde::{Deserialize, Serialize};

use crate::domain::calendar_words::{MONTHS, WEEKDAYS, abbreviated};
use crate::domain::schedule::zone::Zone;
use crate::domain::time::Timestamp;

/// The time that a model was told, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The day, as 2026-01-31.
    pub date: String,
    /// Hour of the day, two digits.
    pub hour: String,
    /// Minute of the hour, two digits.
    pub minute: String,
}

impl Moment {
    /// The moment `at` in `zone`.
    #[must_use]
    pub fn of(at: Timestamp, zone: Zone) -> Self {
        let shown = zone.show(at);
        let part = |from: usize, to: usize| shown.get(from..to).unwrap_or_default().to_owned();
        Self { date: part(0, 10), hour: part(11, 13), minute: part(14, 16) }
    }

    fn day(&self) -> Option<NaiveDate> {
        NaiveDate::parse_from_str(&self.date, "%Y-%m-%d").ok()
    }

    /// What a plan may have been made for: day, week, month, year, weekday and hour, in a fixed order.
    pub(super) fn components(&self) -> [String; 6] {
        let Some(day) = self.day() else { return Default::default() };
        let week = day.iso_week();
        [
            self.date.clone(),
            format!("{}-{}", week.year(), week.week()),
            format!("{}-{}", day.year(), day.month()),
            day.year().to_string(),
            day.weekday().to_string(),
            self.hour.clone(),
        ]
    }

    /// The days that a plan may name: this one, the one before and the one after.
    pub(super) fn days(&self) -> Vec<(&'static str, String)> {
        let Some(day) = self.day() else { return Vec::new() };
        let days = [("date", Some(day)), ("day_before", day.pred_opt()), ("day_after", day.succ_opt())];
        days.into_iter().filter_map(|(name, day)| Some((name, day?.format("%Y-%m-%d").to_string()))).collect()
    }

    /// The words and numbers of this moment, in lower case and without zeros in front: those of its day and the days beside it,
    /// of hour and minute.
    pub(super) fn words(&self) -> Vec<String> {
        let Some(day) = self.day() else { return Vec::new() };
        let bare = |text: &str| match text.trim_start_matches('0') {
            "" => "0".to_owned(),
            digits => digits.to_owned(),
        };
        let mut words = vec![bare(&self.hour), bare(&self.minute)];
        for day in [Some(day), day.pred_opt(), day.succ_opt()].into_iter().flatten() {
            words.extend([day.year().to_string(), day.month().to_string(), day.day().to_string()]);
            let named = [MONTHS[day.month0() as usize], WEEKDAYS[day.weekday().num_days_from_monday() as usize]];
            words.extend(named.into_iter().flat_map(|name| [abbreviated(name), name]).map(str::to_owned));
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_knows_its_day_and_the_days_beside_it() {
        let zone: Zone = "Europe/Berlin".parse().expect("a zone");
        let moment = Moment::of(Timestamp::from_millis(1_796_077_500_000), zone);
        assert_eq!((moment.date.as_str(), moment.hour.as_str(), moment.minute.as_str()), ("2026-11-30", "23", "25"));
        assert_eq!(moment.components()[1..5], ["2026-49", "2026-11", "2026", "Mon"].map(str::to_owned));
        let words = moment.words();
        for word in ["2026", "11", "30", "29", "1", "12", "23", "25", "monday", "december", "nov"] {
            assert!(words.iter().any(|known| known == word), "{word} of {words:?}");
        }
    }
}
