//! What expressions match, and what is said of wrong ones.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use chrono::{DateTime, Datelike as _, NaiveDateTime, Timelike as _};
use croner::time::{CivilDate, CivilDateTime, CivilTime, CronDateTime, Resolution, Weekday};
use proptest::prelude::*;

use super::*;

fn said(text: &str) -> String {
    CronExpression::parse(text).expect_err("wrong").to_string()
}

/// The first matches after 2026-01-01 00:00:00, a Thursday.
fn matches(text: &str, count: usize) -> Vec<String> {
    let cron = CronExpression::parse(text).expect("right");
    let mut wall = 1_767_225_600;
    let mut found = Vec::new();
    for _ in 0..count {
        wall = cron.next_wall(wall).expect("a match") + 1;
        found.push(Wall(wall - 1).naive().to_string());
    }
    found
}

#[test]
fn the_names_that_users_of_cron_know_work() {
    assert_eq!(matches("@daily", 2), ["2026-01-01 00:00:00", "2026-01-02 00:00:00"]);
    assert_eq!(matches("@midnight", 1), matches("@DAILY", 1));
    assert_eq!(matches("@weekly", 1), ["2026-01-04 00:00:00"]);
    assert_eq!(matches("@monthly", 2), ["2026-01-01 00:00:00", "2026-02-01 00:00:00"]);
    assert_eq!(matches("@yearly", 2), ["2026-01-01 00:00:00", "2027-01-01 00:00:00"]);
    assert_eq!(matches("@hourly", 2), ["2026-01-01 00:00:00", "2026-01-01 01:00:00"]);
    assert_eq!(matches("0 12 L * *", 2), ["2026-01-31 12:00:00", "2026-02-28 12:00:00"]);
    assert_eq!(matches("0 12 * * FRI#2", 2), ["2026-01-09 12:00:00", "2026-02-13 12:00:00"]);
    assert_eq!(matches("0 12 * * FRI#L", 1), ["2026-01-30 12:00:00"]);
    assert_eq!(matches("30 9 * feb,MAR mon-fri", 1), ["2026-02-02 09:30:00"]);
    assert_eq!(matches("0 9 * * 7", 1), matches("0 9 * * sun", 1));
    assert_eq!(matches("15 * * * * *", 2), ["2026-01-01 00:00:15", "2026-01-01 00:01:15"]);
    assert_eq!(matches("0 0 0 1 1 * 2030", 1), ["2030-01-01 00:00:00"]);
    assert_eq!(matches("0 9 15W * *", 2), ["2026-01-15 09:00:00", "2026-02-16 09:00:00"]);
}

#[test]
fn a_wrong_expression_says_where() {
    let error = said("0 25 * * *");
    assert!(error.contains("hour \"25\" at character 3") && error.contains("0-23"), "{error}");
    let error = said("0  9 * * MON,FRY");
    assert!(error.contains("day of week \"FRY\" at character 14"), "{error}");
    assert!(said("* * 32 * *").contains("day of month \"32\" at character 5"));
    assert!(said("0 MON * * *").contains("hour \"MON\" at character 3"), "names belong to their field");
    assert!(said("5,,6 * * * *").contains("minute \"\" at character 3"));
    assert!(said("*/0 * * * *").contains("minute \"*/0\" at character 1"));
    assert!(said("* * * 13 *").contains("month \"13\" at character 7"));
    assert!(said("60 * * * * *").contains("second \"60\" at character 1"));
    assert!(said("* * * * MON#6").contains("day of week \"MON#6\" at character 9"));
    assert!(said("every day").contains("2 fields"));
    assert!(said("").contains("0 fields"));
    assert!(said("@dayly").contains("@daily"));
    assert!(said("ü * * * *").contains("minute \"ü\" at character 1"));
    assert!(said(&"9".repeat(201)).contains("201 characters"));
}

