//! Points that other programs write, from insert to completion.

use std::collections::{BTreeSet, HashMap};

use qdrant_client::Payload;
use qdrant_client::qdrant::vectors_output::VectorsOptions;
use qdrant_client::qdrant::{
    CreateCollectionBuilder, Distance, NamedVectors, PointStruct, RetrievedPoint, Vector, VectorParamsBuilder,
    VectorParamsMap, vectors_config,
};
use qron::domain::failure::{Failure, FailureClass};
use qron::domain::id::TaskId;
use qron::domain::schedule::zone::Zone;
use qron::domain::task::{Claim, Task, TaskEvent, TaskStatus};
use qron::domain::time::Timestamp;
use qron::store::{DueExclusions, RawTask};
use serde_json::json;

use super::bed::{Bed, NOW, claim, json, point};

/// Admits what can be read and gives back the rest.
async fn admit_all(bed: &Bed) -> Vec<(RawTask, Failure)> {
    let mut unreadable = Vec::new();
    for raw in bed.store.unadmitted(100, None).await.expect("points").items {
        match raw.read(Zone::UTC, NOW) {
            Ok(task) => assert!(bed.store.admit(&task).await.expect("admitted")),
            Err(failure) => unreadable.push((raw, failure)),
        }
    }
    unreadable
}

fn vectors(point: &RetrievedPoint) -> HashMap<String, Vec<f32>> {
    let Some(VectorsOptions::Vectors(named)) = point.vectors.as_ref().and_then(|all| all.vectors_options.clone())
    else {
        panic!("no named vectors")
    };
    let dense = |vector: qdrant_client::qdrant::VectorOutput| match vector.into_vector() {
        qdrant_client::qdrant::vector_output::Vector::Dense(dense) => dense.data,
        other => panic!("not dense: {other:?}"),
    };
    named.vectors.into_iter().map(|(name, vector)| (name, dense(vector))).collect()
}

#[tokio::test]
async fn vectors_and_unknown_fields_survive_the_whole_life() {
    let bed = Bed::new().await;
    let tasks = bed.collection("tasks");
    bed.client.delete_collection(&tasks).await.expect("deleted");
    let params = |size: u64| VectorParamsBuilder::new(size, Distance::Dot).build();
    let map = HashMap::from([("text".to_owned(), params(3)), ("image".to_owned(), params(2))]);
    let config = vectors_config::Config::ParamsMap(VectorParamsMap { map });
    bed.client.create_collection(CreateCollectionBuilder::new(&tasks).vectors_config(config)).await.expect("created");
    let store = bed.another().await;

    let theirs = json!({
        "STATUS": "PENDING", "description": "do it", "scheduled_at": "2025-12-31T23:00:00+00:00",
        "colour": "réd", "nested": {"a": [1, 2.5, {"b": null}], "empty": {}, "list": []}, "number": -7, "yes": true,
    });
    let named = NamedVectors::default()
        .add_vector("text", Vector::new_dense(vec![0.1_f32, -2.0, 3.5]))
        .add_vector("image", Vector::new_dense(vec![1e-7_f32, 8.0]));
    bed.upsert(vec![PointStruct::new(42, named, Payload::try_from(theirs.clone()).expect("an object"))]).await;
    let before = bed.point(42).await;

    let raw = store.unadmitted(10, None).await.expect("points").items.remove(0);
    assert_eq!(raw.id, TaskId::Number(42));
    assert!(store.admit(&raw.read(Zone::UTC, NOW).expect("readable")).await.expect("admitted"));
    assert!(store.unadmitted(10, None).await.expect("points").items.is_empty());
    assert_eq!(bed.due_ids(10, &DueExclusions::default()).await, [TaskId::Number(42)]);
    let running = store.claim(&[raw.id], &claim("t"), NOW).await.expect("claimed").remove(0);
    assert_eq!(running.state.extra["colour"], json!("réd"));
    let result = TaskEvent::Completed(json!("done"));
    store.transition(&running, &result, NOW).await.expect("moved");

    let after = bed.point(42).await;
    assert_eq!(vectors(&after), vectors(&before));
    let payload = json(after);
    for (key, value) in theirs.as_object().expect("an object") {
        assert_eq!(&payload[key], value, "{key}");
    }
    assert_eq!((&payload["status"], &payload["result"]), (&json!("completed"), &json!("done")));
    assert_eq!(payload["goal"], json!("do it"));
}

