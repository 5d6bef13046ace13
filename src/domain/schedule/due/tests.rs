use serde_json::json;

use super::*;
use crate::domain::schedule::{AnnouncedFiring, Definition, firing_id};

mod manual_trigger;

/// 2026-01-01 00:00:00 UTC.
const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const LATE_MS: u64 = 30_000;
const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// A schedule each `every` seconds, whose cursor is `behind_ms` ago.
fn schedule(every_s: i64, behind_ms: i64, policies: &serde_json::Value) -> Schedule {
    let mut definition = json!({"spec": {"every_ms": every_s * SECOND}, "zone": "UTC", "task": {"goal": "x"}});
    let fields = definition.as_object_mut().expect("an object");
    fields.extend(policies.as_object().expect("policies").clone());
    let definition: Definition = serde_json::from_value(definition).expect("a definition");
    Schedule::new("s", definition, NOW.plus_millis(-behind_ms))
}

fn round(schedule: &Schedule, alive: &[TaskId]) -> FiringPlan {
    let alive: Vec<LiveTask> = alive.iter().map(|id| LiveTask { id: *id, makes_up: false }).collect();
    plan_firings(schedule, NOW, LATE_MS, &alive).expect("a round")
}

/// The same where one task is alive that makes up for a firing of the past.
fn round_beside_one_made_up_for(schedule: &Schedule) -> FiringPlan {
    plan_firings(schedule, NOW, LATE_MS, &[LiveTask { id: OTHER, makes_up: true }]).expect("a round")
}

/// A firing `at_s` seconds from now that waits.
const fn waiting(at_s: i64, backfill: bool) -> QueuedFiring {
    QueuedFiring { at: NOW.plus_millis(at_s * SECOND), backfill, overlap: None, task: None }
}

fn started(round: &FiringPlan) -> Vec<i64> {
    round.starts.iter().map(|start| (start.at.as_millis() - NOW.as_millis()) / SECOND).collect()
}

fn skipped(round: &FiringPlan) -> Vec<(i64, SkipReason)> {
    round.skips.iter().map(|skip| ((skip.at.as_millis() - NOW.as_millis()) / SECOND, skip.reason)).collect()
}

const OTHER: TaskId = TaskId::Number(7);

#[test]
fn a_firing_that_has_come_starts_once() {
    let mut due = schedule(10, 10 * SECOND, &json!({}));
    let first = round(&due, &[]);
    assert_eq!(started(&first), [0]);
    assert_eq!((first.starts[0].cause, first.starts[0].id), (FiringCause::OnTime, firing_id("s", NOW)));
    assert_eq!(first.progress.announced, Some(AnnouncedFiring { at: NOW, task: firing_id("s", NOW) }));
    assert_eq!(next_check(&due, NOW), Ok(NextCheck::Now));
    due.progress = first.progress;
    assert_eq!(next_check(&due, NOW), Ok(NextCheck::At(NOW.plus_millis(10 * SECOND))));
    let second = round(&due, &[]);
    assert_eq!((started(&second), second.progress), (vec![], due.progress.clone()));
}

#[test]
fn a_paused_schedule_does_nothing() {
    let paused = Schedule { paused: true, ..schedule(10, DAY, &json!({"overlap": "queue"})) };
    assert_eq!(next_check(&paused, NOW), Ok(NextCheck::Never));
    let round = round(&paused, &[]);
    assert_eq!((round.starts, round.skips, round.progress), (vec![], vec![], paused.progress));
}

#[test]
fn of_missed_firings_the_latest_is_made_up_for() {
    let asleep = schedule(3600, 3 * HOUR + 60 * SECOND, &json!({}));
    // Created three hours and a minute ago: firings 2:01, 1:01 and 0:01 hours ago.
    let found = round(&asleep, &[]);
    assert_eq!(started(&found), [-60]);
    assert_eq!(found.starts[0].cause, FiringCause::CaughtUp);
    assert_eq!(skipped(&found), [(-7260, SkipReason::Missed), (-3660, SkipReason::Missed)]);
}

#[test]
fn a_firing_on_time_takes_the_place_of_missed_ones() {
    let asleep = schedule(3600, 2 * HOUR, &json!({}));
    let found = round(&asleep, &[]);
    assert_eq!((started(&found), skipped(&found)), (vec![0], vec![(-3600, SkipReason::Missed)]));
}

