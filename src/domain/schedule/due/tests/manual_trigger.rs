//! What people ask for: triggers, what waits of them, and removal.

use super::*;
use crate::domain::schedule::due::manual_trigger::{TriggerOutcome, removed, trigger};
use crate::domain::schedule::{Overlap, backfill_id};

const NEW: TaskId = TaskId::Number(8);

#[test]
fn a_trigger_reports_an_overlap() {
    let due = schedule(10, 0, &json!({}));
    let TriggerOutcome::Start(start, counted) = trigger(&due, NEW, NOW, Overlap::Skip, &[]) else {
        panic!("it starts")
    };
    assert_eq!(start, FiringStart { at: NOW, id: NEW, cause: FiringCause::Triggered });
    assert_eq!((counted.fired, counted.last_fire, counted.last_task), (1, Some(NOW), Some(NEW)));
    assert_eq!(counted.announced, Some(AnnouncedFiring { at: NOW, task: NEW }));
    assert_eq!(trigger(&due, NEW, NOW, Overlap::Skip, &[OTHER]), TriggerOutcome::Overlaps(OTHER));
    assert!(matches!(trigger(&due, NEW, NOW, Overlap::Allow, &[OTHER]), TriggerOutcome::Start(..)));
    let TriggerOutcome::Wait(progress, _) = trigger(&due, NEW, NOW, Overlap::Queue, &[OTHER]) else {
        panic!("it waits")
    };
    assert_eq!(progress.queue, [QueuedFiring { overlap: Some(Overlap::Queue), task: Some(NEW), ..waiting(0, false) }]);
    let full = ScheduleProgress { queue: vec![progress.queue[0]; MAX_QUEUE], ..progress };
    let full = Schedule { progress: full, ..due };
    assert_eq!(trigger(&full, NEW, NOW, Overlap::Queue, &[OTHER]), TriggerOutcome::Full);
    let TriggerOutcome::Wait(progress, replaced) = trigger(&full, NEW, NOW, Overlap::CancelPrevious, &[OTHER]) else {
        panic!("it takes their place")
    };
    assert_eq!((progress.queue.len(), progress.skipped), (1, replaced.len() as u64));
    assert!(replaced.iter().all(|skip| skip.id == NEW), "each is recorded under its own id");
}

#[test]
fn two_triggers_of_the_same_moment_are_two_tasks() {
    let mut due = schedule(10, 0, &json!({"overlap": "queue"}));
    for id in [NEW, TaskId::Number(9)] {
        let TriggerOutcome::Wait(progress, _) = trigger(&due, id, NOW, Overlap::Queue, &[OTHER]) else {
            panic!("it waits")
        };
        due.progress = progress;
    }
    let first = round(&due, &[]);
    assert_eq!(first.starts, [FiringStart { at: NOW, id: NEW, cause: FiringCause::Triggered }]);
    due.progress = first.progress;
    assert_eq!(round(&due, &[]).starts[0].id, TaskId::Number(9));
}

#[test]
fn while_a_schedule_is_paused_manual_firings_start_and_regular_ones_do_not() {
    let mut held = Schedule { paused: true, ..schedule(10, DAY, &json!({"overlap": "queue"})) };
    held.progress.queue = vec![waiting(-300, false), waiting(-200, true)];
    assert_eq!(next_check(&held, NOW), Ok(NextCheck::Queue));
    let found = round(&held, &[]);
    assert_eq!((started(&found), found.starts[0].cause), (vec![-200], FiringCause::Backfill));
    assert_eq!((found.progress.queue, found.progress.cursor), (vec![waiting(-300, false)], held.progress.cursor));
    for overlap in [Overlap::Queue, Overlap::CancelPrevious] {
        let mut held = Schedule { paused: true, ..schedule(10, DAY, &json!({"overlap": "cancel_previous"})) };
        let TriggerOutcome::Wait(progress, _) = trigger(&held, NEW, NOW, overlap, &[OTHER]) else { panic!("it waits") };
        held.progress = progress;
        assert_eq!(next_check(&held, NOW), Ok(NextCheck::Queue));
        let cancels = (overlap == Overlap::CancelPrevious).then_some(NOW);
        assert_eq!(round(&held, &[OTHER]).cancel_before, cancels);
        assert_eq!(round(&held, &[]).starts[0].id, NEW);
    }
    held.progress.queue = vec![waiting(-300, false)];
    assert_eq!(next_check(&held, NOW), Ok(NextCheck::Never));
}

#[test]
fn firings_that_wait_are_recorded_when_their_schedule_is_removed() {
    let mut due = schedule(10, 0, &json!({"overlap": "queue"}));
    due.progress.queue =
        vec![waiting(-20, true), waiting(-10, false), QueuedFiring { task: Some(NEW), ..waiting(0, false) }];
    let ids: Vec<TaskId> = removed(&due).into_iter().map(|skip| skip.id).collect();
    let at = |seconds: i64| NOW.plus_millis(seconds * SECOND);
    assert_eq!(ids, [backfill_id("s", at(-20), 0), firing_id("s", at(-10)), NEW]);
}

#[test]
fn what_a_trigger_asks_for_holds_while_it_waits_whatever_the_schedule_says() {
    for own in ["skip", "queue", "allow"] {
        let mut due = schedule(10, 0, &json!({"overlap": own}));
        let TriggerOutcome::Wait(progress, _) = trigger(&due, NEW, NOW, Overlap::CancelPrevious, &[OTHER]) else {
            panic!("{own}")
        };
        due.progress = progress;
        let found = round(&due, &[OTHER]);
        assert_eq!((started(&found), found.cancel_before), (vec![], Some(NOW)), "{own}");
        due.progress = found.progress;
        let then = round(&due, &[]);
        assert_eq!((started(&then), then.cancel_before), (vec![0], None), "{own}");
    }
    let mut side_by_side = schedule(10, 0, &json!({"overlap": "allow"}));
    let TriggerOutcome::Wait(progress, _) = trigger(&side_by_side, NEW, NOW, Overlap::Queue, &[OTHER]) else {
        panic!("it waits")
    };
    side_by_side.progress = progress;
    assert_eq!(started(&round(&side_by_side, &[OTHER])), [0; 0]);
    assert_eq!(started(&round(&side_by_side, &[])), [0]);
}
