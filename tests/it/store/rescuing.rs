//! Tasks of dead replicas.

use qron::domain::failure::{Failure, FailureClass};
use qron::domain::id::TaskId;
use qron::domain::outage::Postponement;
use qron::domain::task::{Claim, Task, TaskEvent, TaskStatus};
use serde_json::json;

use super::bed::{Bed, NOW, claim};
use super::failing::shaky;

fn held_by(owner: &str) -> Claim {
    Claim { token: format!("token of {owner}"), owner: owner.to_owned() }
}

#[tokio::test]
async fn the_tasks_of_the_dead_return_and_those_that_killed_too_often_end() {
    let bed = Bed::new().await;
    let tasks: Vec<Task> = (0..6)
        .map(|number| {
            Task::new(TaskId::Number(number), "x", NOW).with(|task| {
                task.state.crashes = u32::try_from(number % 3).expect("small");
                task.state.postponed = (number < 2).then(|| Postponement {
                    model: "m".into(),
                    since: NOW,
                    times: 1,
                    last: NOW,
                    not_before: None,
                    cause: Failure::unavailable("cannot connect"),
                });
            })
        })
        .collect();
    bed.store.insert(&tasks).await.expect("inserted");
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
    bed.store.claim(&ids, &held_by("dead"), NOW).await.expect("claimed");
    let alive = bed.running("alive").await;
    let later = NOW.plus_millis(60_000);
    let rescue = bed.store.rescue("dead", later).await.expect("rescued");
    assert_eq!(rescue.returned, 4);
    let mut poisoned: Vec<TaskId> = rescue.poisoned.iter().map(|task| task.id).collect();
    poisoned.sort();
    assert_eq!(poisoned, [2, 5].map(TaskId::Number));
    for before in &tasks {
        let running = before.apply(&TaskEvent::Claimed(held_by("dead")), NOW).expect("legal");
        let expected = running.apply(&TaskEvent::Rescued, later).expect("legal");
        assert_eq!(bed.task(before.id).await, expected);
    }
    for task in &rescue.poisoned {
        assert_eq!(task.state.status, TaskStatus::Failed);
        assert_eq!(task.state.error.as_ref().expect("a reason").class, FailureClass::Crashed);
    }
    assert_eq!(bed.task(alive.id).await, alive);
    let nothing = bed.store.rescue("dead", later).await.expect("rescued");
    assert_eq!((nothing.returned, nothing.poisoned.len()), (0, 0));
}

#[tokio::test]
async fn what_completed_a_moment_before_is_not_touched() {
    let bed = Bed::new().await;
    let running = bed.running("t").await;
    let done =
        bed.store.transition(&running, &TaskEvent::Completed(json!(1)), NOW.plus_millis(1)).await.expect("moved");
    bed.store.rescue("replica", NOW.plus_millis(2)).await.expect("rescued");
    assert_eq!(bed.task(running.id).await, done);
}

#[tokio::test]
async fn what_completes_while_the_rescue_is_under_way_is_not_touched() {
    let bed = Bed::new().await;
    let (store, proxy) = shaky(&bed).await;
    // Connections greet each other first, which is an answer too; use all of them once.
    for _ in 0..6 {
        store.ping().await.expect("an answer");
    }
    let ids: Vec<TaskId> = bed.insert_due(2).await.iter().map(|task| task.id).collect();
    let running = bed.store.claim(&ids, &claim("t"), NOW).await.expect("claimed");
    proxy.stop_after_answer();
    let completion = async {
        proxy.stopped().await;
        let done = bed.store.transition(&running[0], &TaskEvent::Completed(json!(1)), NOW.plus_millis(1)).await;
        proxy.flow();
        done.expect("moved")
    };
    let (rescue, done) = tokio::join!(store.rescue("replica", NOW.plus_millis(2)), completion);
    assert_eq!(rescue.expect("rescued").returned, 1);
    assert_eq!(bed.task(done.id).await, done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rescue_that_races_with_completions_leaves_each_task_with_one_outcome() {
    let bed = Bed::new().await;
    let tasks = bed.insert_due(200).await;
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
    let running = bed.store.claim(&ids, &claim("t"), NOW).await.expect("claimed");
    let completions = running.into_iter().map(|task| {
        let store = bed.store.clone();
        tokio::spawn(async move { store.transition(&task, &TaskEvent::Completed(json!(1)), NOW).await.is_ok() })
    });
    let completions = futures_util::future::join_all(completions);
    let other = bed.another().await;
    let (won, one, two) = tokio::join!(completions, bed.store.rescue("replica", NOW), other.rescue("replica", NOW));
    let won = won.into_iter().filter(|won| *won.as_ref().expect("no panic")).count();
    let returned = one.expect("rescued").returned + two.expect("rescued").returned;
    let counts = bed.store.task_counts().await.expect("counts");
    let count = |status: TaskStatus| counts.get(&status).copied().unwrap_or(0);
    assert_eq!(count(TaskStatus::Completed), won as u64);
    assert_eq!(count(TaskStatus::Pending), returned);
    assert_eq!(won as u64 + returned, 200);
}

#[tokio::test]
async fn a_thousand_tasks_of_one_dead_replica_return_in_pages() {
    let bed = Bed::new().await;
    let tasks = bed.insert_due(1100).await;
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
    assert_eq!(bed.store.claim(&ids, &held_by("dead"), NOW).await.expect("claimed").len(), 1100);
    assert_eq!(bed.store.rescue("dead", NOW).await.expect("rescued").returned, 1100);
}
