//! Many edges stay cheap. The long forms print what they took:
//! `LINKS=10000 cargo test --release --test it ten_thousand -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use qron::domain::task::{Task, TaskStatus};

use crate::support::world::{NEVER, World, agent, sum};

/// Waits as long as it takes, as long as it goes on.
async fn until_completed(world: &World, wanted: u64) {
    let (mut last, mut moved) = (0, Instant::now());
    loop {
        let counts = world.store.task_counts().await.expect("counts");
        let done = counts.get(&TaskStatus::Completed).copied().unwrap_or(0);
        if done == wanted {
            return;
        }
        if done != last {
            (last, moved) = (done, Instant::now());
        }
        assert!(moved.elapsed() < Duration::from_secs(30), "it does not go on: {counts:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// `count` tasks, and one that waits for all of them.
async fn fan_in(count: usize) -> Duration {
    let world = World::new(&[("SCHEDULER__SWEEP", NEVER)]).await;
    let tasks: Vec<Task> = (0..count).map(|_| sum("a part")).collect();
    let last = sum("the whole").with(|changed| {
        changed.state.status = TaskStatus::Waiting;
        changed.spec.depends_on = tasks.iter().map(|task| task.id).collect();
    });
    world.insert(std::slice::from_ref(&last)).await;
    world.insert(&tasks).await;
    let began = Instant::now();
    let runner = world.runner_of("one", vec![agent("generalist", &[], 256)]).await;
    until_completed(&world, count as u64 + 1).await;
    let took = began.elapsed();
    runner.shutdown().await;
    took
}

/// `count` tasks, each waiting for the one before.
async fn chain(count: usize) -> Duration {
    let world = World::new(&[("SCHEDULER__SWEEP", NEVER)]).await;
    let mut tasks: Vec<Task> = Vec::with_capacity(count);
    for _ in 0..count {
        let mut task = sum("a link");
        if let Some(before) = tasks.last() {
            (task.state.status, task.spec.depends_on) = (TaskStatus::Waiting, vec![before.id]);
        }
        tasks.push(task);
    }
    world.insert(&tasks).await;
    let began = Instant::now();
    let runner = world.runner("one").await;
    until_completed(&world, count as u64).await;
    let took = began.elapsed();
    runner.shutdown().await;
    took
}

/// One task, and `count` that wait for it.
async fn fan_out(count: usize) -> Duration {
    let world = World::new(&[("SCHEDULER__SWEEP", NEVER)]).await;
    let first = sum("first");
    let tasks: Vec<Task> = (0..count)
        .map(|_| {
            sum("a part").with(|task| {
                task.state.status = TaskStatus::Waiting;
                task.spec.depends_on = vec![first.id];
            })
        })
        .collect();
    world.insert(&tasks).await;
    world.insert(std::slice::from_ref(&first)).await;
    let began = Instant::now();
    let runner = world.runner_of("one", vec![agent("generalist", &[], 256)]).await;
    until_completed(&world, count as u64 + 1).await;
    let took = began.elapsed();
    runner.shutdown().await;
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_edges_are_followed_in_every_shape() {
    fan_in(300).await;
    fan_out(300).await;
    chain(40).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn ten_thousand_edges_into_one_task_and_out_of_one() {
    for (shape, took) in [("fan-in", fan_in(10_000).await), ("fan-out", fan_out(10_000).await)] {
        println!("{shape}: 10,000 edges in {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn ten_thousand_edges_in_a_row() {
    let links = std::env::var("LINKS").ok().and_then(|links| links.parse().ok()).unwrap_or(10_000);
    let took = chain(links).await;
    println!("chain: {links} edges in {took:?}, {:?} for each", took / u32::try_from(links).expect("a small number"));
}
