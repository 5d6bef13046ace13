//! kill -9 of qron together with the store it brings along.

use std::time::{Duration, Instant};

use qron::domain::attempt::AttemptStatus;
use qron::domain::task::{Task, TaskStatus};
use qron::store::Store;

use super::support::{Place, any_moment, until_completed};
use crate::support::eventually;

/// Kills `rounds` times while `count` tasks are worked on; gives back the longest time from a start to new work.
async fn survive(count: usize, rounds: usize, capacity: usize, page_takes: Duration) -> Duration {
    let place = Place::embedded(capacity, page_takes).await;
    let mut qron = place.start("qron");
    let tasks = place.tasks(count);
    for batch in tasks.chunks(256) {
        place.store().await.insert(batch).await.expect("inserted");
    }
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        // Mostly while it works, at times while it starts; never twice in a row before anything can be recorded,
        // since a task in hand at three such crashes is rightly taken for their cause.
        let moment = if round % 4 == 0 { 0..1_500 } else { 500..1_500 };
        tokio::time::sleep(any_moment(moment)).await;
        qron.kill();
        let before = place.web.count();
        qron = place.start("qron");
        let began = Instant::now();
        if round % 4 == 3 {
            // Some are hit before they are back at work.
            continue;
        }
        let idle = async || {
            let all_seen = (0..count).all(|task| !place.web.visits(task, "s3").is_empty());
            // As many visits as tasks are in hand: each of them has moved on since the last crash.
            if all_seen || place.web.count() >= before + capacity {
                Ok(all_seen)
            } else {
                Err("nothing is done".to_owned())
            }
        };
        if !eventually("it is back at work", idle).await {
            slowest = slowest.max(began.elapsed());
        }
    }
    let store = place.store().await;
    until_completed(&store, count).await;
    for (index, task) in tasks.iter().enumerate() {
        examine(&place, &store, index, task).await;
    }
    qron.terminate().await;
    slowest
}

/// One recorded outcome, and no step again after it had been recorded.
async fn examine(place: &Place, store: &Store, index: usize, task: &Task) {
    let done = store.task(task.id).await.expect("readable").expect("not lost");
    assert_eq!((done.state.status, done.state.attempt), (TaskStatus::Completed, 0), "task {index}");
    assert!(done.state.result.is_some() && done.state.error.is_none(), "task {index}");
    let attempts = store.attempts(task.id).await.expect("readable");
    let completed = attempts.iter().filter(|attempt| attempt.status == AttemptStatus::Completed).count();
    assert_eq!(completed, 1, "task {index}: {attempts:?}");
    for (step, number) in [("s1", 1), ("s3", 3)] {
        let recorded = attempts.iter().find(|attempt| attempt.progress.done >= number).expect("a record of the step");
        let visits = place.web.visits(index, step);
        assert!(!visits.is_empty(), "{step} of task {index} is recorded but was never done");
        let again = visits.iter().filter(|at| **at > recorded.updated_at).count();
        assert_eq!(again, 0, "{step} of task {index} was recorded at {} and done at {visits:?}", recorded.updated_at);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_done_again_when_the_process_is_killed() {
    let slowest = survive(60, 3, 10, Duration::from_millis(100)).await;
    assert!(slowest < Duration::from_secs(30), "back at work only after {slowest:?}");
}

/// The whole ordeal, on a machine that does nothing else:
/// `cargo test --release --test it -- --ignored twenty_kills`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and measures time"]
async fn twenty_kills_over_five_hundred_tasks_lose_nothing() {
    let slowest = survive(500, 20, 10, Duration::from_millis(100)).await;
    assert!(slowest < Duration::from_secs(5), "back at work only after {slowest:?}");
}
