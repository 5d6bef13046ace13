//! Replicas that are killed at the very moment at which a schedule fires.

use std::time::Duration;

use qron::clock;
use qron::domain::schedule::fire_time;
use qron::domain::task::{Task, TaskStatus};
use qron::store::{Store, TaskFilter};
use serde_json::{Value, json};

use crate::stage::{Stage, Terms, any_below, stop_all};
use crate::support::eventually;

/// A schedule for each second, whose firings call the world with the time that they are for.
pub(crate) fn every_second(stage: &Stage) -> Value {
    let url = format!("{}/fired/${{fire_time}}", stage.effects.base);
    let step = json!({"id": "call", "tool": "http_request", "arguments": {"url": url, "method": "GET"}});
    let task = json!({"goal": "call for ${fire_time}", "agent": "worker", "plan": {"steps": [step]}});
    json!({"id": "ticks", "cron": "* * * * * *", "overlap": "allow", "task": task})
}

/// The firings so far, by the time that they are for.
pub(crate) async fn firings(store: &Store) -> Result<Vec<Task>, String> {
    let filter = TaskFilter { schedule_id: Some("ticks".to_owned()), ..TaskFilter::default() };
    let (mut tasks, mut after) = (Vec::new(), None);
    loop {
        let page = store.tasks(&filter, 1_000, after.as_deref()).await.map_err(|error| error.to_string())?;
        tasks.extend(page.items);
        after = page.next;
        if after.is_none() {
            tasks.sort_by_key(fire_time);
            return Ok(tasks);
        }
    }
}

/// Each second once, from the first to the last, and none skipped.
fn check_firings(tasks: &[Task]) {
    let times: Vec<i64> = tasks.iter().map(|task| fire_time(task).expect("a time").as_millis()).collect();
    let expected: Vec<i64> = (0..).map(|index| times[0] + index * 1_000).take(times.len()).collect();
    assert_eq!(times, expected, "each second once");
    let other: Vec<_> = tasks.iter().filter(|task| task.state.status != TaskStatus::Completed).collect();
    assert!(other.is_empty(), "{other:?}");
}

/// Kills a replica around the full second, `kills` times; gives back how many firings there were.
async fn kill_at_the_tick(kills: usize) -> usize {
    let stage = Stage::new(Terms { lease: Duration::from_secs(2), ..Terms::default() }).await;
    let store = stage.store().await;
    let mut fleet = stage.replicas(2).await;
    stage.post(&fleet[0], "/schedules", &every_second(&stage)).await;
    eventually("it fires", async || if stage.effects.firings().is_empty() { Err("no".to_owned()) } else { Ok(()) })
        .await;
    for _ in 0..kills {
        // From just before the tick until the firing is through.
        let now = u64::try_from(clock::now().as_millis()).expect("after 1970");
        let tick = 1_000 - now % 1_000;
        tokio::time::sleep(Duration::from_millis(tick.saturating_sub(5) + any_below(60))).await;
        fleet.remove(0).qron.kill();
        fleet.push(stage.replica().await);
    }
    stage.post(&fleet[0], "/schedules/ticks/pause", &json!({})).await;
    let tasks = eventually("every firing has ended", async || {
        let tasks = firings(&store).await?;
        let open = tasks.iter().filter(|task| !task.state.status.is_terminal()).count();
        if open == 0 { Ok(tasks) } else { Err(format!("{open} are open")) }
    })
    .await;
    stop_all(fleet).await;
    check_firings(&tasks);
    tasks.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_killed_at_the_tick_leaves_neither_a_double_nor_a_gap() {
    assert!(kill_at_the_tick(5).await >= 5);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and prints figures"]
async fn a_hundred_kills_at_the_tick() {
    let fired = kill_at_the_tick(100).await;
    println!("100 kills at the tick: {fired} firings, 0 double, 0 missed");
}
