//! Order, fairness and limits.

use std::time::Duration;

use qron::clock;
use qron::config::Config;
use qron::domain::limit::{Limit, Limits};
use qron::domain::task::{Claim, Task, TaskStatus};
use qron::store::TaskFilter;

use crate::support::eventually;
use crate::support::world::{EVERY_SECOND, World, agent, planned, sum};

fn of(key: &str, task: Task) -> Task {
    task.with(|task| task.spec.concurrency_key = Some(key.to_owned()))
}

/// A configuration in which each concurrency key has `limit`.
fn limited(config: &Config, limit: Limit) -> Config {
    let keys = [("*".to_owned(), limit)].into();
    with(config, Limits { keys, ..Limits::default() })
}

fn with(config: &Config, limits: Limits) -> Config {
    let mut config = config.clone();
    config.limits = limits;
    config
}

async fn running(world: &World, key: &str) -> usize {
    let filter = TaskFilter {
        statuses: vec![TaskStatus::Running],
        concurrency_key: Some(key.to_owned()),
        ..TaskFilter::default()
    };
    world.store.tasks(&filter, 1_000, None).await.expect("tasks").items.len()
}

/// The tasks of a customer who inserted one come before the bulk of one who inserted thousands.
#[tokio::test(flavor = "multi_thread")]
async fn a_noisy_key_hides_no_other() {
    let world = World::new(&[]).await;
    let began = clock::now();
    let noisy: Vec<Task> = (0..3_000)
        .map(|_| of("noisy", sum("one of many")).with(|task| task.spec.run_at = began.plus_millis(-2)))
        .collect();
    world.store.insert(&noisy).await.expect("inserted");
    // Later, and so behind all of them.
    let later = began.plus_millis(-1);
    let quiet: Vec<Task> = (0..3)
        .map(|index| of(&format!("quiet {index}"), sum("the only one")).with(|task| task.spec.run_at = later))
        .collect();
    let plain = sum("without a key").with(|task| task.spec.run_at = later);
    world.store.insert(&quiet).await.expect("inserted");
    world.store.insert(std::slice::from_ref(&plain)).await.expect("inserted");
    let runner = world.runner_of("one", vec![agent("generalist", &[], 8)]).await;
    for task in quiet.iter().chain([&plain]) {
        world.until(task.id, TaskStatus::Completed).await;
    }
    let done = world.store.task_counts().await.expect("counts").get(&TaskStatus::Completed).copied().unwrap_or(0);
    assert!(done < 1_000, "{done} were completed before those that a noisy key would have hidden");
    runner.shutdown().await;
}

async fn done(world: &World, key: &str) -> usize {
    let filter = TaskFilter {
        statuses: vec![TaskStatus::Completed],
        concurrency_key: Some(key.to_owned()),
        ..TaskFilter::default()
    };
    world.store.tasks(&filter, 10_000, None).await.expect("tasks").items.len()
}

/// Who gives keys to some tasks only, or shares a fleet with somebody who gives none.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_tasks_without_a_key_hides_none_with_one() {
    let world = World::new(&[]).await;
    let began = clock::now();
    let flood: Vec<Task> =
        (0..10_000).map(|_| sum("one of many").with(|task| task.spec.run_at = began.plus_millis(-2))).collect();
    world.store.insert(&flood).await.expect("inserted");
    let later = began.plus_millis(-1);
    let quiet: Vec<Task> = (0..40)
        .map(|index| of(&format!("quiet {}", index % 4), sum("one of a few")).with(|task| task.spec.run_at = later))
        .collect();
    world.store.insert(&quiet).await.expect("inserted");
    let runner = world.runner_of("one", vec![agent("generalist", &[], 8)]).await;
    for task in &quiet {
        world.until(task.id, TaskStatus::Completed).await;
    }
    let done = world.store.task_counts().await.expect("counts").get(&TaskStatus::Completed).copied().unwrap_or(0);
    assert!(done < 5_000, "{done} were completed before those with a key");
    runner.shutdown().await;
}

/// And the reverse: one key that is there first, with more than all the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_noisy_key_before_ten_thousand_of_others_takes_its_turns_only() {
    let world = World::new(&[]).await;
    let now = clock::now();
    let noisy: Vec<Task> = (0..5_000)
        .map(|_| of("noisy", sum("one of many")).with(|task| task.spec.run_at = now.plus_millis(-60_000)))
        .collect();
    let others: Vec<Task> = (0..10_000)
        .map(|index| match index % 10 {
            0 => sum("without a key"),
            number => of(&format!("customer {number}"), sum("one of a thousand")),
        })
        .collect();
    world.store.insert(&noisy).await.expect("inserted");
    world.store.insert(&others).await.expect("inserted");
    let runner = world.runner_of("one", vec![agent("generalist", &[], 40)]).await;
    eventually("each customer has had a hundred turns", async || {
        for number in 1..10 {
            let done = done(&world, &format!("customer {number}")).await;
            if done < 100 {
                return Err(format!("customer {number} has had {done}"));
            }
        }
        Ok(())
    })
    .await;
    let counts = world.store.task_counts().await.expect("counts");
    let all = counts.get(&TaskStatus::Completed).copied().unwrap_or(0);
    let done = done(&world, "noisy").await;
    assert!(done * 4 < usize::try_from(all).expect("a number"), "{done} of {all} were those of the noisy key");
    runner.shutdown().await;
}

