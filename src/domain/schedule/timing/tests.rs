//! Firings that lie close together, far apart, or nowhere.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// 2026-07-30T12:00:00Z
const NOW: Timestamp = Timestamp::from_millis(1_785_412_800_000);

fn timing(cron: &str, zone: &str) -> Timing {
    let zone = zone.parse().expect("a zone");
    Timing::new(&Recurrence::Cron(cron.to_owned()), zone, (None, None), NOW).expect("valid")
}

fn at(text: &str) -> Timestamp {
    Timestamp::read(&text.into()).expect("a time")
}

#[test]
fn the_latest_firings_are_found_wherever_they_lie() {
    let began = Instant::now();
    for (cron, previous, count) in [
        ("* * * * * * 1970-2020,2030", Some("2020-12-31T23:59:59Z"), 1_000),
        ("* * * * * *", Some("2026-07-30T11:59:59Z"), 1_000),
        ("* * * * * * 1970", Some("1970-12-31T23:59:59Z"), 1_000),
        ("* * * 1 1 * 1990", Some("1990-01-01T23:59:59Z"), 1_000),
        ("0 0 0 29 2 *", Some("2024-02-29T00:00:00Z"), 14),
        ("0 0 30 2 *", None, 0),
        ("* * * * * * 2030-4999", None, 0),
        ("0 0 0 1 1 * 1980,2026", Some("2026-01-01T00:00:00Z"), 2),
        ("* * 0 1 1 * *", Some("2026-01-01T00:59:59Z"), 1_000),
    ] {
        let timing = timing(cron, "UTC");
        assert_eq!(timing.previous(NOW), previous.map(at), "{cron}");
        let (latest, older) = timing.latest(Timestamp::default(), NOW.plus_millis(-1), 1_000);
        assert_eq!((latest.len(), latest.last().copied()), (count, previous.map(at)), "{cron}");
        assert_eq!(older, count == 1_000, "{cron}");
        assert!(timing.count(Timestamp::default(), NOW, 10_000) >= count, "{cron}");
    }
    // Every second of fifty years is a thousand million firings.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_latest_firings_are_those_that_a_count_from_the_beginning_ends_with(
        cron in prop_oneof![
            Just("*/7 * * * * *"), Just("0 */11 1,2 * * *"), Just("* 0 3 * * *"), Just("0 30 2 * * *"), Just("0 0 */5 * * *"),
            Just("*/20 * * 29-30 3 *"), Just("0 0 0 * * MON#1"), Just("0 0 * * * *"),
        ],
        zone in prop_oneof![Just("UTC"), Just("Europe/Berlin"), Just("America/New_York"), Just("Australia/Lord_Howe")],
        start in 0_i64..300 * 86_400,
        width in 1_i64..3 * 86_400,
        most in 1_usize..40,
    ) {
        let timing = timing(cron, zone);
        let after = at("2026-01-01T00:00:00Z").plus_millis(start * 1_000 + 500);
        let until = after.plus_millis(width * 1_000);
        let all: Vec<Timestamp> = timing.upcoming(after).take_while(|at| *at <= until).collect();
        let (latest, older) = timing.latest(after, until, most);
        prop_assert_eq!(&latest, &all[all.len().saturating_sub(most)..]);
        prop_assert_eq!(older, all.len() > most);
        let previous = timing.previous(until);
        prop_assert!(previous.is_none_or(|previous| previous < until && timing.next(previous).is_some_and(|next| next >= until)));
    }
}
