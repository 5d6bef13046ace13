//! Unique keys and what a second insert is told.

use std::sync::Arc;

use qdrant_client::qdrant::{
    DeletePointsBuilder, NamedVectors, PointId, PointStruct, PointsIdsList, UpsertPointsBuilder,
};
use qdrant_client::{Payload, Qdrant};
use qron::clock;
use qron::domain::id::TaskId;
use qron::domain::task::{Claim, Task, TaskEvent, TaskStatus};
use qron::domain::unique::UniqueFor;
use qron::store::{Inserted, KeyOf, Store, TaskFilter, TransitionError};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::app::{TestApp, calculation, someday};
use crate::support::eventually;
use crate::support::world::{EVERY_SECOND, World};

fn keyed(key: &str, unique_for: UniqueFor) -> Task {
    let task = Task::new(TaskId::fresh(), "do it", clock::now());
    task.with(|task| {
        task.spec.unique_key = Some(key.to_owned());
        task.spec.unique_for = unique_for;
    })
}

async fn insert(store: &Store, task: &Task) -> Inserted {
    store.insert(std::slice::from_ref(task)).await.expect("inserted")[0]
}

async fn claim(store: &Store, id: TaskId) -> Task {
    let claim = Claim { token: uuid::Uuid::now_v7().to_string(), owner: "replica".into() };
    store.claim(&[id], &claim, clock::now()).await.expect("claimed").pop().expect("won")
}

async fn end(store: &Store, id: TaskId, event: TaskEvent) -> Task {
    let running = claim(store, id).await;
    store.transition(&running, &event, clock::now()).await.expect("ended")
}

#[tokio::test]
async fn a_key_is_free_again_when_its_task_has_ended() {
    let store = World::new(&[]).await.store;
    let (first, second) = (keyed("k", UniqueFor::Alive), keyed("k", UniqueFor::Alive));
    assert_eq!(insert(&store, &first).await, Inserted { id: first.id, created: true });
    assert_eq!(insert(&store, &second).await, Inserted { id: first.id, created: false });
    let running = claim(&store, first.id).await;
    assert!(!insert(&store, &second).await.created, "it is alive while it runs");
    store.transition(&running, &TaskEvent::Completed(json!(1)), clock::now()).await.expect("completed");
    assert_eq!(insert(&store, &second).await, Inserted { id: second.id, created: true });
    assert_eq!(insert(&store, &second).await, Inserted { id: second.id, created: false }, "the same request again");
}

#[tokio::test]
async fn a_key_can_keep_others_out_for_a_period_or_for_ever() {
    let store = World::new(&[]).await.store;
    let old = keyed("p", UniqueFor::Seconds(60)).with(|task| task.state.created_at = clock::now().plus_millis(-61_000));
    assert!(insert(&store, &old).await.created);
    let young = keyed("p", UniqueFor::Seconds(60));
    assert!(insert(&store, &young).await.created, "the period of the first is over, although it is still pending");
    end(&store, young.id, TaskEvent::Completed(json!(1))).await;
    assert_eq!(insert(&store, &keyed("p", UniqueFor::Seconds(60))).await, Inserted { id: young.id, created: false });

    let first = keyed("f", UniqueFor::Forever);
    assert!(insert(&store, &first).await.created);
    end(&store, first.id, TaskEvent::Completed(json!(1))).await;
    assert_eq!(insert(&store, &keyed("f", UniqueFor::Forever)).await, Inserted { id: first.id, created: false });
}