#[test]
fn what_would_silently_mean_something_else_is_refused() {
    for (text, expected) in [
        ("0 9 * * SUN1", "day of week \"SUN1\" at character 9"),
        ("0 9 1 JAN1 *", "month \"JAN1\" at character 7"),
        ("0 9 * * 0MON", "day of week \"0MON\" at character 9"),
        ("0 9 * * FRI2L", "day of week \"FRI2L\" at character 9"),
        ("0 9 15W3 * *", "day of month \"15W3\" at character 5"),
        ("0 9 LW5 * *", "day of month \"LW5\" at character 5"),
        ("0 9 W15 * *", "day of month \"W15\" at character 5"),
        ("0 9 L,LW * *", "day of month \"LW\" at character 7: L and LW do not go together"),
        ("0 9 * * L", "day of week \"L\" at character 9: L alone"),
        ("0 9 1 * L", "day of week \"L\" at character 9: L alone"),
        ("0 9 * * MON-FRI#2", "day of week \"MON-FRI#2\" at character 9"),
        ("0 9 L/2 * *", "day of month \"L/2\" at character 5"),
        ("*/90 * * * *", "minute \"*/90\" at character 1: a step of 90 is longer than the field: use at most 60"),
        ("0 */25 * * *", "use at most 24"),
        ("0 22-2 * * *", "hour \"22-2\" at character 3: the range goes backwards: write 22-23,0-2"),
        ("0 9 * * FRI-MON", "write FRI-SAT,SUN-MON"),
        ("0 9 * * fri-sun", "write FRI-SAT,SUN;"),
        ("0 9 * * 6-0", "write 6,0;"),
        ("0 9 * * 7-2", "write 0-2;"),
        ("0 9 * NOV-FEB *", "write NOV-DEC,JAN-FEB"),
        ("0 0 9 1 1 * 2031-2030", "the range goes backwards;"),
        ("/10 * * * *", "use */10"),
        ("0 9 1-2-3 * *", "day of month \"1-2-3\" at character 5"),
    ] {
        let error = said(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn what_is_right_is_not_refused_for_its_form() {
    for text in [
        "0 9 ? * MON",
        "0 9 LW * *",
        "0 9 1,L * *",
        "0 9 * * FRIL",
        "0 9 * * 5L",
        "0 9 * * 5#2,1#L",
        "0 9 * * 5-7",
        "0 9 13 * +FRI",
        "0 9 */31 * *",
        "*/60 * * * *",
        "0 0-12/3 * jan-MAR/2 *",
        "0 9 * * MON,WED-FRI",
        "05 09 01 01 *",
    ] {
        assert!(CronExpression::parse(text).is_ok(), "{text}: {}", said(text));
    }
}

#[test]
fn hourly_means_each_of_the_24_hours() {
    for (text, hourly) in
        [("*/5 * * * *", true), ("0 0-23 * * *", true), ("0 */2 * * *", false), ("* 9 * * *", false), ("@daily", false)]
    {
        assert_eq!(CronExpression::parse(text).expect("right").is_hourly(), hourly, "{text}");
    }
}

#[test]
fn what_never_comes_is_known_to_never_come() {
    let cron = CronExpression::parse("0 0 30 2 *").expect("right");
    assert_eq!(cron.next_wall(0), None);
}

/// Expressions whose days are far away, or nowhere.
#[test]
fn a_search_ends_soon_wherever_the_next_day_is() {
    let began = Instant::now();
    for (text, next) in [
        ("0 0 30 2 *", None),
        ("0 0 31 2,4,6,9,11 *", None),
        ("* * * 30-31 2 *", None),
        ("0 0 31 * +SUN#1", None),
        ("0 0 1-7 * +MON#5", None),
        ("0 0 29 2 +MON", Some("2044-02-29 00:00:00")),
        ("0 0 0 29 2 * 2027-4999/2", None),
        ("* * * * * * 1970-2020", None),
        ("* * * * * * 1970-2020,2030", Some("2030-01-01 00:00:00")),
        ("* * * * * * 4999", Some("4999-01-01 00:00:00")),
        ("0 0 0 29 2 +MON 2027-4999/2,4996", Some("4996-02-29 00:00:00")),
    ] {
        let cron = CronExpression::parse(text).expect("right");
        for _ in 0..10 {
            let found = cron.next_wall(1_767_225_600).map(|wall| Wall(wall).naive().to_string());
            assert_eq!(found.as_deref(), next, "{text}");
        }
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

/// A time on a clock on the wall, without zone: seconds since 1970-01-01 00:00:00 on the same clock.
#[derive(Clone, Copy)]
struct Wall(i64);

impl Wall {
    fn naive(self) -> NaiveDateTime {
        DateTime::from_timestamp(self.0, 0).unwrap_or_default().naive_utc()
    }
}

impl CronDateTime for Wall {
    fn to_civil(&self) -> CivilDateTime {
        let naive = self.naive();
        CivilDateTime::new(
            CivilDate::from_parts_unchecked(naive.year(), naive.month(), naive.day()),
            CivilTime::from_parts_unchecked(naive.hour(), naive.minute(), naive.second()),
        )
    }

    fn civil_weekday(&self) -> Weekday {
        Weekday::from_days_from_sunday(self.naive().weekday().num_days_from_sunday())
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let naive = chrono::NaiveDate::from_ymd_opt(civil.year(), civil.month(), civil.day())
            .and_then(|date| date.and_hms_opt(civil.hour(), civil.minute(), civil.second()))
            .ok_or(CronError::InvalidDate)?;
        Ok(Resolution::Single(Self(naive.and_utc().timestamp())))
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(seconds).map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

/// A part of a field whose values are `low` to `high`.
fn part(low: u32, high: u32) -> impl Strategy<Value = String> {
    let value = move || low..=high;
    prop_oneof![
        3 => Just("*".to_owned()),
        3 => value().prop_map(|value| value.to_string()),
        1 => (value(), value()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (1..=high - low).prop_map(|step| format!("*/{step}")),
        1 => (value(), value()).prop_map(|(a, b)| format!("{a},{b}")),
    ]
}

fn expression() -> impl Strategy<Value = String> {
    let days = prop_oneof![6 => part(1, 31), 1 => Just("L".to_owned()), 1 => Just("LW".to_owned()), 1 => Just("15W".to_owned())];
    let weekdays = prop_oneof![
        6 => part(0, 6), 1 => Just("FRI#2".to_owned()), 1 => Just("MON#L".to_owned()), 1 => Just("+SUN".to_owned())
    ];
    let years = prop_oneof![2 => Just("*".to_owned()), 1 => part(2020, 2060)];
    (part(0, 59), part(0, 59), part(0, 23), days, part(1, 12), weekdays, years).prop_map(
        |(second, minute, hour, day, month, weekday, year)| {
            format!("{second} {minute} {hour} {day} {month} {weekday} {year}")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_found_is_what_the_parser_s_own_search_finds(text in expression(), wall in 1_500_000_000_i64..2_500_000_000) {
        let cron = CronExpression::parse(&text).expect("right");
        let found = cron.next_wall(wall);
        let other = cron.cron.find_next_occurrence(&Wall(wall), true).ok().map(|Wall(next)| next);
        prop_assert_eq!(found, other, "{}", text);
        if let Some(found) = found {
            prop_assert!(found >= wall);
            prop_assert_eq!(cron.next_wall(found), Some(found));
        }
    }

    #[test]
    fn no_text_breaks_the_reader(text in "[-0-9*/,#LW+@?A-Za-z \\u{e9}]{0,60}") {
        if let Ok(cron) = CronExpression::parse(&text) {
            let found = cron.next_wall(1_767_225_600);
            prop_assert!(found.is_none_or(|found| found >= 1_767_225_600));
        }
    }
}
