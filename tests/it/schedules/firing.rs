//! Firing over the real engine: replicas, sleep, jitter, death.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use qron::clock;
use qron::domain::approval::ApprovalPolicy;
use qron::domain::schedule::due::{FiringCause, FiringStart};
use qron::domain::schedule::{Schedule, fire_time, firing_id};
use qron::domain::task::TaskStatus;
use qron::domain::time::Timestamp;
use serde_json::json;

use super::support::{World, endless, quick};
use crate::support::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_fire_each_second_once() {
    let world = World::new().await;
    let (one, other) = (world.replica().await, world.replica().await);
    let body = json!({"id": "ticks", "cron": "* * * * * *", "overlap": "allow", "task": quick()});
    let (status, saved) = one.post("/schedules", &body).await;
    assert_eq!(status, 201, "{saved}");

    eventually("eight firings", async || {
        let fired = world.tasks("ticks").await.len();
        if fired >= 8 { Ok(()) } else { Err(format!("{fired}")) }
    })
    .await;
    // One replica goes; the other one goes on.
    one.stop().await;
    let before = world.tasks("ticks").await.len();
    eventually("four firings more", async || {
        let fired = world.tasks("ticks").await.len();
        if fired >= before + 4 { Ok(()) } else { Err(format!("{fired}")) }
    })
    .await;
    other.stop().await;

    let tasks = world.tasks("ticks").await;
    let times: Vec<i64> = tasks.iter().map(|task| fire_time(task).expect("a time").as_millis()).collect();
    let expected: Vec<i64> = (0..).map(|index| times[0] + index * 1_000).take(times.len()).collect();
    assert_eq!(times, expected, "each second once");
    assert!(tasks.iter().all(|task| task.state.status != TaskStatus::Skipped), "none was missed");
    let schedule = world.schedule("ticks").await;
    assert_eq!((schedule.progress.fired, schedule.progress.skipped), (times.len() as u64, 0));
    assert_eq!(schedule.progress.last_task, tasks.last().map(|task| task.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_laptop_that_slept_catches_up_as_each_schedule_wants_it() {
    let world = World::new().await;
    // Firings 5:01, 4:01, 3:01, 2:01, 1:01 and 0:01 hours ago.
    let behind = 6 * 3600 + 60;
    for catch_up in ["none", "latest", "all"] {
        let definition = json!({
            "spec": {"every_ms": 3_600_000}, "zone": "UTC", "catch_up": catch_up, "overlap": "allow",
            "catch_up_window_ms": 3 * 3_600_000, "task": quick(),
        });
        world.asleep(catch_up, definition, behind).await;
    }
    let replica = world.replica().await;
    for (catch_up, done, skipped) in [("none", 0, 6), ("latest", 1, 5), ("all", 3, 3)] as [(&str, u64, u64); 3] {
        eventually(&format!("{catch_up}: {done} done, {skipped} skipped"), async || {
            let mut counts = BTreeMap::new();
            for task in world.tasks(catch_up).await {
                *counts.entry(task.state.status.as_str()).or_insert(0) += 1;
            }
            let wanted = [("completed", done), ("skipped", skipped)].into_iter().filter(|(_, count)| *count > 0);
            if counts == wanted.collect() { Ok(()) } else { Err(format!("{counts:?}")) }
        })
        .await;
        let tasks = world.tasks(catch_up).await;
        let mut oldest = tasks.iter().take(usize::try_from(skipped).expect("small"));
        assert!(oldest.all(|task| task.state.status == TaskStatus::Skipped), "the oldest are skipped");
        let reason = tasks[0].state.error.as_ref().expect("a reason");
        assert!(reason.message.contains("missed"), "{reason}");
        eventually("it is written down", async || {
            let schedule = world.schedule(catch_up).await;
            let progress = (schedule.progress.fired, schedule.progress.skipped);
            if progress == (done, skipped) { Ok(()) } else { Err(format!("{progress:?}")) }
        })
        .await;
    }
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_of_sleep_leaves_one_record_and_few_tasks() {
    let world = World::new().await;
    let definition = json!({"spec": {"cron": "* * * * * *"}, "zone": "UTC", "catch_up": "none", "task": quick()});
    world.asleep("busy", definition, 30 * 86_400).await;
    let replica = world.replica().await;
    let schedule = eventually("it is through", async || {
        let schedule = world.schedule("busy").await;
        if schedule.progress.skipped > 0 { Ok(schedule) } else { Err("not yet".to_owned()) }
    })
    .await;
    assert!(schedule.progress.skipped > 10_000);
    replica.stop().await;
    // A hundred of those that were missed, and those of the last half minute that overlap.
    assert!(world.with_status("busy", TaskStatus::Skipped).await.len() <= 200);
    let events = world.store.events(None, 1_000).await.expect("readable");
    let missed: Vec<_> = events.iter().filter(|event| event.kind == "firings_missed").collect();
    assert_eq!(missed.len(), 1);
    assert_eq!(missed[0].data["schedule"], "busy");
    assert_eq!(missed[0].data["more"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn jitter_delays_the_task_and_not_the_firing() {
    let world = World::new().await;
    let definition = json!({
        "spec": {"every_ms": 1_000}, "zone": "UTC", "overlap": "allow", "jitter_ms": 3_600_000, "task": endless(),
    });
    let schedule: Schedule = world.asleep("spread", definition, 0).await;
    let replica = world.replica().await;
    eventually("three firings", async || {
        let fired = world.tasks("spread").await.len();
        if fired >= 3 { Ok(()) } else { Err(format!("{fired}")) }
    })
    .await;
    replica.stop().await;
    let mut delays = Vec::new();
    for task in world.tasks("spread").await {
        let at = fire_time(&task).expect("a time");
        assert_eq!(task.id, firing_id("spread", at));
        let planned = at.plus_millis(schedule.jitter_ms(at));
        assert_eq!(task.spec.run_at, planned.max(task.state.created_at), "the firing at {at}");
        delays.push(planned.millis_since(at));
    }
    assert!(delays.iter().all(|delay| *delay <= 3_600_000), "{delays:?}");
    assert!(delays.iter().any(|delay| *delay > 60_000), "{delays:?}");
}

#[test]
fn what_is_before_the_first_firing_is_the_beginning_of_the_schedule() {
    let created = Timestamp::from_millis(1_785_567_600_000);
    let later = created.plus_millis(1_800_000);
    for (start, first, beginning) in [
        (json!(null), created.plus_millis(3_600_000), "2026-08-01T07:00:00"),
        (json!(later), later, "2026-08-01T07:30:00"),
    ] {
        let task = json!({"goal": "since ${previous_fire_time}"});
        let definition = json!({"spec": {"every_ms": 3_600_000}, "zone": "UTC", "start": start, "task": task});
        let schedule = Schedule::new("s", serde_json::from_value(definition).expect("a definition"), created);
        let goal = |at| {
            let start = FiringStart { at, id: firing_id("s", at), cause: FiringCause::OnTime };
            schedule.task(start, &ApprovalPolicy { expire_s: 0 }, at).expect("a task").spec.goal
        };
        assert_eq!(goal(first), format!("since {beginning}Z"));
        let second = first.plus_millis(3_600_000);
        assert_eq!(goal(second), format!("since {}Z", &first.to_rfc3339()[..19]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_wrong_for_a_while_does_not_silence_a_schedule() {
    let world = World::new().await;
    let definition = json!({"spec": {"cron": "* * * * * *"}, "zone": "UTC", "overlap": "allow", "task": quick()});
    // As if a clock that was a week ahead had fired it.
    world.asleep("jumped", definition, -7 * 86_400).await;
    let replica = world.replica().await;
    eventually("it fires", async || {
        let fired = world.tasks("jumped").await.len();
        if fired >= 2 { Ok(()) } else { Err(format!("{fired}")) }
    })
    .await;
    replica.stop().await;
    let times = world.tasks("jumped").await.into_iter().filter_map(|task| fire_time(&task));
    assert!(times.max() <= Some(clock::now()));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_schedules_of_one_moment_are_shared_by_the_replicas() {
    let world = World::new().await;
    let at = clock::now().plus_millis(3_000);
    // More than are read at once.
    let store = (0..300).map(async |index| {
        let definition = json!({"spec": {"at": at}, "zone": "UTC", "task": quick()});
        // Decided up to a minute ago, so that it counts even when storing all of them takes until then.
        world.asleep(&format!("once-{index}"), definition, 60).await
    });
    join_all(store).await;
    let (one, other) = (world.replica().await, world.replica().await);
    for index in 0..300 {
        eventually("it has fired", async || {
            let schedule = world.schedule(&format!("once-{index}")).await;
            if schedule.progress.fired == 1 { Ok(()) } else { Err(format!("{:?}", schedule.progress)) }
        })
        .await;
    }
    one.stop().await;
    other.stop().await;
    for index in 0..300 {
        assert_eq!(world.tasks(&format!("once-{index}")).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_died_between_task_and_cursor_leaves_neither_a_double_nor_a_gap() {
    let world = World::new().await;
    let at = clock::now().plus_millis(-5_000);
    for overlap in ["skip", "queue", "allow", "cancel_previous"] {
        let definition = json!({"spec": {"at": at}, "zone": "UTC", "overlap": overlap, "task": endless()});
        let schedule = world.asleep(overlap, definition, 10).await;
        let start = FiringStart { at, id: firing_id(overlap, at), cause: FiringCause::OnTime };
        let task = schedule.task(start, &ApprovalPolicy { expire_s: 0 }, clock::now()).expect("a task");
        world.store.insert(&[task]).await.expect("inserted");
    }
    let replica = world.replica().await;
    for overlap in ["skip", "queue", "allow", "cancel_previous"] {
        let progress = eventually("it is taken up", async || {
            let progress = world.schedule(overlap).await.progress;
            if progress.cursor == at { Ok(progress) } else { Err(format!("{progress:?}")) }
        })
        .await;
        assert_eq!((progress.fired, progress.skipped, progress.queue.len()), (1, 0, 0), "{overlap}");
        let tasks = world.tasks(overlap).await;
        assert_eq!(
            (tasks.len(), tasks[0].state.status),
            (1, TaskStatus::Pending),
            "{overlap}: it does not overlap itself"
        );
    }
    replica.stop().await;
}
