//! Firing times in all IANA zones, against a clock that is walked minute by minute.
//!
//! The independent rule: a time of day fires when the clock on the wall first reaches or passes it. So a time in a gap
//! fires as the gap ends, and one that comes twice fires the first time. Expressions that fire in each hour fire
//! whenever the clock shows a time that matches.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, NaiveDateTime, Offset, TimeZone, Timelike};
use chrono_tz::{TZ_VARIANTS, Tz};
use proptest::prelude::*;
use qron::domain::schedule::timing::{Recurrence, Timing};
use qron::domain::schedule::zone::Zone;
use qron::domain::time::Timestamp;
use serde_json::json;

const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// 2025-01-01 and 2030-01-01, in seconds.
const BEGIN: i64 = 1_735_689_600;
const END: i64 = 1_893_456_000;

fn offset(zone: Tz, utc: i64) -> i64 {
    let naive = DateTime::from_timestamp(utc, 0).expect("in range").naive_utc();
    i64::from(zone.offset_from_utc_datetime(&naive).fix().local_minus_utc())
}

/// An expression and what it matches, written down twice.
struct Case {
    text: String,
    hours: BTreeSet<u32>,
    minutes: BTreeSet<u32>,
    /// Days of the week from Sunday.
    days: BTreeSet<u32>,
}

impl Case {
    fn new(text: &str, hours: impl IntoIterator<Item = u32>, minutes: impl IntoIterator<Item = u32>) -> Self {
        Self {
            text: text.to_owned(),
            hours: hours.into_iter().collect(),
            minutes: minutes.into_iter().collect(),
            days: (0..7).collect(),
        }
    }

    fn matches(&self, wall: NaiveDateTime) -> bool {
        self.minutes.contains(&wall.minute())
            && self.hours.contains(&wall.hour())
            && self.days.contains(&wall.weekday().num_days_from_sunday())
    }

    /// Firings after `from` and up to `until`, both in seconds on whole minutes.
    fn walk(&self, zone: Tz, from: i64, until: i64) -> Vec<i64> {
        let show = |utc: i64| utc + offset(zone, utc);
        let naive = |wall: i64| DateTime::from_timestamp(wall, 0).expect("in range").naive_utc();
        let hourly = self.hours.len() == 24;
        // Far enough back to have seen whatever comes twice.
        let begin = from - 30 * HOUR;
        let (mut high, mut found) = (show(begin), Vec::new());
        for utc in (begin..=until).step_by(60) {
            let wall = show(utc);
            let fires = if hourly {
                self.matches(naive(wall))
            } else {
                (high + MINUTE..=wall).step_by(60).any(|passed| self.matches(naive(passed)))
            };
            high = high.max(wall);
            if fires && utc > from {
                found.push(utc);
            }
        }
        found
    }

    fn computed(&self, zone: Tz, from: i64, until: i64) -> Vec<i64> {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let spec = Recurrence::Cron(self.text.clone());
        // As stored schedules name it: no new one may be made in EST and its like, which the database has, too.
        let zone: Zone = serde_json::from_value(json!(zone.name())).expect("a zone");
        let timing = Timing::new(&spec, zone, (None, None), at(from)).expect("a timing");
        let firings = timing.upcoming(at(from)).take_while(|firing| *firing <= at(until));
        firings.map(|firing| firing.as_millis() / 1000).collect()
    }

    fn check(&self, zone: Tz, from: i64, until: i64) {
        let (walked, computed) = (self.walk(zone, from, until), self.computed(zone, from, until));
        assert_eq!(computed, walked, "{} in {zone} from {from} to {until}", self.text);
    }
}

/// Times of day that lie in gaps and repeated hours wherever these are, and expressions for each hour.
fn cases() -> Vec<Case> {
    vec![
        Case::new("30 2 * * *", [2], [30]),
        Case::new("@daily", [0], [0]),
        Case::new("15,45 0-3 * * *", 0..=3, [15, 45]),
        Case::new("*/20 1,2,23 * * *", [1, 2, 23], [0, 20, 40]),
        Case::new("0 */2 * * *", (0..24).step_by(2), [0]),
        Case::new("* 2 * * *", [2], 0..60),
        Case { days: BTreeSet::from([0]), ..Case::new("5 0,2,12 * * SUN", [0, 2, 12], [5]) },
        Case::new("30 * * * *", 0..24, [30]),
        Case::new("*/7 * * * *", 0..24, (0..60).step_by(7)),
        Case::new("* * * * *", 0..24, 0..60),
    ]
}