#[test]
fn without_catching_up_missed_firings_are_recorded() {
    let asleep = schedule(3600, 2 * HOUR + 60 * SECOND, &json!({"catch_up": "none"}));
    let found = round(&asleep, &[]);
    assert_eq!(started(&found), [0; 0]);
    assert_eq!(skipped(&found), [(-3660, SkipReason::Missed), (-60, SkipReason::Missed)]);
    assert_eq!(found.progress.cursor, NOW.plus_millis(-60 * SECOND));
}

#[test]
fn all_within_the_window_are_made_up_for() {
    let policies = json!({"catch_up": "all", "catch_up_window_ms": 2 * HOUR, "overlap": "allow"});
    let found = round(&schedule(3600, 5 * HOUR + 60 * SECOND, &policies), &[]);
    assert_eq!(started(&found), [-3660, -60]);
    assert_eq!(skipped(&found).len(), 3);
}

#[test]
fn a_month_of_sleep_does_not_write_millions() {
    for catch_up in ["none", "latest", "all"] {
        let policies = json!({"catch_up": catch_up, "catch_up_window_ms": 40 * DAY, "overlap": "allow"});
        let found = round(&schedule(1, 30 * DAY, &policies), &[]);
        assert!(found.starts.len() <= MAX_FIRINGS && found.skips.len() <= MAX_RECORDED, "{catch_up}");
        let summary = found.summary.expect("a summary");
        assert_eq!((summary.count, summary.more), (MAX_COUNTED, true));
        let first = found.skips.first().map(|skip| skip.at).or(found.starts.first().map(|start| start.at));
        assert_eq!(Some(summary.until), first, "{catch_up}: nothing is left out between the summary and the rest");
        assert_eq!(found.progress.cursor, NOW);
    }
}

#[test]
fn a_summary_counts_what_is_not_recorded() {
    let found = round(&schedule(60, 300 * 60 * SECOND, &json!({"catch_up": "none"})), &[]);
    // 300 firings, the last of them on time.
    assert_eq!((started(&found), found.skips.len()), (vec![0], MAX_RECORDED));
    assert_eq!(found.summary.expect("a summary").count, 300 - 1 - MAX_RECORDED);
}

#[test]
fn an_overlapping_firing_is_skipped() {
    let due = schedule(10, 20 * SECOND, &json!({}));
    let quiet = round(&due, &[]);
    assert_eq!((started(&quiet), skipped(&quiet)), (vec![-10], vec![(0, SkipReason::Overlap)]));
    let busy = round(&due, &[OTHER]);
    assert_eq!(started(&busy), [0; 0]);
    assert_eq!(skipped(&busy).len(), 2);
}

#[test]
fn what_another_replica_has_started_already_overlaps_with_nothing() {
    for overlap in ["skip", "queue", "cancel_previous"] {
        let due = schedule(10, 10 * SECOND, &json!({"overlap": overlap}));
        let found = round(&due, &[firing_id("s", NOW)]);
        assert_eq!((started(&found), found.skips, found.progress.queue), (vec![0], vec![], vec![]), "{overlap}");
        assert_eq!((found.cancel_before, found.progress.announced), (None, None), "nothing new begins");
    }
}

#[test]
fn what_may_overlap_is_not_announced() {
    let found = round(&schedule(10, 20 * SECOND, &json!({"overlap": "allow"})), &[OTHER]);
    assert_eq!((started(&found), found.progress.announced), (vec![-10, 0], None));
}

#[test]
fn queued_firings_start_one_after_the_other() {
    let mut due = schedule(10, 20 * SECOND, &json!({"overlap": "queue"}));
    let found = round(&due, &[OTHER]);
    assert_eq!((started(&found), found.progress.queue.len()), (vec![], 2));
    due.progress = found.progress;
    let next = round(&due, &[]);
    assert_eq!((started(&next), next.starts[0].cause), (vec![-10], FiringCause::Queued));
    due.progress = next.progress;
    assert_eq!(started(&round(&due, &[next.starts[0].id])), [0; 0]);
}

#[test]
fn the_queue_is_bounded() {
    let mut due = schedule(10, 10 * SECOND, &json!({"overlap": "queue"}));
    due.progress.queue = vec![waiting(-1, true); MAX_QUEUE];
    let found = round(&due, &[OTHER]);
    assert_eq!(skipped(&found), [(0, SkipReason::QueueFull)]);
    assert_eq!(found.progress.queue.len(), MAX_QUEUE);
}