/// Many processes insert with few keys, again and again, while tasks end.
#[tokio::test(flavor = "multi_thread")]
async fn however_many_race_for_a_key_one_task_with_it_is_alive() {
    let world = Arc::new(World::new(&[]).await);
    for round in 0..6 {
        let racers = (0..8).map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let keys = ["a", "b", "c", "d"];
                let tasks: Vec<Task> = keys.iter().map(|key| keyed(key, UniqueFor::Alive)).collect();
                let store = Store::connect(&world.config.store, &world.config.artifacts, None).await.expect("a store");
                store.insert(&tasks).await.expect("inserted")
            })
        });
        let mut answers = Vec::new();
        for racer in racers {
            answers.push(racer.await.expect("no panic"));
        }
        for key in 0..4 {
            let created = answers.iter().filter(|answer| answer[key].created).count();
            assert_eq!(created, 1, "round {round}");
            assert!(answers.iter().all(|answer| answer[key].id == answers[0][key].id), "all are told of the same task");
        }
        let open = TaskFilter { statuses: vec![TaskStatus::Pending], ..TaskFilter::default() };
        let alive = world.store.tasks(&open, 100, None).await.expect("tasks").items;
        assert_eq!(alive.len(), 4, "round {round}");
        for task in alive {
            end(&world.store, task.id, TaskEvent::Completed(json!(round))).await;
        }
    }
}

/// A process that dies between taking the key and writing its task.
#[tokio::test]
async fn a_key_whose_task_was_never_written_is_given_to_the_next() {
    let world = World::new(&[]).await;
    let store = &world.store;
    let (lost, next) = (keyed("k", UniqueFor::Alive), keyed("k", UniqueFor::Alive));
    insert(store, &lost).await;
    let client = Qdrant::from_url(&world.config.store.url).skip_compatibility_check().build().expect("a client");
    let TaskId::Uuid(id) = lost.id else { panic!("a fresh id") };
    let ids = PointsIdsList { ids: vec![PointId::from(id)] };
    let request = DeletePointsBuilder::new(format!("{}tasks", world.config.store.prefix)).points(ids).wait(true);
    client.delete_points(request).await.expect("deleted");
    assert_eq!(insert(store, &next).await, Inserted { id: lost.id, created: true });
    // The first was only slow: its task has been written, by somebody else.
    assert_eq!(insert(store, &lost).await, Inserted { id: lost.id, created: false });
    assert_eq!(store.prune_keys(clock::now().plus_millis(4_000_000)).await.expect("pruned"), 0, "its task is there");
    let ids = PointsIdsList { ids: vec![PointId::from(id)] };
    let request = DeletePointsBuilder::new(format!("{}tasks", world.config.store.prefix)).points(ids).wait(true);
    client.delete_points(request).await.expect("deleted");
    assert_eq!(store.prune_keys(clock::now()).await.expect("pruned"), 0, "it may be being written");
    assert_eq!(store.prune_keys(clock::now().plus_millis(4_000_000)).await.expect("pruned"), 1);
    assert_eq!(insert(store, &next).await, Inserted { id: next.id, created: true });
}

#[tokio::test]
async fn a_task_is_not_requeued_when_another_has_its_key() {
    let store = World::new(&[]).await.store;
    let (first, second) = (keyed("k", UniqueFor::Alive), keyed("k", UniqueFor::Alive));
    insert(&store, &first).await;
    let failure = qron::domain::failure::Failure::permanent("no");
    let failed = end(&store, first.id, TaskEvent::Failed(failure.clone())).await;
    let pending =
        store.transition(&failed, &TaskEvent::Requeued, clock::now()).await.expect("the key is still its own");
    assert!(!insert(&store, &second).await.created);
    assert_eq!(pending.state.status, TaskStatus::Pending);

    let failed = end(&store, first.id, TaskEvent::Failed(failure)).await;
    // The requeue keeps the key for a minute, in case it was slow; a later insert takes it.
    assert!(!insert(&store, &second).await.created);
    let other = keyed("other", UniqueFor::Alive);
    insert(&store, &other).await;
    let cancelled = store.transition(&other, &TaskEvent::CancelRequested, clock::now()).await.expect("cancelled");
    let heir = keyed("other", UniqueFor::Alive);
    assert!(insert(&store, &heir).await.created);
    let error = store.transition(&cancelled, &TaskEvent::Requeued, clock::now()).await.expect_err("taken");
    assert!(matches!(error, TransitionError::KeyTaken { holder, .. } if holder == heir.id), "{error}");
    assert_eq!(failed.state.status, TaskStatus::Failed);
}

