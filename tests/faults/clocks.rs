//! Replicas whose clocks are wrong, and one whose clock is set back while it works: libfaketime stands between them and
//! the time of day.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use qron::clock;
use qron::domain::event::Event;
use qron::domain::id::TaskId;
use qron::domain::schedule::fire_time;
use qron::domain::task::{Task, TaskStatus};
use qron::domain::time::Timestamp;

use crate::checker::{UNHARMED, check};
use crate::schedules::{every_second, firings};
use crate::stage::{Stage, Terms, skipped, stop_all};
use crate::support::eventually;
use crate::support::process::PROGRAM;

/// Path of libfaketime.so.1, where it is not where Debian puts it.
const VARIABLE: &str = "QRON_TEST_FAKETIME";

fn faketime() -> Option<PathBuf> {
    let given = std::env::var_os(VARIABLE).map(PathBuf::from);
    let places = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        .map(|machine| Path::new("/usr/lib").join(machine).join("faketime/libfaketime.so.1"));
    let found = given.into_iter().chain(places).find(|path| path.exists());
    if found.is_none() {
        skipped(&format!("wrong clocks need libfaketime.so.1 (Debian package libfaketime, or {VARIABLE})"));
    }
    found
}

/// The program under a clock that is off by what `file` says, e.g. `+300`; it may change.
fn under(library: &Path, file: &Path, offset: &str) -> Command {
    std::fs::write(file, offset).expect("written");
    let mut command = Command::new(PROGRAM);
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", file)
        .env("FAKETIME_CACHE_DURATION", "1")
        // Durations are none of its business.
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    command
}