/// The minutes at which a zone sets its clock, in five years.
fn transitions(zone: Tz) -> Vec<i64> {
    let mut found = Vec::new();
    for day in (BEGIN..END).step_by(usize::try_from(DAY).expect("positive")) {
        let (mut before, mut after) = (day, day + DAY);
        if offset(zone, before) == offset(zone, after) {
            continue;
        }
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            if offset(zone, middle) == offset(zone, before) { before = middle } else { after = middle }
        }
        found.push(after);
    }
    found
}

/// Each way in which any zone sets its clock: from which offset to which, and at what time of the day.
#[test]
fn each_kind_of_clock_change_is_right() {
    let (mut kinds, mut checked) = (BTreeSet::new(), 0);
    let cases = cases();
    for zone in TZ_VARIANTS {
        for at in transitions(zone) {
            let (before, after) = (offset(zone, at - 1), offset(zone, at));
            if kinds.insert((after - before, (at + before).rem_euclid(DAY), before.rem_euclid(HOUR))) {
                for case in &cases {
                    case.check(zone, at - 5 * HOUR, at + 26 * HOUR);
                }
                checked += 1;
            }
        }
    }
    // An hour and half an hour, on and back, at midnight and at night, on whole and half hours.
    assert!(checked >= 10, "the zones set their clocks in {checked} ways only: {kinds:?}");
}

#[test]
fn every_zone_fires_right_over_its_next_clock_changes() {
    let (daily, hourly) = (&cases()[2], &cases()[7]);
    for zone in TZ_VARIANTS {
        let changes = transitions(zone);
        for at in changes.iter().take(2).copied().chain(changes.is_empty().then_some(BEGIN + 90 * DAY)) {
            daily.check(zone, at - 5 * HOUR, at + 6 * HOUR);
            hourly.check(zone, at - 5 * HOUR, at + 6 * HOUR);
        }
    }
}

/// All zones, all their changes in five years, all expressions; two minutes in a debug build.
#[test]
#[ignore = "exhaustive: run it by name after a change of the computation"]
fn every_clock_change_of_every_zone_in_five_years_is_right() {
    let cases = cases();
    for zone in TZ_VARIANTS {
        for at in transitions(zone) {
            for case in &cases {
                case.check(zone, at - 30 * HOUR, at + 30 * HOUR);
            }
        }
    }
}

/// Seconds, walked second by second over both changes of a year.
#[test]
fn seconds_are_right_too() {
    let zone: Tz = "Europe/Berlin".parse().expect("a zone");
    for at in transitions(zone).into_iter().take(2) {
        let timing = |text: &str| {
            let begin = Timestamp::from_millis((at - HOUR) * 1000);
            let spec = Recurrence::Cron(text.to_owned());
            let timing = Timing::new(&spec, "Europe/Berlin".parse().expect("a zone"), (None, None), begin);
            let end = Timestamp::from_millis((at + HOUR) * 1000);
            let timing = timing.expect("a timing");
            timing.upcoming(begin).take_while(|firing| *firing <= end).collect::<Vec<_>>()
        };
        let seconds = |utc: i64| (utc + offset(zone, utc)).rem_euclid(60);
        let walked: Vec<_> = (at - HOUR + 1..=at + HOUR).filter(|utc| [7, 40].contains(&seconds(*utc))).collect();
        let computed: Vec<_> = timing("7,40 * * * * *").iter().map(|firing| firing.as_millis() / 1000).collect();
        assert!(computed == walked, "at {at}");
        assert_eq!(timing("* * * * * *").len(), 7_200, "each second means each second");
    }
}

#[test]
fn days_that_a_zone_has_left_out_are_made_up_for() {
    // Samoa had no 2011-12-30.
    let zone: Tz = "Pacific/Apia".parse().expect("a zone");
    let midnight = 1_325_239_200;
    assert_eq!(offset(zone, midnight) - offset(zone, midnight - 1), DAY);
    for case in cases() {
        if case.hours.len() < 24 {
            let computed = case.computed(zone, midnight - DAY, midnight + DAY);
            let walked = case.walk(zone, midnight - DAY, midnight + DAY);
            assert_eq!(computed, walked, "{}", case.text);
        }
    }
}

