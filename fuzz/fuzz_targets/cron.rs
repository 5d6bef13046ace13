//! Cron expressions and schedules in any text, after a line with the number of a zone and the minutes since 1970: firings go
//! forward, and the latest ones are found from both ends.

#![no_main]

use libfuzzer_sys::fuzz_target;
use qron::domain::schedule::timing::{Recurrence, Timing};
use qron::domain::schedule::zone::Zone;
use qron::domain::time::Timestamp;

const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia"];

fuzz_target!(|input: &str| {
    let Some((numbers, text)) = input.split_once('\n') else { return };
    let (zone, minutes) = numbers.split_once(' ').unwrap_or((numbers, "0"));
    let (zone, minutes) = (zone.parse().unwrap_or(0_usize), minutes.parse().unwrap_or(0_u32));
    let zone: Zone = ZONES[zone % ZONES.len()].parse().expect("a zone");
    let at = Timestamp::from_millis(i64::from(minutes) * 60_000);
    let Ok(timing) = Timing::new(&Recurrence::Cron(text.to_owned()), zone, (None, None), at) else { return };
    let mut last = at;
    for next in timing.upcoming(at).take(50) {
        assert!(next > last);
        last = next;
    }
    if let Some(previous) = timing.previous(at) {
        assert!(previous < at && timing.next(previous).is_none_or(|next| next >= at));
    }
    assert!(timing.latest(Timestamp::default(), at, 100).0.len() <= 100);
});
