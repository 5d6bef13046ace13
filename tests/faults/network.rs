//! A bad network between replicas and the store: cut, slow, breaking connections.

use std::process::Command;
use std::time::{Duration, Instant};

use qron::domain::id::TaskId;
use qron::domain::task::TaskStatus;

use crate::checker::{Findings, INTERRUPTED, UNHARMED, check};
use crate::stage::{Replica, Stage, Terms, any_below, stop_all};
use crate::support::eventually;
use crate::support::process::PROGRAM;
use crate::support::proxy::Proxy;
use crate::workers::until_moved_on;

/// Steps of a chain: it takes longer than a lease.
const STEPS: usize = 40;

/// What a replica may do after its lease has run out: finish what it was just about to do, on a machine of its own.
const SLACK: Duration = Duration::from_millis(300);
/// The same where other tests run beside it.
const SLACK_IN_COMPANY: Duration = Duration::from_secs(1);

struct Parted {
    findings: Findings,
    /// From the cut until the last call of the replica that was cut off.
    worked_on: Duration,
    /// Outcomes that it sent after it was joined again, all refused.
    refused: usize,
}

/// Cuts one of two replicas off from the store for three leases.
async fn part(chains: usize, tasks: usize, slack: Duration) -> Parted {
    let lease = Duration::from_secs(2);
    let terms = Terms { lease, call_takes: Duration::from_millis(80), capacity: chains + 4, ..Terms::default() };
    let stage = Stage::new(terms).await;
    let store = stage.store().await;
    let proxy = Proxy::to(&stage.url).await;
    let lonely = stage.replica_by(Command::new(PROGRAM), &proxy.url).await;
    stage.insist(&lonely, &stage.chains(chains, STEPS)).await;
    until_moved_on(&stage, chains * 3).await;
    let other = stage.replica().await;
    let (lonely_name, other_name) = (lonely.name(&store).await, other.name(&store).await);

    proxy.part(true);
    let parted = Instant::now();
    // It may go on for a lease; each of its tasks then makes a call at a time, which nobody records.
    stage.interrupted_until(parted, parted + lease + slack, chains * STEPS + terms.capacity);
    stage.load(&other, tasks).await;
    let left: Vec<TaskId> = store.held(&lonely_name, 1_000).await.expect("readable").iter().map(|one| one.id).collect();
    assert!(!left.is_empty(), "it was cut off at work");
    eventually("the other one has ended what the lonely one had", async || {
        let tasks = store.tasks_by_id(&left).await.map_err(|error| error.to_string())?;
        let open = tasks.iter().filter(|task| !task.state.status.is_terminal()).count();
        if open == 0 { Ok(()) } else { Err(format!("{open} are open")) }
    })
    .await;
    tokio::time::sleep((lease * 3).saturating_sub(parted.elapsed())).await;

    // Whatever was called after the lease was called by the other one, once it had the task.
    let steps = stage.effects.by_step();
    let numbers = stage.ledger.lock().expect("not poisoned").sent.clone();
    let mut worked_on = Duration::ZERO;
    for id in &left {
        let attempts = store.attempts(*id).await.expect("readable");
        let Some(taken_over) = attempts.iter().find(|attempt| attempt.replica == other_name) else {
            panic!("{id} has ended without the other one: {attempts:?}");
        };
        let mut after = 0;
        for ((_, step), calls) in steps.range((numbers[id], String::new())..(numbers[id] + 1, String::new())) {
            let by_other = calls.iter().filter(|call| call.at >= taken_over.started_at).count();
            assert!(by_other <= 1, "{step} of {id} was called by both, {by_other} times");
            after += by_other;
            let lonely = calls.iter().filter(|call| call.at < taken_over.started_at);
            worked_on = lonely.map(|call| call.began.saturating_duration_since(parted)).fold(worked_on, Duration::max);
        }
        assert!(after > 0, "{id} was ended without work");
    }
    assert!(worked_on < lease + slack, "it went on to work for {worked_on:?}, with a lease of {lease:?}");

    let before = ended(&stage, &left).await;
    proxy.part(false);
    eventually("what it did is refused", async || {
        let refused = stage.metric(&lonely, "qron_claims_lost_total").await;
        if refused > 0.0 { Ok(()) } else { Err("nothing was refused".to_owned()) }
    })
    .await;
    stage.load(&lonely, tasks).await;
    stage.until_all_ended(&store).await;
    assert_eq!(before, ended(&stage, &left).await, "what had ended stays as it ended");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    let refused = stage.metric(&lonely, "qron_claims_lost_total").await as usize;
    stop_all(vec![lonely, other]).await;
    Parted { findings: check(&stage, INTERRUPTED).await, worked_on, refused }
}

