//! Due tasks are found, claimed and carried out.

use std::collections::HashMap;

use qron::clock;
use qron::domain::limit::{Limit, Limits};
use qron::domain::task::{Task, TaskStatus};
use serde_json::json;

use crate::support::world::{EVERY_SECOND, World, agent, planned, sum};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_due_before_the_start_is_carried_out_and_its_way_is_recorded() {
    let world = World::new(&[]).await;
    let task = sum("add two numbers");
    world.insert(std::slice::from_ref(&task)).await;
    let runner = world.runner("r1").await;
    let done = world.until(task.id, TaskStatus::Completed).await;
    assert!(done.state.result.expect("a result").to_string().contains("42"));
    assert!(done.state.claim.is_none() && done.state.finished_at.is_some());
    runner.shutdown().await;

    let attempts = world.store.attempts(task.id).await.expect("readable");
    assert_eq!(attempts.len(), 1);
    assert_eq!((attempts[0].replica.as_str(), attempts[0].number), ("r1", 1));
    let history = world.history(task.id).await;
    assert_eq!(history.iter().filter(|kind| *kind == "claimed" || *kind == "completed").count(), 2, "{history:?}");
    assert!(world.store.replicas().await.expect("readable").is_empty(), "it has signed off");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_starts_at_once_without_the_sweep() {
    let world = World::new(&[]).await;
    let runner = world.runner("r1").await;
    for round in 0..3 {
        let task = sum(&format!("round {round}"));
        world.insert(std::slice::from_ref(&task)).await;
        world.until(task.id, TaskStatus::Completed).await;
    }
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweep_finds_what_nobody_announced() {
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let runner = world.runner("r1").await;
    let first = sum("announced");
    world.insert(std::slice::from_ref(&first)).await;
    world.until(first.id, TaskStatus::Completed).await;
    let silent = sum("not announced");
    world.store.insert(std::slice::from_ref(&silent)).await.expect("inserted");
    world.until(silent.id, TaskStatus::Completed).await;
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_due_soon_starts_when_it_is_due_without_the_sweep() {
    let world = World::new(&[]).await;
    let runner = world.runner("r1").await;
    let due = clock::now().plus_millis(700);
    let task = sum("later").with(|task| task.spec.run_at = due);
    world.insert(std::slice::from_ref(&task)).await;
    let done = world.until(task.id, TaskStatus::Completed).await;
    let late_ms = done.state.finished_at.expect("finished").as_millis() - due.as_millis();
    assert!((0..5_000).contains(&late_ms), "finished {late_ms} ms after it was due");
    runner.shutdown().await;
}

/// Nothing of the full agent's is due, and the sweep never comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_agent_does_not_make_another_oversleep() {
    let world = World::new(&[]).await;
    let long =
        planned("long", &json!([world.web.step("s1", "held/long")])).with(|task| task.spec.agent = Some("full".into()));
    world.insert(std::slice::from_ref(&long)).await;
    let runner = world.runner_of("r1", vec![agent("full", &[], 1), agent("idle", &[], 1)]).await;
    world.web.until_visited("held/long", 1).await;
    let later = sum("later").with(|task| {
        task.spec.run_at = clock::now().plus_millis(700);
        task.spec.agent = Some("idle".into());
    });
    world.insert(std::slice::from_ref(&later)).await;
    world.until(later.id, TaskStatus::Completed).await;
    world.web.release("long");
    world.until(long.id, TaskStatus::Completed).await;
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_limit_of_starts_hands_back_starts_when_it_may() {
    let world = World::new(&[]).await;
    let limit = Limit { starts: Some(1), per_s: 2, ..Limit::default() };
    let mut config = world.config.clone();
    config.limits = Limits { keys: [("*".to_owned(), limit)].into(), ..Limits::default() };
    let runner = world.start("r1", world.agents(), &config).await;
    for round in 0..3 {
        let task = sum(&format!("round {round}")).with(|task| task.spec.concurrency_key = Some("acme".to_owned()));
        world.insert(std::slice::from_ref(&task)).await;
        world.until(task.id, TaskStatus::Completed).await;
    }
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn urgent_tasks_go_first() {
    let world = World::new(&[]).await;
    let now = clock::now();
    let tasks: Vec<Task> = (0..=10)
        .map(|priority| {
            sum("ordered").with(|task| {
                task.spec.priority = priority;
                task.spec.run_at = now;
            })
        })
        .collect();
    world.insert(&tasks).await;
    let runner = world.runner_of("r1", vec![agent("single", &[], 1)]).await;
    world.until_count(TaskStatus::Completed, 11).await;
    // By when they began: the next one begins before the end of the one before is stored.
    let mut begun = Vec::new();
    for task in &tasks {
        let attempts = world.store.attempts(task.id).await.expect("readable");
        begun.push((attempts[0].started_at, task.spec.priority));
    }
    begun.sort_by_key(|(started_at, _)| *started_at);
    let order: Vec<u8> = begun.iter().map(|(_, priority)| *priority).collect();
    assert_eq!(order, (0..=10).rev().collect::<Vec<_>>());
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_claim_takes_more_tasks_than_the_configuration_allows() {
    let world = World::new(&[("SCHEDULER__CLAIM_BATCH", "2")]).await;
    let held = || planned("held", &json!([world.web.step("s1", "held/claims")]));
    let tasks: Vec<Task> = (0..8).map(|_| held()).collect();
    world.insert(&tasks).await;
    let runner = world.runner_of("r1", vec![agent("one", &[], 8)]).await;
    world.web.until_visited("held/claims", 8).await;
    let mut claims: HashMap<String, usize> = HashMap::new();
    for task in &tasks {
        let claim = world.task(task.id).await.state.claim.expect("it runs");
        *claims.entry(claim.token).or_default() += 1;
    }
    assert!(claims.len() >= 4 && claims.values().all(|count| *count <= 2), "{claims:?}");
    world.web.release("claims");
    world.until_count(TaskStatus::Completed, 8).await;
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_agent_does_not_hold_up_the_tasks_of_another() {
    let world = World::new(&[("SCHEDULER__WINDOW", "8"), ("SCHEDULER__CLAIM_BATCH", "4")]).await;
    let slow: Vec<Task> = (0..40)
        .map(|_| {
            planned("slow", &json!([world.web.step("s1", "held/slow")])).with(|task| {
                task.spec.priority = 10;
                task.spec.capabilities = vec!["Waiting".into()];
            })
        })
        .collect();
    let quick: Vec<Task> = (0..3)
        .map(|_| {
            sum("quick").with(|task| {
                task.spec.priority = 0;
                task.spec.agent = Some("quick".into());
            })
        })
        .collect();
    world.insert(&slow).await;
    world.insert(&quick).await;
    let runner = world.runner_of("r1", vec![agent("slow", &["waiting"], 2), agent("quick", &[], 2)]).await;
    for task in &quick {
        world.until(task.id, TaskStatus::Completed).await;
    }
    world.web.until_visited("held/slow", 2).await;
    let loads = runner.loads();
    assert_eq!((loads[0].name.as_str(), loads[0].in_flight), ("slow", 2));
    world.web.release("slow");
    world.until_count(TaskStatus::Completed, 43).await;
    runner.shutdown().await;
}

/// More than the longest scan finds.
#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_tasks_that_ask_for_more_than_one_agent_offers_hides_nothing() {
    let world = World::new(&[]).await;
    let now = clock::now();
    let torn = |index: usize| {
        let words = [["a", "b"], ["B", "c"], ["c", "a"]][index % 3];
        sum("torn").with(|task| {
            task.spec.capabilities = words.map(str::to_owned).to_vec();
            task.spec.run_at = now.plus_millis(-60_000);
        })
    };
    let torn: Vec<Task> = (0..17_000).map(torn).collect();
    world.insert(&torn).await;
    let ordinary = sum("ordinary");
    world.insert(std::slice::from_ref(&ordinary)).await;
    let agents = ["a", "b", "c"].map(|word| agent(&format!("has {word}"), &[word], 4));
    let runner = world.runner_of("r1", agents.to_vec()).await;
    world.until(ordinary.id, TaskStatus::Completed).await;
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fits_no_agent_stays_pending_is_explained_once_and_hides_nothing() {
    let world =
        World::new(&[("SCHEDULER__WINDOW", "8"), ("SCHEDULER__CLAIM_BATCH", "4"), ("SCHEDULER__SWEEP", EVERY_SECOND)])
            .await;
    let strange: Vec<Task> = (0..30)
        .map(|index| {
            sum("strange").with(|task| {
                task.spec.priority = 10;
                task.spec.capabilities = vec![format!("Skill {}", index % 3)];
            })
        })
        .collect();
    // Each word is offered by some agent, but no agent offers both.
    let torn: Vec<Task> = (0..30)
        .map(|_| {
            sum("torn").with(|task| {
                task.spec.priority = 10;
                task.spec.capabilities = vec!["a".into(), "b".into()];
            })
        })
        .collect();
    let foreign: Vec<Task> = (0..30)
        .map(|_| {
            sum("foreign").with(|task| {
                task.spec.priority = 10;
                task.spec.agent = Some("elsewhere".into());
            })
        })
        .collect();
    for tasks in [&strange, &torn, &foreign] {
        world.insert(tasks).await;
    }
    let runner = world.runner_of("r1", vec![agent("one", &["a"], 4), agent("two", &["b"], 4)]).await;
    for _ in 0..3 {
        let ordinary = sum("ordinary").with(|task| task.spec.priority = 0);
        world.store.insert(std::slice::from_ref(&ordinary)).await.expect("inserted");
        world.until(ordinary.id, TaskStatus::Completed).await;
    }
    for task in [&torn[0], &foreign[0]] {
        assert_eq!(world.task(task.id).await.state.status, TaskStatus::Pending);
    }
    runner.shutdown().await;
    let told = |history: Vec<String>| history.into_iter().filter(|kind| kind == "unroutable").count();
    assert_eq!(told(world.history(torn[0].id).await), 1);
    assert_eq!(world.task(torn[0].id).await.state.status, TaskStatus::Pending);
}
