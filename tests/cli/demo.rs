//! The demo, as somebody sees it who has just built qron.

use std::time::{Duration, Instant};

use crate::program::{Said, command};

#[test]
fn the_demo_ends_as_intended_within_a_minute_and_leaves_nothing_behind() {
    let scratch = tempfile::tempdir().expect("a folder");
    let began = Instant::now();
    let said: Said = command(&["demo", "--exit"])
        .env("TMPDIR", scratch.path())
        .current_dir(scratch.path())
        .output()
        .expect("runs")
        .into();
    let said = said.ok();
    assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
    for part in ["scripted", "3628800", "3660", "12 °C", "42", "404", "18446744073709551616", "5 of 6 tasks completed"]
    {
        assert!(said.out.contains(part), "{part:?} is missing in\n{}", said.out);
    }
    let left: Vec<_> = std::fs::read_dir(scratch.path()).expect("a folder").flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}