/// Several replicas claim at the same moment; each time, what runs is counted.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_of_a_key_run_than_its_limit_in_all_replicas_together() {
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let config = limited(&world.config, Limit { max_running: Some(2), ..Limit::default() });
    let step = world.web.step("s", "slow/a");
    let mut tasks: Vec<Task> = (0..8).map(|_| of("acme", planned("slow", &serde_json::json!([step])))).collect();
    tasks.push(of("other", sum("not held up by the others")));
    world.insert(&tasks).await;
    let mut runners = Vec::new();
    for name in ["one", "two", "three"] {
        runners.push(world.start(name, vec![agent("generalist", &[], 50)], &config).await);
    }
    world.until(tasks[8].id, TaskStatus::Completed).await;
    world.until_count(TaskStatus::Completed, 9).await;
    let (peak, busy) = world.web.occupation();
    assert!(peak <= 2, "{peak} at once");
    assert!(busy >= Duration::from_secs(8), "each was carried out: {busy:?}");
    for runner in runners {
        runner.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_has_a_limit_for_the_whole_fleet() {
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let agents = [("writer".to_owned(), Limit { max_running: Some(2), ..Limit::default() })].into();
    let config = with(&world.config, Limits { agents, ..Limits::default() });
    let step = world.web.step("s", "slow/a");
    let tasks: Vec<Task> = (0..6).map(|_| planned("slow", &serde_json::json!([step]))).collect();
    world.insert(&tasks).await;
    let mut runners = Vec::new();
    for name in ["one", "two"] {
        runners.push(world.start(name, vec![agent("writer", &[], 50)], &config).await);
    }
    world.until_count(TaskStatus::Completed, 6).await;
    let (peak, _) = world.web.occupation();
    assert!(peak <= 2, "{peak} at once");
    for runner in runners {
        runner.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_of_a_key_are_spread_over_time() {
    let world = World::new(&[]).await;
    let limit = Limit { starts: Some(3), per_s: 3_600, ..Limit::default() };
    let config = limited(&world.config, limit);
    let tasks: Vec<Task> = (0..10).map(|_| of("acme", sum("one of ten"))).collect();
    world.insert(&tasks).await;
    let free = sum("without a key");
    let one = world.start("one", world.agents(), &config).await;
    let two = world.start("two", world.agents(), &config).await;
    world.until_count(TaskStatus::Completed, 3).await;
    world.insert(std::slice::from_ref(&free)).await;
    world.until(free.id, TaskStatus::Completed).await;
    let counts = world.store.task_counts().await.expect("counts");
    assert_eq!(
        counts.get(&TaskStatus::Completed),
        Some(&4),
        "three of the key in an hour, and one without: {counts:?}"
    );
    eventually("the others are handed back, or never claimed", async || match running(&world, "acme").await {
        0 => Ok(()),
        count => Err(format!("{count} run")),
    })
    .await;
    one.shutdown().await;
    two.shutdown().await;
}

/// Replicas that race for one account get no more of it than there is.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_starts_is_never_overdrawn() {
    let world = World::new(&[]).await;
    let now = clock::now();
    let racers = (0..6).map(|_| {
        let store = world.store.clone();
        tokio::spawn(async move {
            let mut taken = 0;
            for _ in 0..4 {
                taken += store.take_starts("key x", 2, (10, 3_600), now).await.map_or(0, |allowed| allowed.starts);
            }
            taken
        })
    });
    let mut total = 0;
    for racer in racers.collect::<Vec<_>>() {
        total += racer.await.expect("no panic");
    }
    assert!((1..=10).contains(&total), "{total}");
}

/// An urgent task goes first, yet what has waited longer than the head start goes before it.
#[tokio::test]
async fn priority_is_a_head_start_and_starves_nobody() {
    let store = World::new(&[]).await.store;
    let now = clock::now();
    let aged = |age_ms: i64, priority: u8| {
        sum("x").with(|task| {
            task.spec.run_at = now.plus_millis(-age_ms);
            task.spec.priority = priority;
        })
    };
    let (old_and_idle, fresh_and_urgent, fresh) = (aged(11 * 60_000, 0), aged(0, 10), aged(0, 5));
    store.insert(&[fresh.clone(), fresh_and_urgent.clone(), old_and_idle.clone()]).await.expect("inserted");
    let due = store.due(now.plus_millis(1), 10, &qron::store::DueExclusions::default()).await.expect("due");
    let order: Vec<_> = due.iter().map(|task| task.id).collect();
    assert_eq!(order, [old_and_idle.id, fresh_and_urgent.id, fresh.id]);
    let claim = Claim { token: "t".into(), owner: "r".into() };
    assert_eq!(store.claim(&order, &claim, now).await.expect("claimed").len(), 3);
}