#[tokio::test]
async fn what_cannot_be_read_is_rejected_with_the_reason_and_blocks_no_other() {
    let bed = Bed::new().await;
    bed.upsert(vec![
        point(1, &json!({"goal": "fine"})),
        point(2, &json!({"status": "pending"})),
        point(3, &json!({"goal": "x", "priority": "9 of 10"})),
        point(4, &json!({"goal": "x".repeat(1024 * 1024)})),
        point(5, &json!({"goal": "x", "plan": {"steps": "none"}})),
        point(6, &json!({})),
    ])
    .await;
    let unreadable = admit_all(&bed).await;
    assert_eq!(unreadable.iter().map(|(raw, _)| raw.id).collect::<Vec<_>>(), [2, 3, 4, 5, 6].map(TaskId::Number));
    for (raw, failure) in &unreadable {
        assert_eq!(failure.class, FailureClass::Invalid);
        assert!(failure.message.len() < 500);
        assert!(bed.store.reject(raw, failure, Zone::UTC, NOW).await.expect("rejected"));
        assert!(!bed.store.reject(raw, failure, Zone::UTC, NOW).await.expect("known"), "rejected twice");
    }
    assert!(bed.store.unadmitted(100, None).await.expect("points").items.is_empty());
    assert_eq!(bed.due_ids(10, &DueExclusions::default()).await, [TaskId::Number(1)]);
    let rejected = bed.task(TaskId::Number(3)).await;
    assert_eq!((rejected.state.status, rejected.state.finished_at), (TaskStatus::Failed, Some(NOW)));
    assert_eq!(rejected.state.error.as_ref(), Some(&unreadable[1].1));
    assert_eq!(bed.payload(TaskId::Number(3)).await["priority"], json!("9 of 10"));
}

#[tokio::test]
async fn a_rejected_point_that_is_requeued_is_read_anew() {
    let bed = Bed::new().await;
    bed.upsert(vec![point(3, &json!({"goal": "x", "priority": "9 of 10"}))]).await;
    let (raw, failure) = admit_all(&bed).await.remove(0);
    bed.store.reject(&raw, &failure, Zone::UTC, NOW.plus_millis(-1)).await.expect("rejected");
    let rejected = bed.task(raw.id).await;
    bed.store.transition(&rejected, &TaskEvent::Requeued, NOW).await.expect("requeued");
    assert!(bed.due_ids(10, &DueExclusions::default()).await.is_empty(), "it would run unread");
    assert_eq!(admit_all(&bed).await.remove(0).1, failure);
    // Somebody corrects it.
    let request = qdrant_client::qdrant::SetPayloadPointsBuilder::new(
        bed.collection("tasks"),
        Payload::try_from(json!({"priority": 9})).expect("an object"),
    )
    .points_selector(vec![qdrant_client::qdrant::PointId::from(3)])
    .wait(true);
    bed.client.set_payload(request).await.expect("corrected");
    assert!(admit_all(&bed).await.is_empty());
    assert_eq!(bed.due_ids(10, &DueExclusions::default()).await, [raw.id]);
    assert_eq!(bed.task(raw.id).await.spec.priority, 9);
}

#[tokio::test]
async fn a_rejected_point_that_is_requeued_keeps_the_time_that_it_names_under_any_name() {
    let bed = Bed::new().await;
    let names =
        ["run_at", "scheduled_at", "scheduled_for", "due_at", "execute_at", "start_at", "Due-At", "scheduledFor"];
    let ids = || (1..).zip(names);
    // A time that cannot be read, and one that can beside another fault.
    bed.upsert(ids().map(|(id, name)| point(id, &json!({"goal": "x", name: "soon"}))).collect()).await;
    bed.upsert(ids().map(|(id, name)| point(100 + id, &json!({name: "2031-01-01T00:00:00Z"}))).collect()).await;
    let refused = admit_all(&bed).await;
    assert_eq!(refused.len(), 2 * names.len());
    for (raw, failure) in &refused {
        assert!(bed.store.reject(raw, failure, Zone::UTC, NOW).await.expect("rejected"));
    }
    let wanted = Timestamp::read(&json!("2036-01-01T00:00:00Z")).expect("a time");
    for (id, name) in ids().flat_map(|(id, name)| [(id, name), (100 + id, name)]) {
        let corrected = json!({"goal": "x", name: "2036-01-01T00:00:00Z"});
        let request = qdrant_client::qdrant::SetPayloadPointsBuilder::new(
            bed.collection("tasks"),
            Payload::try_from(corrected).expect("an object"),
        )
        .points_selector(vec![qdrant_client::qdrant::PointId::from(id)])
        .wait(true);
        bed.client.set_payload(request).await.expect("corrected");
        let task = bed.task(TaskId::Number(id)).await;
        let requeued = bed.store.transition(&task, &TaskEvent::Requeued, NOW.plus_millis(1)).await.expect("requeued");
        assert_eq!(requeued.spec.run_at, wanted, "what is answered of {name} of {id}");
    }
    assert!(admit_all(&bed).await.is_empty());
    for (id, name) in ids().flat_map(|(id, name)| [(id, name), (100 + id, name)]) {
        assert_eq!(bed.task(TaskId::Number(id)).await.spec.run_at, wanted, "{name} of {id}");
    }
}