fn list(numbers: &BTreeSet<u32>) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_times_in_any_zone_are_right(
        zone in proptest::sample::select(TZ_VARIANTS.to_vec()),
        minutes in proptest::collection::btree_set(0_u32..60, 1..4),
        hours in proptest::collection::btree_set(0_u32..24, 1..5),
        days in proptest::collection::btree_set(0_u32..7, 1..=7),
        place in 0_usize..64,
        minute in 0_i64..2_880,
    ) {
        let changes = transitions(zone);
        let near = if changes.is_empty() { BEGIN + DAY } else { changes[place % changes.len()] };
        let from = near - near.rem_euclid(MINUTE) - minute * MINUTE;
        let text = format!("{} {} * * {}", list(&minutes), list(&hours), list(&days));
        Case { text, hours, minutes, days }.check(zone, from, from + 2 * DAY);
    }

    #[test]
    fn the_latest_firings_are_the_last_of_all(
        zone in proptest::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
        text in proptest::sample::select(vec!["* * * * *", "*/7 2 * * *", "@daily", "*/30 * * * * *", "0 0 1 * *"]),
        begin in BEGIN..END,
        length in 0_i64..3 * DAY,
        most in 1_usize..40,
    ) {
        let (after, until) = (Timestamp::from_millis(begin * 1000), Timestamp::from_millis((begin + length) * 1000));
        let zone = zone.parse().expect("a zone");
        let timing = Timing::new(&Recurrence::Cron(text.to_owned()), zone, (None, None), after).expect("a timing");
        let all: Vec<_> = timing.upcoming(after).take_while(|at| *at <= until).collect();
        let (latest, older) = timing.latest(after, until, most);
        prop_assert_eq!(&latest[..], &all[all.len().saturating_sub(most)..]);
        prop_assert_eq!(older, all.len() > most);
        let previous = timing.previous(until).filter(|at| *at > after);
        prop_assert_eq!(previous, all.iter().rev().find(|at| **at < until).copied());
    }

    #[test]
    fn no_expression_makes_the_parser_panic(text in "[ -~]{0,30}") {
        let zone = "Europe/Berlin".parse().expect("a zone");
        let begin = Timestamp::from_millis(BEGIN * 1000);
        if let Ok(timing) = Timing::new(&Recurrence::Cron(text), zone, (None, None), begin) {
            let firings: Vec<_> = timing.upcoming(begin).take(3).collect();
            prop_assert!(firings.is_sorted());
        }
    }

    #[test]
    fn no_expression_of_cron_letters_makes_the_parser_panic(
        fields in proptest::collection::vec("[0-9*/,LW#?A-F-]{1,6}|\\*|[0-9]{1,2}", 5..8),
    ) {
        let begin = Timestamp::from_millis(BEGIN * 1000);
        let spec = Recurrence::Cron(fields.join(" "));
        if let Ok(timing) = Timing::new(&spec, "UTC".parse().expect("a zone"), (None, None), begin) {
            prop_assert!(timing.upcoming(begin).take(3).collect::<Vec<_>>().is_sorted());
        }
    }
}

#[test]
fn intervals_count_from_the_start_and_ends_hold() {
    let at = |ms: i64| Timestamp::from_millis(ms);
    let zone = || "UTC".parse().expect("a zone");
    let fires = |spec: Recurrence, start: Option<i64>, end: Option<i64>, after: i64| {
        let timing = Timing::new(&spec, zone(), (start.map(at), end.map(at)), at(500)).expect("a timing");
        timing.upcoming(at(after)).take(3).map(Timestamp::as_millis).collect::<Vec<_>>()
    };
    assert_eq!(fires(Recurrence::EveryMs(10_000), None, None, 500), [10_500, 20_500, 30_500]);
    assert_eq!(fires(Recurrence::EveryMs(10_000), Some(15_000), Some(25_000), 500), [15_000, 25_000]);
    assert_eq!(fires(Recurrence::EveryMs(10_000), Some(15_000), None, 24_999), [25_000, 35_000, 45_000]);
    assert_eq!(fires(Recurrence::At(at(7_000)), None, None, 6_999), [7_000]);
    assert_eq!(fires(Recurrence::At(at(7_000)), None, None, 7_000), [0; 0]);
    assert_eq!(fires(Recurrence::At(at(7_000)), Some(8_000), None, 0), [0; 0]);
    let error = Timing::new(&Recurrence::EveryMs(10), zone(), (None, None), at(0)).expect_err("too short").to_string();
    assert!(error.contains("1s or more"), "{error}");
    assert!(Timing::new(&Recurrence::EveryMs(5_000), zone(), (Some(at(9)), Some(at(9))), at(0)).is_err());
}
