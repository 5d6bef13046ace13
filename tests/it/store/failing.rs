//! Lost answers and a store that goes away: nothing is done twice, and asking again tells what happened.

use qron::domain::id::TaskId;
use qron::domain::task::{Task, TaskEvent, TaskStatus};
use qron::store::{Settings, Store, StoreError, TransitionError};
use serde_json::{Value, json};

use super::bed::{Bed, NOW, claim};
use crate::support::proxy::Proxy;

/// A second store on the same data, behind a proxy.
pub(crate) async fn shaky(bed: &Bed) -> (Store, Proxy) {
    let proxy = Proxy::to(&bed.settings.url).await;
    let settings = Settings { url: proxy.url.clone(), timeout_ms: 5000, ..bed.settings.clone() };
    (Store::connect(&settings, &bed.artifacts, None).await.expect("a store"), proxy)
}

#[tokio::test]
async fn however_many_answers_are_lost_a_claim_is_won_once() {
    let bed = Bed::new().await;
    let (store, proxy) = shaky(&bed).await;
    for cuts in 1..=8 {
        let ids: Vec<TaskId> = bed.insert_due(5).await.iter().map(|task| task.id).collect();
        let claim = claim(&format!("claim {cuts}"));
        proxy.cut(cuts);
        let mut won = store.claim(&ids, &claim, NOW).await;
        assert!(proxy.mend(cuts) > 0, "nothing was lost");
        if let Err(error) = &won {
            assert!(error.is_transient(), "{error}");
            won = store.claim(&ids, &claim, NOW).await;
        }
        assert_eq!(won.expect("claimed").len(), 5, "{cuts} cuts");
    }
}

#[tokio::test]
async fn however_many_answers_are_lost_a_transition_has_one_outcome() {
    let bed = Bed::new().await;
    let (store, proxy) = shaky(&bed).await;
    for cuts in 1..=8 {
        let running = bed.running(&format!("claim {cuts}")).await;
        let event = TaskEvent::Completed(json!(cuts));
        proxy.cut(cuts);
        let mut moved = store.transition(&running, &event, NOW.plus_millis(1)).await;
        assert!(proxy.mend(cuts) > 0, "nothing was lost");
        if let Err(error) = &moved {
            assert!(matches!(error, TransitionError::Store(error) if error.is_transient()), "{error}");
            moved = store.transition(&running, &event, NOW.plus_millis(1)).await;
        }
        assert_eq!(moved.expect("moved"), bed.task(running.id).await, "{cuts} cuts");
    }
}

#[tokio::test]
async fn a_lost_answer_to_an_insert_still_tells_what_is_new() {
    let bed = Bed::new().await;
    let (store, proxy) = shaky(&bed).await;
    for number in 0..5 {
        let tasks =
            [Task::new(TaskId::fresh(), "x", NOW).with(|task| task.spec.unique_key = Some(format!("key {number}")))];
        proxy.cut(1);
        assert!(store.insert(&tasks).await.expect("inserted")[0].created);
        assert_eq!(proxy.mend(1), 1, "nothing was lost");
        assert!(!store.insert(&tasks).await.expect("inserted")[0].created);
        let fresh = [Task::new(TaskId::fresh(), "x", NOW)];
        proxy.cut(1);
        assert!(store.insert_fresh(&fresh).await.expect("inserted")[0].created);
        assert_eq!(proxy.mend(1), 1, "nothing was lost");
        assert_eq!(bed.task(fresh[0].id).await, fresh[0]);
    }
}

#[tokio::test]
async fn a_store_that_goes_away_and_comes_back_loses_no_transition() {
    let bed = Bed::new().await;
    let (store, proxy) = shaky(&bed).await;
    let ids: Vec<TaskId> = bed.insert_due(20).await.iter().map(|task| task.id).collect();
    let running = bed.store.claim(&ids, &claim("t"), NOW).await.expect("claimed");
    let complete = async || {
        let outcomes = running.iter().map(|task| {
            let (store, result) = (store.clone(), TaskEvent::Completed(Value::from(task.spec.goal.clone())));
            async move { store.transition(task, &result, NOW).await }
        });
        futures_util::future::join_all(outcomes).await
    };
    proxy.set_up(false);
    for outcome in complete().await {
        let Err(TransitionError::Store(error)) = outcome else { panic!("{outcome:?}") };
        assert!(matches!(&error, StoreError::Unavailable { url, .. } if *url == proxy.url), "{error}");
    }
    assert!(store.ping().await.is_err());
    proxy.set_up(true);
    for outcome in complete().await {
        assert_eq!(outcome.expect("moved").state.status, TaskStatus::Completed);
    }
    store.ping().await.expect("an answer");
}

#[tokio::test]
async fn a_refusal_is_told_as_such_to_each_of_a_batch() {
    let bed = Bed::new().await;
    let ids: Vec<TaskId> = bed.insert_due(3).await.iter().map(|task| task.id).collect();
    let running = bed.store.claim(&ids, &claim("t"), NOW).await.expect("claimed");
    bed.client.delete_collection(bed.collection("tasks")).await.expect("deleted");
    let outcomes = running.iter().map(|task| bed.store.transition(task, &TaskEvent::Released, NOW));
    for outcome in futures_util::future::join_all(outcomes).await {
        let Err(TransitionError::Store(error)) = outcome else { panic!("{outcome:?}") };
        assert!(matches!(error, StoreError::CollectionMissing { .. }), "{error}");
    }
}