#[test]
fn a_later_firing_cancels_earlier_ones_and_waits_for_their_end() {
    let mut due = schedule(10, 20 * SECOND, &json!({"overlap": "cancel_previous"}));
    let found = round(&due, &[OTHER]);
    assert_eq!(found.cancel_before, Some(NOW));
    assert_eq!((started(&found), skipped(&found)), (vec![], vec![(-10, SkipReason::Replaced)]));
    due.progress = found.progress;
    assert_eq!(round(&due, &[OTHER]).cancel_before, Some(NOW), "asked again until it has ended");
    let then = round(&due, &[]);
    assert_eq!((started(&then), then.cancel_before), (vec![0], None));
}

#[test]
fn a_cursor_far_ahead_of_the_clock_is_set_back() {
    let mut due = schedule(10, 20 * SECOND, &json!({}));
    due.progress.cursor = NOW.plus_millis(5 * 60 * SECOND);
    assert!(!round(&due, &[]).cursor_was_ahead, "clocks differ by minutes");
    due.progress.cursor = NOW.plus_millis(DAY);
    assert_eq!(next_check(&due, NOW), Ok(NextCheck::Now));
    let found = round(&due, &[]);
    assert!(found.cursor_was_ahead);
    assert_eq!((found.progress.cursor, started(&found)), (NOW, vec![]));
}

#[test]
fn a_firing_that_has_others_cancelled_goes_before_a_queued_backfill() {
    let mut due = schedule(10, 10 * SECOND, &json!({"overlap": "cancel_previous"}));
    due.progress.queue = [-300, -200, -100].map(|at| waiting(at, true)).to_vec();
    let found = round_beside_one_made_up_for(&due);
    assert_eq!((started(&found), found.cancel_before), (vec![], Some(NOW)));
    due.progress = found.progress;
    let then = round(&due, &[]);
    assert_eq!((started(&then), then.cancel_before), (vec![0], None), "it starts, and cancels nothing more");
    due.progress = then.progress;
    let during = round(&due, &[then.starts[0].id]);
    assert_eq!((started(&during), during.cancel_before), (vec![], None));
    let after = round(&due, &[]);
    assert_eq!((started(&after), after.starts[0].cause), (vec![-300], FiringCause::Backfill));
    assert_eq!(after.progress.queue.len(), 2, "the rest of the backfill is there still");
}

#[test]
fn what_makes_up_for_the_past_does_not_cost_a_firing_of_now() {
    let mut due = schedule(10, 10 * SECOND, &json!({}));
    due.progress.queue = vec![waiting(-300, true)];
    let found = round_beside_one_made_up_for(&due);
    assert_eq!((started(&found), skipped(&found)), (vec![], vec![]));
    assert_eq!(found.progress.queue, [waiting(-300, true), waiting(0, false)]);
    due.progress = found.progress;
    let then = round(&due, &[]);
    assert_eq!((started(&then), then.starts[0].cause), (vec![0], FiringCause::Queued), "before the backfill goes on");

    // One waits at most, and one that is caught up with does not.
    let crowded = round_beside_one_made_up_for(&schedule(10, 20 * SECOND, &json!({})));
    assert_eq!((crowded.progress.queue.len(), skipped(&crowded)), (1, vec![(0, SkipReason::Overlap)]));
    let late = round_beside_one_made_up_for(&schedule(3600, HOUR + 60 * SECOND, &json!({})));
    assert_eq!((late.progress.queue.len(), skipped(&late)), (0, vec![(-60, SkipReason::Overlap)]));
}

#[test]
fn the_window_bounds_the_latest_as_well() {
    let behind = 2 * HOUR + 600 * SECOND;
    for (policies, starts) in [
        (json!({"catch_up_window_ms": 300 * SECOND}), vec![]),
        (json!({"catch_up_window_ms": 900 * SECOND}), vec![-600]),
        (json!({}), vec![-600]),
    ] {
        let found = round(&schedule(3600, behind, &policies), &[]);
        assert_eq!(started(&found), starts, "{policies}");
        assert_eq!(found.skips.len(), 2 - starts.len(), "{policies}");
    }
}
