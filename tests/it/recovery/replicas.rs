//! Two processes over one store that outlives both.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use qron::domain::id::TaskId;
use qron::domain::task::TaskStatus;
use qron::store::{Store, TaskFilter};

use super::support::{LEASE, Place, until_completed};
use crate::support::eventually;
use crate::support::process::in_hand;

/// The running tasks by owner.
async fn owners(store: &Store) -> Result<BTreeMap<String, BTreeSet<TaskId>>, String> {
    let filter = TaskFilter { statuses: vec![TaskStatus::Running], ..TaskFilter::default() };
    let page = store.tasks(&filter, 1_000, None).await.map_err(|error| error.to_string())?;
    let mut owners: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for task in page.items {
        let Some(claim) = task.state.claim else { continue };
        owners.entry(claim.owner).or_default().insert(task.id);
    }
    Ok(owners)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tasks_of_a_killed_process_finish_on_the_other_and_none_is_claimed_by_both() {
    let place = Place::shared(8, Duration::from_millis(150)).await;
    let store = place.store().await;
    let tasks = place.tasks(80);
    store.insert(&tasks).await.expect("inserted");
    let victim = place.start("victim");
    let survivor = place.start("survivor");
    let name = eventually("both are at work", async || {
        let owners = owners(&store).await?;
        if owners.len() < 2 {
            return Err(format!("{owners:?}"));
        }
        let marked = format!("-{}-", victim.pid());
        owners.into_keys().find(|owner| owner.contains(&marked)).ok_or_else(|| "the victim is idle".to_owned())
    })
    .await;
    victim.kill();
    let killed = Instant::now();
    let left = in_hand(&store, &name).await;
    eventually("what the dead one had is completed", async || {
        for id in &left {
            let task = store.task(*id).await.map_err(|error| error.to_string())?.ok_or("gone")?;
            if task.state.status != TaskStatus::Completed {
                return Err(format!("{id} is {}", task.state.status));
            }
        }
        Ok(())
    })
    .await;
    let took = killed.elapsed();
    assert!(!left.is_empty(), "the victim was killed at work");
    // On a machine of its own it is within five seconds of the lease; this bound stands a busy one.
    assert!(took < LEASE + Duration::from_secs(20), "{took:?}");
    until_completed(&store, tasks.len()).await;

    for (index, task) in tasks.iter().enumerate() {
        let attempts = store.attempts(task.id).await.expect("readable");
        let done = store.task(task.id).await.expect("readable").expect("there");
        if left.contains(&task.id) {
            assert_eq!((done.state.crashes, done.state.attempt), (1, 0), "task {index}");
            continue;
        }
        assert_eq!(attempts.len(), 1, "task {index}: {attempts:?}");
        for step in ["s1", "s3"] {
            assert_eq!(place.web.visits(index, step).len(), 1, "{step} of task {index}");
        }
    }
    assert!(survivor.terminate().await.success());
    assert!(store.replicas().await.expect("readable").is_empty(), "nobody is left on the list");
}
