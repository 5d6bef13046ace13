//! What only the embedded server has: its folder, its lock, its port, its key, and what it survives.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use qdrant_client::Qdrant;
use qdrant_client::qdrant::{
    CreateCollectionBuilder, DeletePointsBuilder, FacetCountsBuilder, FieldType, Filter, OrderByBuilder, Query,
    QueryPointsBuilder, ScrollPointsBuilder, UpsertPointsBuilder,
};
use qdrant_embedded::{Server, ServerError, Settings};
use serde_json::json;
use tempfile::TempDir;
use tonic::Code;

use crate::support::settings_in;
use crate::support::{client_of, code, count, ids, index, insert, plain_collection, point, stored};

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

pub(crate) async fn start(folder: &Path) -> (Server, Qdrant) {
    let server = Server::start(&settings_in(folder)).await.expect("started");
    let client = client_of(&server.url());
    (server, client)
}

/// The only folder named `data-*` of a collection.
pub(crate) fn data_of(folder: &Path, collection: &str) -> PathBuf {
    let root = folder.join("collections").join(collection);
    let mut found = Vec::new();
    for entry in fs::read_dir(&root).expect("its folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.push(path);
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let folder = folder();
    let (server, client) = start(folder.path()).await;
    let name = plain_collection(&client).await;
    index(&client, &name, "n", FieldType::Integer).await;
    insert(&client, &name, (1..=50_u64).map(|id| point(id, json!({"n": id}))).collect()).await;
    let quick = UpsertPointsBuilder::new(&name, vec![point(51, json!({"n": 51}))]).wait(false);
    client.upsert_points(quick).await.unwrap();
    server.shutdown().await.unwrap();
    let (server, client) = start(folder.path()).await;
    assert_eq!(count(&client, &name, None).await, 51);
    let schema = client.collection_info(&name).await.unwrap().result.unwrap().payload_schema;
    assert_eq!(schema["n"].points, Some(51));
    insert(&client, &name, vec![point(7, json!({"n": 700}))]).await;
    assert_eq!(stored(&client, &name, 7).await, Some(json!({"n": 700})));
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn one_folder_has_one_server() {
    let folder = folder();
    let (server, _) = start(folder.path()).await;
    let second = Server::start(&settings_in(folder.path())).await.unwrap_err();
    assert!(matches!(second, ServerError::Locked(_)), "{second}");
    assert!(second.to_string().contains(&folder.path().display().to_string()), "{second}");
    server.shutdown().await.unwrap();
    start(folder.path()).await.0.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_folder_of_someone_else_is_left_alone() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    let error = Server::start(&settings_in(&file)).await.unwrap_err();
    assert!(matches!(error, ServerError::NotAFolder(_)), "{error}");
    let error = Server::start(&settings_in(folder.path())).await.unwrap_err();
    assert!(matches!(&error, ServerError::Foreign { found, .. } if found == "file"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was added");
    let below = Server::start(&settings_in(&file.join("below"))).await.unwrap_err();
    assert!(matches!(below, ServerError::Io { .. }), "{below}");
    let volume = tempfile::tempdir().unwrap();
    fs::create_dir(volume.path().join("lost+found")).unwrap();
    start(volume.path()).await.0.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_newer_format_and_a_damaged_collection_are_named() {
    let folder = folder();
    let (server, client) = start(folder.path()).await;
    let name = plain_collection(&client).await;
    server.shutdown().await.unwrap();
    let description = folder.path().join("collections").join(&name).join("collection.json");
    let good = fs::read(&description).unwrap();
    fs::write(&description, "{").unwrap();
    let error = Server::start(&settings_in(folder.path())).await.unwrap_err();
    assert!(matches!(&error, ServerError::Collection { name: found, .. } if *found == name), "{error}");
    fs::write(&description, good).unwrap();
    fs::write(folder.path().join("format.json"), r#"{"qdrant_edge_server": 99}"#).unwrap();
    let error = Server::start(&settings_in(folder.path())).await.unwrap_err();
    assert!(matches!(error, ServerError::Newer { found: 99, .. }), "{error}");
}

#[tokio::test]
async fn what_a_crash_left_by_halves_is_cleared_away() {
    let folder = folder();
    let (server, client) = start(folder.path()).await;
    let name = plain_collection(&client).await;
    insert(&client, &name, vec![point(1, json!({}))]).await;
    server.shutdown().await.unwrap();
    let collections = folder.path().join("collections");
    fs::create_dir_all(collections.join("never_finished/data-1/segments")).unwrap();
    fs::create_dir_all(collections.join(".trash-1/data-1")).unwrap();
    fs::create_dir_all(collections.join(&name).join("data-abandoned/wal")).unwrap();
    let (server, client) = start(folder.path()).await;
    assert_eq!(client.list_collections().await.unwrap().collections.len(), 1);
    assert_eq!(count(&client, &name, None).await, 1);
    assert_eq!(fs::read_dir(&collections).unwrap().count(), 1);
    data_of(folder.path(), &name);
    client.create_collection(CreateCollectionBuilder::new("never_finished")).await.unwrap();
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_an_error_or_gives_way_to_the_next() {
    let folder = folder();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let settings = Settings { address, ..settings_in(folder.path()) };
    let error = Server::start(&settings).await.unwrap_err();
    assert!(matches!(&error, ServerError::Listen { address: named, .. } if *named == address), "{error}");
    let server = Server::start(&Settings { next_free_port: true, ..settings }).await.unwrap();
    assert!(server.address().port() > address.port());
    client_of(&server.url()).health_check().await.unwrap();
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn other_hosts_need_a_key_and_so_does_everyone_when_there_is_one() {
    let folder = folder();
    let open = Settings { address: "0.0.0.0:0".parse().unwrap(), ..settings_in(folder.path()) };
    let error = Server::start(&open).await.unwrap_err();
    assert!(matches!(error, ServerError::Unprotected(_)), "{error}");
    let settings = Settings { api_key: "secret".to_owned().into(), ..settings_in(folder.path()) };
    let server = Server::start(&settings).await.unwrap();
    let with = |key: &str| Qdrant::from_url(&server.url()).skip_compatibility_check().api_key(key).build().unwrap();
    assert_eq!(code(client_of(&server.url()).list_collections().await), Code::Unauthenticated);
    assert_eq!(code(with("wrong").list_collections().await), Code::Unauthenticated);
    with("secret").list_collections().await.unwrap();
    client_of(&server.url()).health_check().await.unwrap();
    assert!(!format!("{settings:?} {server:?}").contains("secret"));
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn absurd_limits_do_not_bring_the_server_down() {
    let folder = folder();
    let (server, client) = start(folder.path()).await;
    let name = plain_collection(&client).await;
    index(&client, &name, "n", FieldType::Integer).await;
    insert(&client, &name, vec![point(1, json!({"n": 1}))]).await;
    let query = QueryPointsBuilder::new(&name).query(Query::new_order_by(OrderByBuilder::new("n").build()));
    assert_eq!(client.query(query.limit(u64::MAX)).await.unwrap().result.len(), 1);
    let scroll = ScrollPointsBuilder::new(&name).order_by(OrderByBuilder::new("n")).limit(u32::MAX);
    assert_eq!(client.scroll(scroll).await.unwrap().result.len(), 1);
    assert_eq!(client.facet(FacetCountsBuilder::new(&name, "n").limit(u64::MAX)).await.unwrap().hits.len(), 1);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_is_not_offered_says_so_by_name() {
    let folder = folder();
    let (server, client) = start(folder.path()).await;
    let name = plain_collection(&client).await;
    let refused = client.list_snapshots(&name).await.unwrap_err();
    assert!(refused.to_string().contains("Snapshots/List"), "{refused}");
    assert_eq!(code(Err::<(), _>(refused)), Code::Unimplemented);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_start_rebuilds_a_collection_that_is_mostly_deleted_points() {
    let folder = folder();
    let (server, client) = start(folder.path()).await;
    let name = plain_collection(&client).await;
    index(&client, &name, "n", FieldType::Integer).await;
    for round in 0..4_u64 {
        let points = (0..4000_u64).map(|n| point(uuid::Uuid::new_v4().to_string(), json!({"n": n, "round": round})));
        insert(&client, &name, points.collect()).await;
        client.delete_points(DeletePointsBuilder::new(&name).points(Filter::default()).wait(true)).await.unwrap();
    }
    insert(&client, &name, (1..=9_u64).map(|id| point(id, json!({"n": id}))).collect()).await;
    let before = data_of(folder.path(), &name);
    server.shutdown().await.unwrap();
    let (server, client) = start(folder.path()).await;
    assert_ne!(data_of(folder.path(), &name), before);
    assert_eq!(count(&client, &name, None).await, 9);
    let five = Filter::must([qdrant_client::qdrant::Condition::matches("n", 5)]);
    assert_eq!(ids(&client, &name, five).await, [5]);
    assert_eq!(client.collection_info(&name).await.unwrap().result.unwrap().payload_schema["n"].points, Some(9));
    let rebuilt = data_of(folder.path(), &name);
    server.shutdown().await.unwrap();
    start(folder.path()).await.0.shutdown().await.unwrap();
    assert_eq!(data_of(folder.path(), &name), rebuilt, "a tidy collection is left as it is");
}

#[tokio::test]
async fn the_operation_log_does_not_outlive_a_restart() {
    let folder = folder();
    let (server, client) = start(folder.path()).await;
    let name = plain_collection(&client).await;
    let text = "x".repeat(1 << 20);
    for id in 0..96_u64 {
        insert(&client, &name, vec![point(id % 2, json!({"text": text, "id": id}))]).await;
    }
    let log = || fs::read_dir(data_of(folder.path(), &name).join("wal")).unwrap().count();
    assert!((4..24).contains(&log()), "some of 32 segments are gone already: {}", log());
    server.shutdown().await.unwrap();
    for restart in 0..3 {
        let (server, client) = start(folder.path()).await;
        assert!(log() <= 3, "{}", log());
        insert(&client, &name, vec![point(100 + restart, json!({"restart": restart}))]).await;
        insert(&client, &name, vec![point(0, json!({"restart": restart}))]).await;
        server.shutdown().await.unwrap();
        let (server, client) = start(folder.path()).await;
        assert_eq!(stored(&client, &name, 0).await, Some(json!({"restart": restart})));
        assert_eq!(count(&client, &name, None).await, 3 + restart);
        server.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_hundred_collections_are_no_burden() {
    let folder = folder();
    let (server, client) = start(folder.path()).await;
    for number in 0..100 {
        client.create_collection(CreateCollectionBuilder::new(format!("c{number}"))).await.unwrap();
    }
    let writes = (0..100_u64).map(|number| insert_into(&client, number));
    futures_util::future::join_all(writes).await;
    server.shutdown().await.unwrap();
    let (server, client) = start(folder.path()).await;
    assert_eq!(client.list_collections().await.unwrap().collections.len(), 100);
    assert_eq!(stored(&client, "c42", 42).await, Some(json!({"number": 42})));
    server.shutdown().await.unwrap();
}

async fn insert_into(client: &Qdrant, number: u64) {
    insert(client, &format!("c{number}"), vec![point(number, json!({"number": number}))]).await;
}

#[tokio::test]
async fn a_shutdown_loses_no_acknowledged_write() {
    let folder = folder();
    let (server, client) = start(folder.path()).await;
    let name = plain_collection(&client).await;
    let (written, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let writer = tokio::spawn({
        let (client, name) = (client.clone(), name.clone());
        async move {
            for id in 0.. {
                let request = UpsertPointsBuilder::new(&name, vec![point(id, json!({}))]).wait(true);
                if client.upsert_points(request).await.is_err() {
                    return;
                }
                written.send(id).unwrap();
            }
        }
    });
    let mut last = 0;
    while last < 20 {
        last = seen.recv().await.unwrap();
    }
    server.shutdown().await.unwrap();
    writer.await.unwrap();
    while let Ok(id) = seen.try_recv() {
        last = id;
    }
    let (server, client) = start(folder.path()).await;
    assert!(count(&client, &name, None).await > last);
    server.shutdown().await.unwrap();
}
