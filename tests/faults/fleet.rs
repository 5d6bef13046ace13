//! Many replicas: racing for the same tasks, restarted one after another, and taken down by a task.

use std::process::Command;
use std::time::Duration;

use qron::domain::failure::FailureClass;
use qron::domain::id::TaskId;
use qron::domain::task::{MAX_CRASHES, TaskStatus};

use crate::checker::{Allowed, Findings, INTERRUPTED, UNHARMED, check};
use crate::effects::ENDLESS;
use crate::stage::{Stage, Terms, stop_all};
use crate::store::serve;
use crate::support::eventually;
use crate::support::process::PROGRAM;
use crate::workers::until_moved_on;

/// Lets eight replicas race for tasks that all become due at once, after a restart of the store in their midst if there
/// is `restart`; gives back the share of races that were lost.
async fn race(tasks: usize, restart: bool) -> (Findings, f64) {
    let terms = Terms { capacity: 4, lease: Duration::from_secs(10), ..Terms::default() };
    let (stage, mut server) = if restart {
        let (stage, server, port) = serve(terms, Command::new(PROGRAM)).await;
        (stage, Some((server, port)))
    } else {
        (Stage::new(terms).await, None)
    };
    let fleet = stage.replicas(8).await;
    let store = stage.store().await;
    stage.post(&fleet[0], "/pause", &serde_json::json!({})).await;
    stage.load(&fleet[0], tasks).await;
    stage.post(&fleet[0], "/resume", &serde_json::json!({})).await;
    if let Some((process, port)) = server.take() {
        until_moved_on(&stage, tasks / 2).await;
        process.qron.kill();
        server = Some((stage.server(Command::new(PROGRAM), port).await, port));
    }
    stage.until_all_ended(&store).await;
    let claimed = stage.total(&fleet, "qron_tasks_claimed_total").await;
    let lost = stage.total(&fleet, "qron_claim_races_lost_total").await;
    let mut winners = 0;
    for replica in &fleet {
        winners += usize::from(stage.metric(replica, "qron_tasks_claimed_total").await > 0.0);
    }
    stop_all(fleet).await;
    let findings = check(&stage, UNHARMED).await;
    if let Some((process, _)) = server {
        process.stop().await;
    }
    assert!(winners >= 4, "only {winners} replicas got any");
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let all = findings.completed as f64;
    assert!((claimed - all).abs() < 0.5, "{claimed} claims were won for {all} tasks");
    assert_eq!((findings.crashes, findings.releases), (0, 0));
    (findings, lost / claimed)
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_replicas_claim_each_task_once_and_seldom_get_in_each_others_way() {
    let (findings, lost) = race(400, false).await;
    assert!(lost <= 0.2, "{lost:.2} races were lost for each that was won: {findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and prints figures"]
async fn eight_replicas_race_for_ten_thousand_tasks() {
    let (findings, lost) = race(10_000, false).await;
    println!("8 replicas, 10,000 tasks due at once: {:.1} % of races lost, {findings:?}", lost * 100.0);
    assert!(lost <= 0.2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures"]
async fn a_thousand_tasks_are_due_at_once_when_the_store_restarts() {
    let (findings, lost) = race(1_000, true).await;
    println!("8 replicas, 1,000 tasks due at once, store restarted: {:.1} % of races lost, {findings:?}", lost * 100.0);
    assert!(lost <= 0.2);
}

/// Restarts three replicas one after the other, `rounds` times, while they work.
async fn roll(tasks: usize, rounds: usize) -> Findings {
    let stage = Stage::new(Terms::default()).await;
    let mut fleet = stage.replicas(3).await;
    let store = stage.store().await;
    for _ in 0..rounds * 3 {
        // The one that goes is always the first, the one that is talked to the last.
        let talker = fleet.len() - 1;
        stage.load(&fleet[talker], tasks / rounds / 3).await;
        until_moved_on(&stage, stage.terms.capacity).await;
        let leaving = fleet.remove(0);
        let (arrived, ()) = tokio::join!(stage.replica(), leaving.stop());
        fleet.push(arrived);
    }
    stage.until_all_ended(&store).await;
    stop_all(fleet).await;
    let findings = check(&stage, UNHARMED).await;
    assert_eq!((findings.crashes, findings.releases, findings.repeats), (0, 0, 0));
    assert!(store.replicas().await.expect("readable").is_empty(), "all have signed off");
    findings
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_doubles_and_charges_nothing() {
    roll(450, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and prints figures"]
async fn ten_rolling_restarts() {
    println!("rolling restart of 3 replicas, 10 times: {:?}", roll(10_000, 10).await);
}

/// A task that takes down whatever process runs it, among others.
async fn poison(tasks: usize, replicas: usize) -> Findings {
    let stage = Stage::new(Terms { lease: Duration::from_secs(2), ..Terms::default() }).await;
    let mut fleet = stage.replicas(replicas).await;
    let store = stage.store().await;
    let bodies = stage.endless();
    let id: TaskId = bodies[0]["id"].as_str().expect("an id").parse().expect("an id");
    stage.insist(&fleet[0], &bodies).await;
    let deadly = || stage.effects.calls().iter().filter(|call| call.step == ENDLESS).count();
    for crash in 1..=MAX_CRASHES as usize {
        stage.load(fleet.last().expect("one"), tasks / MAX_CRASHES as usize).await;
        eventually("somebody runs the deadly task", async || {
            if deadly() == crash { Ok(()) } else { Err(format!("it was run {} times", deadly())) }
        })
        .await;
        let claim = store.task(id).await.expect("readable").expect("there").state.claim.expect("claimed");
        let victim = fleet.iter().position(|replica| replica.is(&claim.owner)).expect("one of them");
        fleet.remove(victim).qron.kill();
        stage.interrupted(1);
        fleet.insert(0, stage.replica().await);
    }
    stage.until_all_ended(&store).await;
    stop_all(fleet).await;
    assert_eq!(deadly(), MAX_CRASHES as usize, "it was not run again");
    let task = store.task(id).await.expect("readable").expect("there");
    assert_eq!((task.state.status, task.state.crashes), (TaskStatus::Failed, MAX_CRASHES));
    let letter = store.dead_letter(id).await.expect("readable").expect("a dead letter");
    assert_eq!((letter.attempts, letter.failure.class), (MAX_CRASHES, FailureClass::Crashed));
    check(&stage, Allowed { poisonous: 1, ..INTERRUPTED }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_takes_down_three_processes_is_a_dead_letter_and_the_others_complete() {
    let findings = poison(90, 2).await;
    assert_eq!(findings.given_up, 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and prints figures"]
async fn a_deadly_task_among_ten_thousand() {
    println!("a task that takes its process down, among others: {:?}", poison(9_999, 4).await);
}
