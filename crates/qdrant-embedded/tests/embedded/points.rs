//! Inserting, replacing, reading and deleting points.

use qdrant_client::qdrant::{
    Condition, DeletePointsBuilder, Filter, GetPointsBuilder, NamedVectors, PointStruct, PointsIdsList, UpdateMode,
    UpdateStatus, UpsertPointsBuilder,
};
use serde_json::json;
use tonic::Code;

use crate::support::{
    client, code, count, fresh_name, ids, insert, numbered_collection, plain_collection, point, stored,
};

#[tokio::test]
async fn a_point_keeps_every_kind_of_value() {
    let client = client();
    let name = plain_collection(&client).await;
    let value = json!({
        "text": "ü\n\"", "number": -7, "big": i64::MAX, "fraction": 1.5, "flag": true, "nothing": null,
        "list": [1, "two", [3.0], {"four": 4}], "empty": [], "object": {"a.b": {"c": []}}, "whole": 2.0
    });
    let uuid = "550e8400-e29b-41d4-a716-446655440000";
    insert(&client, &name, vec![point(u64::MAX, value.clone()), point(uuid, value.clone())]).await;
    assert_eq!(stored(&client, &name, u64::MAX).await, Some(value.clone()));
    assert_eq!(stored(&client, &name, uuid).await, Some(value));
    assert_eq!(stored(&client, &name, 1).await, None);
}

#[tokio::test]
async fn an_upsert_replaces_the_whole_payload() {
    let client = client();
    let name = plain_collection(&client).await;
    insert(&client, &name, vec![point(1, json!({"a": 1, "b": 1}))]).await;
    insert(&client, &name, vec![point(1, json!({"b": 2}))]).await;
    assert_eq!(stored(&client, &name, 1).await, Some(json!({"b": 2})));
    assert_eq!(count(&client, &name, None).await, 1);
}

#[tokio::test]
async fn update_modes_insert_only_or_update_only() {
    let client = client();
    let name = plain_collection(&client).await;
    insert(&client, &name, vec![point(1, json!({"from": "first"}))]).await;
    let both = || vec![point(1, json!({"from": "second"})), point(2, json!({"from": "second"}))];
    let insert_only = UpsertPointsBuilder::new(&name, both()).update_mode(UpdateMode::InsertOnly).wait(true);
    client.upsert_points(insert_only).await.unwrap();
    assert_eq!(stored(&client, &name, 1).await, Some(json!({"from": "first"})));
    assert_eq!(stored(&client, &name, 2).await, Some(json!({"from": "second"})));
    let third = vec![point(2, json!({"from": "third"})), point(3, json!({"from": "third"}))];
    let update_only = UpsertPointsBuilder::new(&name, third).update_mode(UpdateMode::UpdateOnly).wait(true);
    client.upsert_points(update_only).await.unwrap();
    assert_eq!(stored(&client, &name, 2).await, Some(json!({"from": "third"})));
    assert_eq!(stored(&client, &name, 3).await, None);
}

#[tokio::test]
async fn a_conditional_upsert_replaces_only_what_matches_and_inserts_what_is_missing() {
    let client = client();
    let name = plain_collection(&client).await;
    insert(&client, &name, vec![point(1, json!({"v": 1})), point(2, json!({"v": 2}))]).await;
    let points = (1..=3).map(|id| point(id, json!({"v": 9}))).collect::<Vec<_>>();
    let filter = Filter::must([Condition::matches("v", 1)]);
    client.upsert_points(UpsertPointsBuilder::new(&name, points).update_filter(filter).wait(true)).await.unwrap();
    assert_eq!(stored(&client, &name, 1).await, Some(json!({"v": 9})));
    assert_eq!(stored(&client, &name, 2).await, Some(json!({"v": 2})));
    assert_eq!(stored(&client, &name, 3).await, Some(json!({"v": 9})));
}

#[tokio::test]
async fn points_are_deleted_by_id_and_by_filter() {
    let client = client();
    let name = numbered_collection(&client, 10).await;
    let ids_list = PointsIdsList { ids: vec![1.into(), 2.into(), 99.into()] };
    client.delete_points(DeletePointsBuilder::new(&name).points(ids_list).wait(true)).await.unwrap();
    let even = Filter::must([Condition::matches("even", true)]);
    client.delete_points(DeletePointsBuilder::new(&name).points(even).wait(true)).await.unwrap();
    assert_eq!(ids(&client, &name, Filter::default()).await, [3, 5, 7, 9]);
    assert_eq!(count(&client, &name, None).await, 4);
    insert(&client, &name, vec![point(2, json!({"n": 2}))]).await;
    assert_eq!(stored(&client, &name, 2).await, Some(json!({"n": 2})));
}

#[tokio::test]
async fn only_a_waiting_client_is_told_completed() {
    let client = client();
    let name = plain_collection(&client).await;
    let send = |wait| {
        let request = UpsertPointsBuilder::new(&name, vec![point(1, json!({}))]).wait(wait);
        async { client.upsert_points(request).await.unwrap().result.unwrap().status }
    };
    assert_eq!(send(true).await, i32::from(UpdateStatus::Completed));
    assert_eq!(send(false).await, i32::from(UpdateStatus::Acknowledged));
}

#[tokio::test]
async fn many_writers_at_once_lose_nothing() {
    let client = client();
    let name = plain_collection(&client).await;
    let writers = (0..16_u64).map(|writer| {
        let (client, name) = (client.clone(), name.clone());
        tokio::spawn(async move {
            for step in 0..25 {
                insert(&client, &name, vec![point(writer * 100 + step, json!({"writer": writer}))]).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(count(&client, &name, None).await, 400);
    assert_eq!(count(&client, &name, Some(Filter::must([Condition::matches("writer", 7)]))).await, 25);
}

#[tokio::test]
async fn bad_writes_are_refused_and_leave_their_neighbours_alone() {
    let client = client();
    let missing = fresh_name();
    let points = vec![point(1, json!({}))];
    assert_eq!(code(client.upsert_points(UpsertPointsBuilder::new(&missing, points)).await), Code::NotFound);
    let name = plain_collection(&client).await;
    let unvectored = PointStruct { vectors: None, ..point(1, json!({})) };
    let request = UpsertPointsBuilder::new(&name, vec![unvectored]).wait(true);
    assert_eq!(code(client.upsert_points(request).await), Code::InvalidArgument);
    let unknown =
        PointStruct::new(1, NamedVectors::default().add_vector("nope", vec![1.0]), qdrant_client::Payload::new());
    let bad = (0..10).map(|_| client.upsert_points(UpsertPointsBuilder::new(&name, vec![unknown.clone()]).wait(true)));
    let good = (1..=10).map(|id| insert(&client, &name, vec![point(id, json!({}))]));
    let (bad, _) = tokio::join!(futures_util::future::join_all(bad), futures_util::future::join_all(good));
    for refusal in bad {
        assert_eq!(code(refusal), Code::InvalidArgument);
    }
    assert_eq!(count(&client, &name, None).await, 10);
    let bad_id = GetPointsBuilder::new(&name, vec!["not-a-uuid".into()]);
    assert_eq!(code(client.get_points(bad_id).await), Code::InvalidArgument);
}
