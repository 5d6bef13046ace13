//! SIGTERM: no new work, unfinished work handed back at no charge.

use std::time::Duration;

use qron::domain::task::TaskStatus;

use super::support::{Place, until_completed};
use crate::support::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unfinished_when_it_is_told_to_stop_is_finished_by_the_next_start() {
    let place = Place::shared(4, Duration::ZERO).await;
    place.web.close(true);
    let store = place.store().await;
    let tasks = place.tasks(10);
    store.insert(&tasks).await.expect("inserted");
    let first = place.start("first");
    eventually("it works at capacity", async || {
        if place.web.count() == 4 { Ok(()) } else { Err(format!("{} visits", place.web.count())) }
    })
    .await;
    assert!(first.terminate().await.success());
    let mut released = 0;
    for task in &tasks {
        let task = store.task(task.id).await.expect("readable").expect("there");
        assert_eq!((task.state.status, task.state.attempt, task.state.crashes), (TaskStatus::Pending, 0, 0));
        released += task.state.releases;
    }
    assert_eq!(released, 4, "handed back once each, and nothing claimed after the signal");
    assert_eq!(place.web.count(), 4);
    assert!(store.replicas().await.expect("readable").is_empty(), "it has signed off");

    place.web.close(false);
    let second = place.start("second");
    until_completed(&store, tasks.len()).await;
    assert!(second.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_hands_back_at_once_what_the_first_lets_finish() {
    let mut place = Place::shared(4, Duration::ZERO).await;
    place.grace_s = 600;
    place.web.close(true);
    let store = place.store().await;
    let tasks = place.tasks(4);
    store.insert(&tasks).await.expect("inserted");
    let qron = place.start("impatient");
    eventually("it works at capacity", async || {
        if place.web.count() == 4 { Ok(()) } else { Err(format!("{} visits", place.web.count())) }
    })
    .await;
    qron.signal();
    qron.until_it_says("send a second signal to hand them back and stop at once").await;
    assert_eq!(qron.terminate().await.code(), Some(1));
    for task in &tasks {
        let task = store.task(task.id).await.expect("readable").expect("there");
        assert_eq!((task.state.status, task.state.releases, task.state.crashes), (TaskStatus::Pending, 1, 0));
    }
}
