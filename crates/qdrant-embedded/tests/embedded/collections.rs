//! Creating, describing, changing and deleting collections.

use std::collections::HashMap;

use qdrant_client::qdrant::{
    CollectionStatus, CreateCollectionBuilder, DeleteCollectionBuilder, UpdateCollectionBuilder,
};
use serde_json::{Value, json};
use tonic::Code;

use crate::support::{as_json, client, code, count, fresh_name, insert, plain_collection, point};

#[tokio::test]
async fn a_collection_is_created_listed_described_and_deleted() {
    let client = client();
    let name = plain_collection(&client).await;
    assert!(client.collection_exists(&name).await.unwrap());
    assert!(client.list_collections().await.unwrap().collections.iter().any(|one| one.name == name));
    insert(&client, &name, vec![point(1, json!({"a": 1})), point(2, json!({"a": 2}))]).await;
    let info = client.collection_info(&name).await.unwrap().result.unwrap();
    assert_eq!(info.points_count, Some(2));
    assert_eq!(info.status, i32::from(CollectionStatus::Green));
    assert_eq!(code(client.create_collection(CreateCollectionBuilder::new(&name)).await), Code::AlreadyExists);
    assert!(client.delete_collection(DeleteCollectionBuilder::new(&name)).await.unwrap().result);
    assert!(!client.collection_exists(&name).await.unwrap());
    assert_eq!(code(client.collection_info(&name).await), Code::NotFound);
    assert!(!client.delete_collection(fresh_name()).await.unwrap().result);
}

#[tokio::test]
async fn metadata_is_kept_and_merged() {
    let client = client();
    let name = fresh_name();
    let map = |value: Value| -> HashMap<String, Value> { value.as_object().unwrap().clone().into_iter().collect() };
    let create = CreateCollectionBuilder::new(&name).metadata(map(json!({"schema": 1, "gone": true})));
    client.create_collection(create).await.unwrap();
    let update = UpdateCollectionBuilder::new(&name).metadata(map(json!({"schema": 2, "gone": null, "new": [1]})));
    assert!(client.update_collection(update).await.unwrap().result);
    let info = client.collection_info(&name).await.unwrap().result.unwrap();
    assert_eq!(as_json(info.config.unwrap().metadata), json!({"schema": 2, "new": [1]}));
}

#[tokio::test]
async fn odd_names_are_refused_and_touch_nothing() {
    let client = client();
    for name in ["", "../up", "a/b", "nul\0", "a:b"] {
        let refused = client.create_collection(CreateCollectionBuilder::new(name)).await;
        assert_eq!(code(refused), Code::InvalidArgument, "{name:?}");
    }
}

#[tokio::test]
async fn a_collection_is_empty_again_after_delete_and_create() {
    let client = client();
    let name = plain_collection(&client).await;
    for round in 0..3 {
        insert(&client, &name, vec![point(round, json!({"round": round}))]).await;
        assert_eq!(count(&client, &name, None).await, 1);
        client.delete_collection(&name).await.unwrap();
        client.create_collection(CreateCollectionBuilder::new(&name)).await.unwrap();
        assert_eq!(count(&client, &name, None).await, 0);
    }
}

#[tokio::test]
async fn concurrent_creators_of_one_name_have_one_winner() {
    let client = client();
    let name = fresh_name();
    let creators = (0..8).map(|_| client.create_collection(CreateCollectionBuilder::new(&name)));
    let results = futures_util::future::join_all(creators).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
}
