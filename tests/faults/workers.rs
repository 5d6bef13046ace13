//! Replicas that are killed, and such as stand still and wake up.

use std::time::{Duration, Instant};

use qron::domain::id::TaskId;
use qron::store::Store;

use crate::checker::{Findings, INTERRUPTED, check};
use crate::stage::{Replica, Stage, Terms, any_below, quantile, stop_all};
use crate::support::eventually;
use crate::support::process::in_hand;

/// Measurements whose median counts.
const PAIRS: usize = 7;

/// Waits until the replicas have made this many calls more.
pub(crate) async fn until_moved_on(stage: &Stage, calls: usize) {
    let before = stage.effects.count();
    eventually("the replicas move on", async || {
        let made = stage.effects.count() - before;
        if made >= calls { Ok(()) } else { Err(format!("{made} calls")) }
    })
    .await;
}

/// Waits until none of `tasks` is in the hands of the replica `name` any longer, nor waits for another one.
async fn until_taken_over(store: &Store, tasks: &[TaskId], name: &str) {
    eventually("the tasks of the dead are taken over", async || {
        for task in store.tasks_by_id(tasks).await.map_err(|error| error.to_string())? {
            let is_left = task.state.claim.as_ref().is_some_and(|claim| claim.owner == name);
            if is_left || task.state.status == qron::domain::task::TaskStatus::Pending {
                return Err(format!("{} is {}", task.id, task.state.status));
            }
        }
        Ok(())
    })
    .await;
}

/// How fast `count` tasks end, in tasks per second.
pub(crate) async fn rate(stage: &Stage, replicas: &[Replica], store: &Store, count: usize) -> f64 {
    stage.post(&replicas[0], "/pause", &serde_json::json!({})).await;
    stage.load(&replicas[0], count).await;
    let began = Instant::now();
    stage.post(&replicas[0], "/resume", &serde_json::json!({})).await;
    stage.until_all_ended(store).await;
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let count = count as f64;
    count / began.elapsed().as_secs_f64()
}

/// A fleet that nobody disturbs, with collections of its own on the same store: what the machine gives at that moment.
struct Quiet {
    stage: Stage,
    fleet: Vec<Replica>,
    store: Store,
    /// Tasks in one measurement.
    count: usize,
}

impl Quiet {
    async fn new(replicas: usize, count: usize) -> Self {
        let stage = Stage::new(Terms::default()).await;
        let (fleet, store) = (stage.replicas(replicas).await, stage.store().await);
        Self { stage, fleet, store, count }
    }

    /// Carries out `tasks` tasks, so that its store holds as much as that of the other fleet.
    async fn keep_up(&self, tasks: usize) {
        self.stage.load(&self.fleet[0], tasks).await;
        self.stage.until_all_ended(&self.store).await;
    }

    /// How fast `fleet` is, in tasks per second and as a multiple of the undisturbed one: the medians of pairs measured in
    /// turns, because the speed of a shared machine changes by the minute.
    async fn compare(&self, stage: &Stage, fleet: &[Replica], store: &Store) -> (f64, f64) {
        let (mut rates, mut multiples) = (Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            let quiet = rate(&self.stage, &self.fleet, &self.store, self.count).await;
            rates.push(rate(stage, fleet, store, self.count).await);
            multiples.extend(rates.last().map(|rate| rate / quiet));
        }
        rates.sort_by(f64::total_cmp);
        multiples.sort_by(f64::total_cmp);
        (rates[PAIRS / 2], multiples[PAIRS / 2])
    }
}

struct Storm {
    findings: Findings,
    /// From each kill until all that the dead had in hand was claimed again.
    recoveries: Vec<Duration>,
    /// Before and after: see [`Quiet::compare`].
    rates: Option<[(f64, f64); 2]>,
}