#[tokio::test]
async fn a_list_reports_each_and_its_dependents_follow_where_a_key_leads() {
    let store = World::new(&[]).await.store;
    let there = keyed("there", UniqueFor::Alive);
    insert(&store, &there).await;
    let (one, two) = (keyed("there", UniqueFor::Alive), keyed("new", UniqueFor::Alive));
    let plain = Task::new(TaskId::fresh(), "x", clock::now());
    let waiting = Task::new(TaskId::fresh(), "y", clock::now()).with(|task| {
        task.state.status = TaskStatus::Waiting;
        task.spec.depends_on = vec![one.id, two.id];
    });
    let list = [one, two.clone(), keyed("new", UniqueFor::Alive), plain.clone(), waiting.clone()];
    let told = store.insert(&list).await.expect("inserted");
    let expected = [(there.id, false), (two.id, true), (two.id, false), (plain.id, true), (waiting.id, true)];
    assert_eq!(told.iter().map(|one| (one.id, one.created)).collect::<Vec<_>>(), expected);
    let stored = store.task(waiting.id).await.expect("readable").expect("there");
    assert_eq!(stored.spec.depends_on, [there.id, two.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_tells_of_the_first_task_and_repeats_a_request_safely() {
    let app = TestApp::start().await;
    let mut body = calculation("1 + 1");
    body["unique_key"] = json!("nightly");
    let first = app.submit(&body).await;
    app.until(&first, "completed").await;
    let second = app.submit(&body).await;
    assert_ne!(first, second, "the first has ended");
    body["unique_for"] = json!("7d");
    let (status, again) = app.post("/api/v1/tasks", &body).await;
    assert_eq!(
        (status, &again["created"], again["id"].as_str()),
        (StatusCode::OK, &json!(false), Some(second.as_str()))
    );

    let list = json!([someday(), someday(), { "goal": "one with a key", "unique_key": "k", "run_at": "2036-01-01T00:00:00Z" }]);
    let send = async |key: &str| {
        let request = app.request(Method::POST, "/api/v1/tasks").header("Idempotency-Key", key).json(&list);
        let answer: serde_json::Value = request.send().await.expect("an answer").json().await.expect("a listing");
        let items = answer["items"].as_array().expect("items").clone();
        items.into_iter().map(|item| (item["id"].clone(), item["created"] == json!(true))).collect::<Vec<_>>()
    };
    let once = send("request 1").await;
    assert!(once.iter().all(|(_, created)| *created));
    let twice = send("request 1").await;
    assert!(once.iter().zip(&twice).all(|(one, two)| one.0 == two.0 && !two.1), "{once:?} {twice:?}");
    assert_eq!(send("request 2").await.iter().filter(|(_, created)| *created).count(), 2);
    app.stop().await;
}

/// Points that other Qdrant clients write have nobody who could refuse them.
#[tokio::test(flavor = "multi_thread")]
async fn of_points_with_one_key_the_first_runs_and_the_others_name_it() {
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let client = Qdrant::from_url(&world.config.store.url).skip_compatibility_check().build().expect("a client");
    let write = async |points: Vec<(u64, serde_json::Value)>| {
        let point =
            |(id, payload)| PointStruct::new(id, NamedVectors::default(), Payload::try_from(payload).expect("JSON"));
        let points: Vec<PointStruct> = points.into_iter().map(point).collect();
        let request = UpsertPointsBuilder::new(format!("{}tasks", world.config.store.prefix), points).wait(true);
        client.upsert_points(request).await.expect("written");
    };
    let held = world.web.step("s", "held/first");
    let keyed = |more: serde_json::Value| {
        let mut payload =
            json!({"description": "fetch it", "idempotency_key": "k", "plan": {"steps": [held]}, "theirs": 7});
        payload.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        payload
    };
    let one = world.runner("one").await;
    let two = world.runner("two").await;
    // All at once, and two replicas that admit them.
    write((1..=20).map(|id| (id, keyed(json!({})))).collect()).await;
    world.until_count(TaskStatus::Skipped, 19).await;
    let running = TaskFilter { statuses: vec![TaskStatus::Running], ..TaskFilter::default() };
    let first = eventually("one runs", async || {
        let found = world.store.tasks(&running, 10, None).await.map_err(|error| error.to_string())?.items;
        found.first().map(|task| task.id).ok_or_else(|| "none".to_owned())
    })
    .await;
    for id in (1..=20).map(TaskId::Number).filter(|id| *id != first) {
        let task = world.task(id).await;
        assert_eq!((task.state.status, task.spec.goal.as_str()), (TaskStatus::Skipped, "fetch it"));
        let reason = task.state.error.expect("a reason").message;
        assert!(reason.contains(&format!("task {first} ")) && reason.contains("\"k\""), "{reason}");
        assert_eq!(task.state.extra["theirs"], json!(7), "what is theirs stays");
        assert!(task.state.finished_at.is_some());
    }
    // The key holds against the api, and a dependent of one that was skipped does not wait for ever.
    let told = insert(&world.store, &self::keyed("k", UniqueFor::Alive)).await;
    assert_eq!(told, Inserted { id: first, created: false });
    let skipped = (1..=20).map(TaskId::Number).find(|id| *id != first).expect("nineteen");
    write(vec![(30, json!({"goal": "after it", "depends_on": [skipped.to_string()]}))]).await;
    world.until(TaskId::Number(30), TaskStatus::Blocked).await;
    eventually("it is told why", async || match world.history(skipped).await {
        history if history.last().is_some_and(|kind| kind == "kept_out") => Ok(()),
        history => Err(format!("{history:?}")),
    })
    .await;

    // Once the first has ended, the key is free; not so for those who ask for more.
    world.web.release("first");
    world.until(first, TaskStatus::Completed).await;
    write(vec![(40, keyed(json!({"unique_for": "7d"})))]).await;
    world.until(TaskId::Number(40), TaskStatus::Skipped).await;
    write(vec![(41, keyed(json!({})))]).await;
    world.until(TaskId::Number(41), TaskStatus::Completed).await;
    // And one that only records what is over is nobody's business.
    write(vec![(42, keyed(json!({"status": "done"})))]).await;
    eventually("it is admitted", async || match world.history(TaskId::Number(42)).await.pop() {
        Some(kind) if kind == "admitted" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(world.task(TaskId::Number(42)).await.state.status, TaskStatus::Completed);
    one.shutdown().await;
    two.shutdown().await;
}

/// A process took the key for a task that it has not written yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_point_waits_while_it_is_open_who_has_its_key() {
    let store = World::new(&[]).await.store;
    let (slow, point) = (keyed("k", UniqueFor::Alive), keyed("k", UniqueFor::Alive));
    insert(&store, &slow).await;
    assert_eq!(store.take_key(&point, clock::now()).await.expect("an answer"), KeyOf::Other(slow.id));
    end(&store, slow.id, TaskEvent::Completed(json!(1))).await;
    assert_eq!(store.take_key(&point, clock::now()).await.expect("an answer"), KeyOf::Itself);
    // Asked again, as after a crash: its point is not there in this test, so it is as if somebody was about to write it.
    assert_eq!(store.take_key(&point, clock::now()).await.expect("an answer"), KeyOf::Itself);
    let other = keyed("k", UniqueFor::Alive);
    assert_eq!(store.take_key(&other, clock::now()).await.expect("an answer"), KeyOf::Unsettled);
    let later = clock::now().plus_millis(3_700_000);
    assert_eq!(store.take_key(&other, later).await.expect("an answer"), KeyOf::Itself);
    let without = other.with(|task| task.spec.unique_key = None);
    assert_eq!(store.take_key(&without, later).await.expect("an answer"), KeyOf::Itself);
}