/// Four replicas, five minutes ahead, five behind, right, and one that is set back; all their places taken for `leases`.
async fn wrong_clocks(library: &Path, rounds: usize, leases: u32) {
    let lease = Duration::from_secs(3);
    let stage = Stage::new(Terms { lease, ..Terms::default() }).await;
    let store = stage.store().await;
    let mut fleet = vec![stage.replica().await];
    let jumping = stage.folder().join("jumping");
    for (name, offset) in [("ahead", "+300"), ("behind", "-300"), ("jumping", "+0")] {
        let command = under(library, &stage.folder().join(name), offset);
        fleet.push(stage.replica_by(command, &stage.url).await);
    }
    for round in 0..rounds {
        stage.effects.close(true);
        std::fs::write(&jumping, "+0").expect("written");
        // Inserted by the one whose clock is behind, so that they are due for everyone.
        let places = fleet.len() * stage.terms.capacity;
        stage.insist(&fleet[2], &stage.tasks(places)).await;
        eventually("every place is taken", async || {
            let counts = store.task_counts().await.map_err(|error| error.to_string())?;
            let running = counts.get(&TaskStatus::Running).copied().unwrap_or(0);
            if running == places as u64 { Ok(()) } else { Err(format!("round {round}: {counts:?}")) }
        })
        .await;
        tokio::time::sleep(lease / 2).await;
        std::fs::write(&jumping, "-600").expect("written");
        tokio::time::sleep(lease * leases).await;
        stage.effects.close(false);
        stage.until_all_ended(&store).await;
    }
    for name in ["qron_tasks_rescued_total", "qron_claims_lost_total", "qron_tasks_released_total"] {
        let count = stage.total(&fleet, name).await;
        assert!(count == 0.0, "{name} is {count}");
    }
    stop_all(fleet).await;
    let findings = check(&stage, UNHARMED).await;
    assert_eq!((findings.crashes, findings.releases), (0, 0), "no lease was stolen");
    println!("clocks 5 min ahead and behind, one set back 10 min, {rounds} times: no lease stolen; {findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_clocks_steal_no_lease() {
    if let Some(library) = faketime() {
        wrong_clocks(&library, 1, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and prints figures"]
async fn wrong_clocks_many_times() {
    if let Some(library) = faketime() {
        wrong_clocks(&library, 20, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_does_not_stop_the_sweep() {
    const HOUR_MS: i64 = 3_600_000;
    let Some(library) = faketime() else { return };
    let stage = Stage::new(Terms::default()).await;
    let store = stage.store().await;
    let offset = stage.folder().join("jumping");
    let replica = stage.replica_by(under(&library, &offset, "+0"), &stage.url).await;
    for back_ms in [0, HOUR_MS] {
        std::fs::write(&offset, format!("-{}", back_ms / 1_000)).expect("written");
        eventually("its clock is set", async || {
            let replicas = store.replicas().await.map_err(|error| error.to_string())?;
            let replica = replicas.first().ok_or("it is not on the list")?;
            let behind_ms = clock::now().millis_since(replica.updated_at);
            let is_set = behind_ms.abs_diff(back_ms.unsigned_abs()) < 60_000;
            if is_set { Ok(()) } else { Err(format!("behind by {behind_ms} ms")) }
        })
        .await;
        // Nobody is told of it, so only the sweep finds it.
        let plan = serde_json::json!({"steps": [{"id": "s", "tool": "calculate", "arguments": {"expression": "1+1"}}]});
        let due = clock::now().plus_millis(-2 * HOUR_MS);
        let plan = Some(serde_json::from_value(plan).expect("a plan"));
        let task = Task::new(TaskId::fresh(), "found by the sweep", due).with(|task| task.spec.plan = plan);
        store.insert(std::slice::from_ref(&task)).await.expect("inserted");
        eventually("it is completed", async || {
            let task = store.task(task.id).await.map_err(|error| error.to_string())?.ok_or("it is not there")?;
            if task.state.status == TaskStatus::Completed { Ok(()) } else { Err(task.state.status.to_string()) }
        })
        .await;
    }
    stop_all(vec![replica]).await;
}

/// What became of the firings of a schedule for each second that replicas fire whose clocks are wrong.
struct Ticks {
    completed: usize,
    /// Recorded as missed: those between the clock of whoever made the schedule and the one that is ahead.
    skipped: usize,
    /// How much too early the first one was carried out, and how much too late the last, in milliseconds.
    early_ms: i64,
    late_ms: i64,
}

/// Fires each second with three replicas, one ahead, one behind.
async fn wrong_ticks(library: &Path, wanted: usize) -> Ticks {
    let stage = Stage::new(Terms::default()).await;
    let store = stage.store().await;
    let mut fleet = vec![stage.replica().await];
    stage.post(&fleet[0], "/schedules", &every_second(&stage)).await;
    eventually("it fires", async || if stage.effects.firings().is_empty() { Err("no".to_owned()) } else { Ok(()) })
        .await;
    // Those that start later read it at once.
    for (name, offset) in [("ahead", "+300"), ("behind", "-300")] {
        let command = under(library, &stage.folder().join(name), offset);
        fleet.push(stage.replica_by(command, &stage.url).await);
    }
    for wrong in &fleet[1..] {
        wrong.qron.until_it_says("the clock of this host differs").await;
    }
    let before = stage.effects.firings().len();
    eventually("it fires", async || {
        let fired = stage.effects.firings().len() - before;
        if fired >= wanted { Ok(()) } else { Err(format!("{fired} times")) }
    })
    .await;
    stage.post(&fleet[0], "/schedules/ticks/pause", &serde_json::json!({})).await;
    let tasks = eventually("every firing has ended", async || {
        let tasks = firings(&store).await?;
        let open = tasks.iter().filter(|task| !task.state.status.is_terminal()).count();
        if open == 0 { Ok(tasks) } else { Err(format!("{open} are open")) }
    })
    .await;
    stop_all(fleet).await;
    let fired: Vec<Timestamp> = tasks.iter().filter_map(fire_time).collect();
    assert!(fired.windows(2).all(|pair| pair[0] < pair[1]) && fired.len() == tasks.len(), "{fired:?}");
    let first_skipped = tasks.iter().position(|task| task.state.status == TaskStatus::Skipped).expect("one was missed");
    let (before_it, from_it) = fired.split_at(first_skipped);
    for seconds in [before_it, from_it] {
        assert!(seconds.windows(2).all(|pair| pair[1].as_millis() - pair[0].as_millis() == 1_000), "{fired:?}");
    }
    // Between the two lie those that were missed and are too many for a record of their own.
    let events = store.events(None, 1_000).await.expect("readable");
    let is_of_them = |event: &&Event| {
        let time = |key: &str| Timestamp::read(&event.data[key]).expect("a time");
        event.kind == "firings_missed"
            && before_it.last().is_some_and(|last| time("from") <= *last)
            && time("until") >= from_it[0]
    };
    let told: Vec<&Event> = events.iter().filter(is_of_them).collect();
    assert!(!told.is_empty(), "no event tells of those between {:?} and {}", before_it.last(), from_it[0]);
    let count = |status| tasks.iter().filter(|task| task.state.status == status).count();
    let (completed, skipped) = (count(TaskStatus::Completed), count(TaskStatus::Skipped));
    assert_eq!(completed + skipped, tasks.len(), "{tasks:?}");
    let carried_out = stage.effects.firings();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for (time, _) in &carried_out {
        *times.entry(time).or_default() += 1;
    }
    assert!(times.values().all(|count| *count == 1) && times.len() == completed, "{times:?}");
    let late = |(time, at): &(String, Timestamp)| {
        let time = Timestamp::read(&serde_json::json!(time)).expect("a time");
        at.as_millis() - time.as_millis()
    };
    let (least, most) = (carried_out.iter().map(late).min(), carried_out.iter().map(late).max());
    Ticks { completed, skipped, early_ms: -least.expect("firings"), late_ms: most.expect("firings") }
}

/// A clock that is ahead fires early, by as much as it is ahead and no more, and it is told. No firing is doubled.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_clocks_fire_each_second_at_most_once() {
    let Some(library) = faketime() else { return };
    let Ticks { completed, skipped, early_ms, late_ms } = wrong_ticks(&library, 8).await;
    println!(
        "firings with clocks 5 min ahead and behind: {completed} carried out, at most {early_ms} ms early and {late_ms} ms \
         late, {skipped} recorded as missed"
    );
    assert!(early_ms <= 301_000, "early by {early_ms} ms");
}