/// The tasks as they stand, in the order of their ids.
async fn ended(stage: &Stage, ids: &[TaskId]) -> Vec<qron::domain::task::Task> {
    let mut tasks = stage.store().await.tasks_by_id(ids).await.expect("readable");
    tasks.sort_by_key(|task| task.id);
    tasks
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_cut_off_stops_within_its_lease_and_overwrites_nothing() {
    part(6, 20, SLACK_IN_COMPANY).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures"]
async fn a_partition_under_load() {
    for round in 1..=10 {
        let Parted { findings, worked_on, refused } = part(40, 450, SLACK).await;
        println!(
            "partition {round} of three leases: its last call {worked_on:?} after the cut, with a lease of 2 s; {refused} \
             stale outcomes refused, 0 accepted; {findings:?}"
        );
    }
}

/// Requests to the store by these replicas, so far.
async fn requests(stage: &Stage, replicas: &[Replica]) -> f64 {
    stage.total(replicas, "qron_store_operation_seconds_count").await
}

/// Delays of the store while tasks run, each for a while; gives back requests per second without delay and with each.
async fn delay(tasks: usize, lease: Duration, stages: &[(Duration, Duration)]) -> (Findings, Vec<f64>) {
    let stage = Stage::new(Terms { lease, ..Terms::default() }).await;
    let store = stage.store().await;
    let (mut proxies, mut fleet) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let proxy = Proxy::to(&stage.url).await;
        fleet.push(stage.replica_by(Command::new(PROGRAM), &proxy.url).await);
        proxies.push(proxy);
    }
    let mut rates = Vec::new();
    for (length, lasts) in stages {
        // Every place is taken by a task that lasts as long as the delay; more wait.
        stage.effects.close(true);
        stage.load(&fleet[0], tasks.max(stage.terms.capacity * 2)).await;
        let running = async || {
            let counts = store.task_counts().await.map_err(|error| error.to_string())?;
            let running = counts.get(&TaskStatus::Running).copied().unwrap_or(0);
            let wanted = stage.terms.capacity * 2;
            if running == wanted as u64 { Ok(()) } else { Err(format!("{counts:?}")) }
        };
        eventually("every place is taken", running).await;
        for proxy in &proxies {
            proxy.delay(*length);
        }
        let (before, began) = (requests(&stage, &fleet).await, Instant::now());
        tokio::time::sleep(*lasts).await;
        rates.push((requests(&stage, &fleet).await - before) / began.elapsed().as_secs_f64());
        stage.effects.close(false);
        until_moved_on(&stage, stage.terms.capacity).await;
        for proxy in &proxies {
            proxy.delay(Duration::ZERO);
        }
        stage.until_all_ended(&store).await;
    }
    for name in ["qron_claims_lost_total", "qron_tasks_rescued_total", "qron_tasks_released_total"] {
        let count = stage.total(&fleet, name).await;
        assert!(count == 0.0, "{name} is {count}");
    }
    stop_all(fleet).await;
    let findings = check(&stage, UNHARMED).await;
    assert_eq!((findings.crashes, findings.releases), (0, 0));
    (findings, rates)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_store_costs_no_lease() {
    let lease = Duration::from_secs(6);
    let stages = [0, 200, 1_000].map(|delay_ms| (Duration::from_millis(delay_ms), lease));
    let (_, rates) = delay(16, lease, &stages).await;
    assert!(rates[1] <= rates[0] * 2.0 && rates[2] <= rates[0] * 2.0, "requests per second: {rates:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and prints figures"]
async fn a_slow_store_under_load() {
    let lease = Duration::from_secs(15);
    // Longer than the lease, and shorter than a tool may take.
    let lasts = Duration::from_secs(20);
    let stages = [Duration::ZERO, Duration::from_millis(200), Duration::from_secs(2)].map(|delay| (delay, lasts));
    let (findings, rates) = delay(3_000, lease, &stages).await;
    println!("store +0, +200 ms, +2 s for 20 s each, a lease of 15 s: no lease lost; {findings:?}");
    println!("requests per second of two replicas: {rates:.1?}");
}

/// Breaks connections, in the middle of requests and between a request and its answer, while tasks run.
async fn reset(tasks: usize, faults: usize) -> (Findings, f64) {
    let stage = Stage::new(Terms::default()).await;
    let store = stage.store().await;
    let (mut proxies, mut fleet) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let proxy = Proxy::to(&stage.url).await;
        fleet.push(stage.replica_by(Command::new(PROGRAM), &proxy.url).await);
        proxies.push(proxy);
    }
    let breaking = async {
        for fault in 0..faults {
            let proxy = &proxies[fault % 2];
            // The client tries once more by itself, so some faults come in a row.
            let count = 1 + fault % 3;
            if fault % 4 < 2 {
                proxy.cut(count);
            } else {
                proxy.tear(count);
            }
            eventually("the faults have happened", async || {
                if proxy.pending() == 0 { Ok(()) } else { Err(format!("{} to come", proxy.pending())) }
            })
            .await;
            tokio::time::sleep(Duration::from_millis(any_below(100))).await;
        }
    };
    let inserter = async {
        for (index, batch) in stage.tasks(tasks).chunks(10).enumerate() {
            stage.insist(&fleet[index % 2], batch).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::join!(breaking, inserter);
    stage.until_all_ended(&store).await;
    let lost = stage.total(&fleet, "qron_claims_lost_total").await;
    stop_all(fleet).await;
    let findings = check(&stage, UNHARMED).await;
    assert_eq!(findings.crashes, 0, "nobody was taken for dead");
    (findings, lost)
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_connections_lose_and_double_nothing() {
    reset(200, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and prints figures"]
async fn a_thousand_broken_connections() {
    let (findings, lost) = reset(10_000, 1_000).await;
    println!("1,000 rounds of broken connections: {findings:?}; {lost} outcomes lost");
}
