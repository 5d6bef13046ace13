//! Creating, describing and deleting collections.

use qdrant_client::qdrant::{CreateCollectionBuilder, DeleteCollectionBuilder};

use crate::support::{client, fresh_name, insert, plain_collection, point};

#[tokio::test]
async fn a_collection_is_created_listed_described_and_deleted() {
    let client = client();
    let name = plain_collection(&client).await;
    assert!(client.collection_exists(&name).await.unwrap());
    assert!(client.list_collections().await.unwrap().collections.iter().any(|one| one.name == name));
    insert(&client, &name, vec![point(1, serde_json::json!({"a": 1})), point(2, serde_json::json!({"a": 2}))]).await;
    let info = client.collection_info(&name).await.unwrap().result.unwrap();
    assert_eq!(info.points_count, Some(2));
    let again = client.create_collection(CreateCollectionBuilder::new(&name)).await.unwrap_err();
    assert!(format!("{again}").contains("already exists"), "{again}");
    assert!(client.delete_collection(DeleteCollectionBuilder::new(&name)).await.unwrap().result);
    assert!(!client.collection_exists(&name).await.unwrap());
    assert!(client.collection_info(&name).await.is_err());
    assert!(!client.delete_collection(fresh_name()).await.unwrap().result);
}