#[tokio::test]
async fn of_two_replicas_that_admit_a_point_one_does() {
    let bed = Bed::new().await;
    let other = bed.another().await;
    for id in 0..20 {
        bed.upsert(vec![point(id, &json!({"goal": "x"}))]).await;
        let task = bed.task(TaskId::Number(id)).await;
        let (one, two) = tokio::join!(bed.store.admit(&task), other.admit(&task));
        assert!(one.expect("known") != two.expect("known"));
    }
}

#[tokio::test]
async fn what_is_terminal_already_is_admitted_as_it_is() {
    let bed = Bed::new().await;
    let theirs = json!({"status": "DONE", "task": "old", "priority": "whatever", "output": {"x": 1}, "tags": 5});
    bed.upsert(vec![point(8, &theirs)]).await;
    assert!(admit_all(&bed).await.is_empty());
    let payload = bed.payload(TaskId::Number(8)).await;
    assert_eq!(payload["status"], json!("completed"));
    assert_eq!(
        (&payload["priority"], &payload["output"], &payload["tags"]),
        (&json!("whatever"), &json!({"x": 1}), &json!(5))
    );
    let task = bed.task(TaskId::Number(8)).await;
    assert_eq!((task.state.status, task.spec.goal.as_str()), (TaskStatus::Completed, "old"));
    assert!(bed.store.unadmitted(10, None).await.expect("points").items.is_empty());
    assert!(bed.due_ids(10, &DueExclusions::default()).await.is_empty());
}

#[tokio::test]
async fn a_point_that_comes_after_a_quiet_look_is_found_by_the_next() {
    let bed = Bed::new().await;
    bed.insert_due(600).await;
    for id in 0..5 {
        assert!(bed.store.unadmitted(10, None).await.expect("points").items.is_empty());
        bed.upsert(vec![point(id, &json!({"goal": "x"}))]).await;
        let raw = bed.store.unadmitted(10, None).await.expect("points").items;
        assert_eq!(raw.iter().map(|raw| raw.id).collect::<Vec<_>>(), [TaskId::Number(id)]);
        assert!(bed.store.admit(&raw[0].read(Zone::UTC, NOW).expect("readable")).await.expect("admitted"));
    }
}

#[tokio::test]
async fn a_point_without_a_readable_form_is_no_obstacle_to_listings() {
    let bed = Bed::new().await;
    let good = bed.insert_due(1).await.remove(0);
    bed.upsert(vec![point(1, &json!({"status": "sideways"})), point(2, &json!({"prompt": "readable"}))]).await;
    let page = bed.store.tasks(&qron::store::TaskFilter::default(), 10, None).await.expect("a page");
    assert_eq!(page.items.iter().map(|task| task.id).collect::<Vec<_>>(), [TaskId::Number(2), good.id]);
    assert!(bed.store.task(TaskId::Number(1)).await.is_err());
}

