//! Firings and requests that meet: which of them starts.

use std::time::Duration;

use futures_util::future::join_all;
use qron::clock;
use qron::domain::id::TaskId;
use qron::domain::schedule::{Announced, Schedule, firing_id};
use qron::domain::task::TaskStatus;
use reqwest::Method;
use serde_json::json;

use crate::support::{World, endless, eventually};

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
        let waiting = world.schedule(id).await.progress.queue.len();
        let tasks = world.tasks(id).await.len();
        match *overlap {
            // Only the firing leaves a record where it comes second.
            "skip" => assert!(alive.len() == 1 && tasks <= 2, "{id}: {tasks}"),
            "queue" => assert_eq!((alive.len(), tasks, waiting), (1, 1, 1), "{id}"),
            _ => assert_eq!(tasks + waiting, 2, "{id}"),
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
    announced.progress.announced = Some(Announced { at: clock::now(), task: firing });
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