/// Kills one of `replicas` processes after the other, `rounds` times, while they work on `tasks` tasks.
async fn kill_workers(tasks: usize, replicas: usize, rounds: usize, measured: Option<usize>) -> Storm {
    let stage = Stage::new(Terms::default()).await;
    let mut fleet = stage.replicas(replicas).await;
    let store = stage.store().await;
    let quiet = match measured {
        Some(count) => Some(Quiet::new(replicas, count).await),
        None => None,
    };
    let before = match &quiet {
        Some(quiet) => Some(quiet.compare(&stage, &fleet, &store).await),
        None => None,
    };
    let mut recoveries = Vec::new();
    for round in 0..rounds {
        stage.load(&fleet[0], tasks / rounds).await;
        // As many calls as make two tasks of each place: whatever was in hand at the last kill has moved on.
        until_moved_on(&stage, stage.terms.capacity * 4).await;
        tokio::time::sleep(Duration::from_millis(any_below(100))).await;
        let victim = fleet.remove(round % replicas);
        let name = victim.name(&store).await;
        victim.qron.kill();
        stage.interrupted(1);
        let killed = Instant::now();
        let left: Vec<TaskId> =
            store.held(&name, 1_000).await.expect("readable").into_iter().map(|task| task.id).collect();
        fleet.insert(round % replicas, stage.replica().await);
        until_taken_over(&store, &left, &name).await;
        if !left.is_empty() {
            recoveries.push(killed.elapsed());
        }
    }
    stage.until_all_ended(&store).await;
    let after = match &quiet {
        Some(quiet) => {
            quiet.keep_up(tasks).await;
            Some(quiet.compare(&stage, &fleet, &store).await)
        }
        None => None,
    };
    if let Some(quiet) = quiet {
        stop_all(quiet.fleet).await;
    }
    eventually("the dead are off the list", async || {
        let listed = store.replicas().await.map_err(|error| error.to_string())?.len();
        if listed == fleet.len() { Ok(()) } else { Err(format!("{listed} are on it")) }
    })
    .await;
    stop_all(fleet).await;
    let findings = check(&stage, INTERRUPTED).await;
    assert!(store.replicas().await.expect("readable").is_empty(), "nobody is left on the list");
    let rates = before.zip(after).map(|(before, after)| [before, after]);
    Storm { findings, recoveries, rates }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_replicas_lose_nothing_and_repeat_no_effect() {
    let storm = kill_workers(400, 3, 3, None).await;
    assert!(!storm.recoveries.is_empty(), "they were killed at work");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and prints figures"]
async fn fifty_kills_of_replicas() {
    let mut storm = kill_workers(10_000, 4, 50, Some(1_000)).await;
    let (p50, p99) = (quantile(&mut storm.recoveries, 0.5), quantile(&mut storm.recoveries, 0.99));
    let [(before, before_multiple), (after, after_multiple)] = storm.rates.expect("measured");
    println!("kill -9 of replicas, 50 times: {:?}", storm.findings);
    println!("claimed again after p50 {p50:?}, p99 {p99:?} with a lease of {:?}", Terms::default().lease);
    println!("{before:.0} tasks/s before, {after:.0} after");
    println!(
        "of what an undisturbed fleet did at the same time: {before_multiple:.3} before, {after_multiple:.3} after"
    );
    println!("throughput kept: {:.1} %", after_multiple / before_multiple * 100.0);
}

/// Stops `rounds` replicas for three leases each, and lets them go on.
async fn freeze(tasks: usize, replicas: usize, rounds: usize) -> (Findings, usize) {
    let stage = Stage::new(Terms { lease: Duration::from_secs(2), ..Terms::default() }).await;
    let fleet = stage.replicas(replicas).await;
    let store = stage.store().await;
    let mut held = 0;
    for round in 0..rounds {
        stage.load(&fleet[0], tasks / rounds).await;
        until_moved_on(&stage, stage.terms.capacity * 4).await;
        let victim = &fleet[round % replicas];
        let name = victim.name(&store).await;
        let refused = stage.metric(victim, "qron_claims_lost_total").await;
        victim.qron.send("STOP");
        let stopped = Instant::now();
        let left: Vec<TaskId> = in_hand(&store, &name).await.into_iter().collect();
        held += left.len();
        eventually("the others have ended what the frozen one had", async || {
            let tasks = store.tasks_by_id(&left).await.map_err(|error| error.to_string())?;
            let open: Vec<_> = tasks.iter().filter(|task| !task.state.status.is_terminal()).collect();
            if open.is_empty() { Ok(()) } else { Err(format!("{} are open", open.len())) }
        })
        .await;
        tokio::time::sleep((stage.terms.lease * 3).saturating_sub(stopped.elapsed())).await;
        let before = store.tasks_by_id(&left).await.expect("readable");
        victim.qron.send("CONT");
        eventually("it is back on the list", async || {
            let replicas = store.replicas().await.map_err(|error| error.to_string())?;
            let back = replicas.iter().any(|replica| replica.id == name);
            if back { Ok(()) } else { Err("it is not".to_owned()) }
        })
        .await;
        // Until it has noticed, it may repeat reads: whatever it had begun when it was stopped.
        stage.interrupted_until(stopped, Instant::now() + Duration::from_secs(1), stage.terms.capacity);
        // It may have been stopped before it knew what it had claimed: then there is nothing to refuse.
        eventually("it has let go of what it had", async || {
            let is_refused = stage.metric(victim, "qron_claims_lost_total").await > refused;
            let is_idle = stage.metric(victim, "qron_tasks_in_flight").await < 1.0;
            if is_refused || is_idle { Ok(()) } else { Err("it is at work, and nothing was refused".to_owned()) }
        })
        .await;
        let sorted = |mut tasks: Vec<qron::domain::task::Task>| {
            tasks.sort_by_key(|task| task.id);
            tasks
        };
        let after = store.tasks_by_id(&left).await.expect("readable");
        assert_eq!(sorted(before), sorted(after), "what had ended stays as it ended");
    }
    stage.until_all_ended(&store).await;
    let refused = stage.total(&fleet, "qron_claims_lost_total").await;
    stop_all(fleet).await;
    let findings = check(&stage, INTERRUPTED).await;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    let refused = refused as usize;
    assert!(refused <= held, "{refused} refused, {held} held");
    (findings, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_replica_that_wakes_up_overwrites_nothing() {
    // Stopped at an unlucky moment, it holds nothing that it knows of.
    for _ in 0..4 {
        let (_, refused) = freeze(200, 2, 1).await;
        if refused > 0 {
            return;
        }
    }
    panic!("it was frozen at work in none of four storms");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and prints figures"]
async fn twenty_replicas_freeze_and_wake_up() {
    let (findings, refused) = freeze(10_000, 4, 20).await;
    println!("SIGSTOP for three leases, 20 times: {findings:?}; {refused} stale outcomes refused, 0 accepted");
}