/// A program that nests a payload as deep as it can be written makes it unreadable for every client of the protocol.
#[tokio::test]
async fn a_payload_nested_too_deeply_to_be_read_hides_no_other_task() {
    let bed = Bed::new().await;
    let waiting = |id| {
        Task::new(TaskId::Number(id), "wait", NOW).with(|task| {
            task.state.status = TaskStatus::Waiting;
            task.spec.depends_on = vec![TaskId::Number(99)];
        })
    };
    let tasks: Vec<Task> =
        (1..=3).map(|id| Task::new(TaskId::Number(id), "run", NOW)).chain((4..=6).map(waiting)).collect();
    bed.store.insert(&tasks).await.expect("inserted");
    let held = Claim { token: "t".into(), owner: "r".into() };
    assert_eq!(bed.store.claim(&[1, 2, 3].map(TaskId::Number), &held, NOW).await.expect("claimed").len(), 3);
    for id in [2, 5] {
        bed.make_unreadable(id).await;
    }
    let ids = |tasks: Vec<Task>| tasks.iter().map(|task| task.id).collect::<Vec<_>>();
    assert_eq!(ids(bed.store.held("r", 10).await.expect("held")), [1, 3].map(TaskId::Number));
    assert_eq!(ids(bed.store.waiting(10, None).await.expect("a page").items), [4, 6].map(TaskId::Number));
    let first = bed.store.waiting(2, None).await.expect("a page");
    let rest = bed.store.waiting(2, first.next.as_deref()).await.expect("a page");
    assert_eq!((ids(first.items), ids(rest.items)), (vec![TaskId::Number(4)], vec![TaskId::Number(6)]));
    assert_eq!(ids(bed.store.tasks_by_id(&[4, 5, 6].map(TaskId::Number)).await.expect("tasks")).len(), 2);
    let rescue = bed.store.rescue("r", NOW).await.expect("rescued");
    assert_eq!(rescue.returned, 3);
}

/// It goes through admission again, which tells people why it does not run.
#[tokio::test]
async fn a_payload_nested_too_deeply_to_be_read_holds_up_neither_what_is_claimed_nor_what_is_rescued_with_it() {
    let bed = Bed::new().await;
    let tasks = [1, 2, 3, 4].map(|id| Task::new(TaskId::Number(id), "run", NOW).with(|task| task.state.crashes = 2));
    bed.store.insert(&tasks).await.expect("inserted");
    let sorted = |ids: Vec<TaskId>| ids.into_iter().collect::<BTreeSet<_>>();
    let ids = |tasks: &[Task]| sorted(tasks.iter().map(|task| task.id).collect());
    let held = Claim { token: "t".into(), owner: "r".into() };
    bed.make_unreadable(2).await;
    let won = bed.store.claim(&tasks.map(|task| task.id), &held, NOW).await.expect("claimed");
    assert_eq!(ids(&won), [1, 3, 4].map(TaskId::Number).into());
    bed.make_unreadable(3).await;
    let rescue = bed.store.rescue("r", NOW).await.expect("rescued");
    assert_eq!((rescue.returned, ids(&rescue.poisoned)), (1, [1, 4].map(TaskId::Number).into()));
    let unread = bed.store.unadmitted(10, None).await.expect("a page").items;
    assert_eq!(sorted(unread.iter().map(|raw| raw.id).collect()), [2, 3].map(TaskId::Number).into());
}

#[tokio::test]
async fn what_waits_for_admission_is_shown_in_the_zone_that_admission_reads_it_in() {
    let bed = Bed::new().await;
    let berlin: Zone = "Europe/Berlin".parse().expect("a zone");
    let settings = qron::store::Settings { zone: berlin, ..bed.settings.clone() };
    let store = qron::store::Store::connect(&settings, &bed.artifacts, None).await.expect("a store");
    let nine = json!("2026-07-01 09:00:00");
    let utc = "2026-07-01T07:00:00Z".parse::<chrono::DateTime<chrono::Utc>>().expect("a time").timestamp_millis();
    bed.upsert(vec![
        point(1, &json!({"goal": "do it", "run_at": nine})),
        point(2, &json!({"goal": "cannot be read", "run_at": nine, "timeout_s": "soon"})),
        point(3, &json!({"goal": "names its offset", "run_at": "2026-07-01T09:00:00+02:00"})),
    ])
    .await;
    let id = |number| TaskId::Number(number);
    for number in [1, 3] {
        let read = store.task(id(number)).await.expect("readable").expect("there");
        assert_eq!(read.spec.run_at.as_millis(), utc, "{number}");
    }
    for raw in store.unadmitted(100, None).await.expect("points").items {
        if let Ok(task) = raw.read(berlin, NOW) {
            assert_eq!(task.spec.run_at.as_millis(), utc, "{} as it is admitted", raw.id);
        }
    }
    let listed = store.tasks_by_id(&[id(1), id(3)]).await.expect("readable");
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|task| task.spec.run_at.as_millis() == utc), "{listed:?}");
    for (number, is_readable) in [(1, true), (2, false), (3, true)] {
        let found = store.find(id(number)).await.expect("an answer").expect("there");
        assert_eq!((found.task.spec.run_at.as_millis(), found.unreadable.is_none()), (utc, is_readable), "{number}");
    }
}
