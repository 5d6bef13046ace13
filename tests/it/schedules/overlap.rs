//! Firings, requests and changes that meet: which of them starts, and which is done.

use std::time::Duration;

use futures_util::future::join_all;
use qron::clock;
use qron::domain::id::TaskId;
use qron::domain::schedule::{AnnouncedFiring, Schedule, fire_time, firing_id};
use qron::domain::task::TaskStatus;
use qron::telemetry::exporter;
use reqwest::Method;
use serde_json::json;

use super::support::{World, endless, quick};
use crate::support::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_firings_do_what_their_schedule_says() {
    let world = World::new().await;
    for overlap in ["skip", "queue", "allow", "cancel_previous"] {
        let definition = json!({"spec": {"every_ms": 1_000}, "zone": "UTC", "overlap": overlap, "task": endless()});
        world.asleep(overlap, definition, 0).await;
    }
    let replica = world.replica().await;
    let alive = async |id: &str| world.with_status(id, TaskStatus::Pending).await;

    eventually("two firings are skipped", async || {
        let skipped = world.with_status("skip", TaskStatus::Skipped).await;
        if skipped.len() >= 2 { Ok(()) } else { Err(format!("{}", skipped.len())) }
    })
    .await;
    assert_eq!(alive("skip").await.len(), 1);
    let skipped = world.with_status("skip", TaskStatus::Skipped).await;
    assert!(skipped[0].state.error.as_ref().expect("a reason").message.contains("had not ended"));

    eventually("three side by side", async || {
        let side_by_side = alive("allow").await.len();
        if side_by_side >= 3 { Ok(()) } else { Err(format!("{side_by_side}")) }
    })
    .await;

    eventually("two wait", async || {
        let queue = world.schedule("queue").await.progress.queue.len();
        if queue >= 2 { Ok(()) } else { Err(format!("{queue}")) }
    })
    .await;
    let first = alive("queue").await;
    assert_eq!(first.len(), 1, "they wait for the first");
    let (status, _) = replica.post(&format!("/tasks/{}/cancel", first[0].id), &json!({})).await;
    assert_eq!(status, 200);
    let next = eventually("the next one starts", async || {
        let next = alive("queue").await;
        if next.len() == 1 { Ok(next) } else { Err(format!("{}", next.len())) }
    })
    .await;
    let gap = fire_time(&next[0]).expect("a time").millis_since(fire_time(&first[0]).expect("a time"));
    assert_eq!(gap, 1_000, "the oldest that waits is next");

    eventually("earlier ones are cancelled", async || {
        let cancelled = world.with_status("cancel_previous", TaskStatus::Cancelled).await;
        if cancelled.len() >= 2 { Ok(()) } else { Err(format!("{}", cancelled.len())) }
    })
    .await;
    assert!(alive("cancel_previous").await.len() <= 1);
    replica.stop().await;
}

/// Nothing sweeps while this test runs: its dependent hears of the end of the firing from the firing that took its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_firing_cancelled_by_a_later_one_counts_is_recorded_and_frees_its_dependents_at_once() {
    let world = World::new().await;
    let definition =
        json!({"spec": {"every_ms": 4_000}, "zone": "UTC", "overlap": "cancel_previous", "task": endless()});
    world.asleep("replaced", definition, 0).await;
    let replica = world.replica().await;
    let before = cancelled_total();
    let first = eventually("the first fires", async || {
        world.tasks("replaced").await.into_iter().next().ok_or_else(|| "no task".to_owned())
    })
    .await;
    let dependent = json!({"goal": "comes after the first firing", "depends_on": [first.id]});
    let (status, dependent) = replica.post("/tasks", &dependent).await;
    assert_eq!((status.as_u16(), &dependent["status"]), (201, &json!("waiting")), "{dependent}");

    let id = dependent["id"].as_str().expect("an id").to_owned();
    eventually("the dependent is blocked", async || {
        let (_, dependent) = replica.get(&format!("/tasks/{id}")).await;
        if dependent["status"] == "blocked" { Ok(()) } else { Err(dependent["status"].to_string()) }
    })
    .await;
    assert!(cancelled_total() > before, "it is counted");
    let kinds = eventually("it is recorded", async || {
        let (_, shown) = replica.get(&format!("/tasks/{}", first.id)).await;
        let history = shown["history"].as_array().cloned().unwrap_or_default();
        let kinds: Vec<String> = history.iter().filter_map(|event| event["kind"].as_str().map(str::to_owned)).collect();
        if kinds.contains(&"cancelled".to_owned()) { Ok(kinds) } else { Err(format!("{kinds:?}")) }
    })
    .await;
    assert!(!kinds.contains(&"cancel_requested".to_owned()), "{kinds:?}");
    replica.stop().await;
}

