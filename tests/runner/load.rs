//! Capacity under backlog: never exceeded, and hardly ever idle.

use std::time::{Duration, Instant};

use qron::domain::task::{Task, TaskStatus};
use serde_json::json;

use crate::support::{World, agent, planned};

const TASKS: usize = 300;
const CAPACITY: usize = 100;
const LATENCY: Duration = Duration::from_secs(1);

/// How long the tasks took, as a multiple of the ideal: all agents busy all the time.
async fn race() -> f64 {
    let world = World::new(&[]).await;
    let tasks: Vec<Task> =
        (0..TASKS).map(|_| planned("take a second", &json!([world.web.step("s1", "slow/page")]))).collect();
    world.insert(&tasks).await;
    let began = Instant::now();
    let runner = world.runner_of("r1", vec![agent("a", &[], CAPACITY)]).await;
    world.until_count(TaskStatus::Completed, TASKS as u64).await;
    let took = began.elapsed();
    runner.shutdown().await;

    let ideal = LATENCY * u32::try_from(TASKS.div_ceil(CAPACITY)).expect("small");
    let (peak, busy) = world.web.occupation();
    assert!(peak <= CAPACITY, "{peak} at once");
    assert!(busy >= LATENCY * u32::try_from(TASKS).expect("small"), "only {busy:?} of work was done");
    took.as_secs_f64() / ideal.as_secs_f64()
}

/// Whatever else this machine does meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn capacity_is_never_exceeded_and_is_used_under_backlog() {
    let multiple = race().await;
    assert!(multiple < 3.0, "{multiple:.2} times the ideal");
}

/// The bound that is promised, on a machine that does nothing else:
/// `cargo test --release --test runner -- --ignored a_backlog_takes_hardly_longer_than_it_must`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures time, so it needs a machine of its own"]
async fn a_backlog_takes_hardly_longer_than_it_must() {
    let multiple = race().await;
    assert!(multiple < 1.15, "{multiple:.2} times the ideal");
}