/// Tasks that this process has counted as cancelled.
fn cancelled_total() -> u64 {
    let text = exporter::render();
    let line = text.lines().find_map(|line| line.strip_prefix("qron_tasks_cancelled_total "));
    line.and_then(|count| count.parse().ok()).expect("the counter")
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_firing_and_a_trigger_of_the_same_moment_one_starts() {
    let world = World::new().await;
    let at = clock::now().plus_millis(5_000);
    // Many, since only some of them meet.
    let each = ["skip", "queue", "cancel_previous"].map(|overlap| (0..16).map(move |index| (overlap, index)));
    let each = each.into_iter().flatten().map(|(overlap, index)| (format!("{overlap}-{index}"), overlap, index));
    let each: Vec<(String, &str, i64)> = each.collect();
    let stored = each.iter().map(|(id, overlap, _)| {
        let definition = json!({"spec": {"at": at}, "zone": "UTC", "overlap": overlap, "task": endless()});
        world.asleep(id, definition, 0)
    });
    join_all(stored).await;
    let (one, other) = (world.replica().await, world.replica().await);
    assert!(clock::now() < at, "the replicas know the schedules before they are due");

    let triggered = each.iter().map(async |(id, _, index)| {
        let moment = at.plus_millis(index * 5 - 10);
        tokio::time::sleep(Duration::from_millis(moment.millis_since(clock::now()))).await;
        let replica = if index % 2 == 0 { &one } else { &other };
        replica.send(Method::POST, &format!("/schedules/{id}/trigger"), None).await
    });
    for (status, answer) in join_all(triggered).await {
        assert!([201, 202, 409].contains(&status.as_u16()), "{status} {answer}");
    }
    for (id, overlap, _) in &each {
        eventually("the firing is decided", async || {
            let progress = world.schedule(id).await.progress;
            if progress.cursor == at { Ok(()) } else { Err(format!("{progress:?}")) }
        })
        .await;
        let alive = world.with_status(id, TaskStatus::Pending).await;
        assert!(alive.len() <= 1, "{id}: {alive:?}");
        let (waiting, tasks) = (world.schedule(id).await.progress.queue.len(), world.tasks(id).await.len());
        match *overlap {
            // Only the firing leaves a record where it comes second.
            "skip" => assert!(alive.len() == 1 && tasks <= 2, "{id}: {tasks}"),
            "queue" => assert_eq!((alive.len(), tasks, waiting), (1, 1, 1), "{id}"),
            // The later one has taken the place of the earlier, or the earlier, which came late, waits for it.
            _ => {
                eventually("there are two", async || {
                    let (waiting, tasks) = (world.schedule(id).await.progress.queue.len(), world.tasks(id).await.len());
                    if waiting + tasks == 2 { Ok(()) } else { Err(format!("{id}: {waiting} wait, {tasks} tasks")) }
                })
                .await;
            }
        }
    }
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firing_whose_replica_died_before_it_was_inserted_starts_once_and_is_in_the_way_until_then() {
    let world = World::new().await;
    let at = clock::now();
    let definition = json!({"spec": {"at": at}, "zone": "UTC", "task": endless()});
    let due = world.asleep("died", definition, 1).await;
    let firing = firing_id("died", at);
    let mut announced = Schedule { paused: true, ..due.clone() };
    announced.progress.announced = Some(AnnouncedFiring { at: clock::now(), task: firing });
    world.store.replace_schedule(&due, &announced).await.expect("an answer").expect("written");

    let replica = world.replica().await;
    let (status, problem) = replica.send(Method::POST, "/schedules/died/trigger", None).await;
    assert_eq!(status, 409, "{problem}");
    assert!(problem["detail"].as_str().expect("a detail").contains(&firing.to_string()), "{problem}");
    let paused = world.schedule("died").await;
    let resumed = Schedule { paused: false, ..paused.clone() };
    world.store.replace_schedule(&paused, &resumed).await.expect("an answer").expect("written");
    let progress = eventually("it is taken up", async || {
        let progress = world.schedule("died").await.progress;
        if progress.cursor == at { Ok(progress) } else { Err(format!("{progress:?}")) }
    })
    .await;
    assert_eq!((progress.fired, progress.skipped, progress.last_task), (1, 0, Some(firing)));
    let ids: Vec<TaskId> = world.tasks("died").await.iter().map(|task| task.id).collect();
    assert_eq!(ids, [firing]);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_move_a_schedule_on_one_does() {
    let world = World::new().await;
    let definition = json!({"spec": {"every_ms": 60_000}, "zone": "UTC", "task": quick()});
    let schedule = world.asleep("fenced", definition, 0).await;
    let mut ahead = schedule.clone();
    ahead.progress.cursor = clock::now();
    let (one, other) =
        tokio::join!(world.store.replace_schedule(&schedule, &ahead), world.store.replace_schedule(&schedule, &ahead),);
    let winners = [one, other].into_iter().filter(|answer| answer.as_ref().is_ok_and(Option::is_some)).count();
    assert_eq!(winners, 1);
    assert!(world.store.replace_schedule(&schedule, &ahead).await.expect("an answer").is_none());
    assert!(world.store.insert_schedule(&schedule).await.expect("an answer").is_none(), "its id is taken");
    world.store.remove_schedule("fenced").await.expect("removed");
    assert!(world.store.replace_schedule(&ahead, &schedule).await.expect("an answer").is_none(), "it is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_changed_a_schedule_is_told_so_although_others_changed_it_at_once() {
    let world = World::new().await;
    let definition = json!({"spec": {"cron": "@yearly"}, "zone": "UTC", "task": quick()});
    world.asleep("shared", definition, 0).await;
    let write = async || {
        let mut written = 0;
        for _ in 0..40 {
            let before = world.schedule("shared").await;
            let mut after = before.clone();
            after.progress.fired += 1;
            let answer = world.store.replace_schedule(&before, &after).await.expect("an answer");
            written += u64::from(answer.is_some());
        }
        written
    };
    let written: u64 = join_all((0..4).map(|_| write())).await.into_iter().sum();
    assert_eq!(world.schedule("shared").await.progress.fired, written);
    assert!(written >= 40, "{written}");
}
