//! Connecting: schema, versions, addresses, and what a broken one says.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};

use qdrant_client::qdrant::{CreateCollectionBuilder, Distance, UpdateCollectionBuilder, VectorParamsBuilder};
use qron::store::{ArtifactSettings, Settings, Store, StoreError};
use serde_json::{Value, json};
use tonic::Code;

use super::bed::{Bed, COLLECTIONS, client, settings};
use super::node::Node;

#[tokio::test]
async fn connecting_again_finds_everything_as_it_was() {
    let bed = Bed::new().await;
    let task = bed.insert_due(1).await.remove(0);
    let again = bed.another().await;
    again.ping().await.expect("an answer");
    assert_eq!(again.task(task.id).await.expect("readable"), Some(task));
    let info = bed.client.collection_info(bed.collection("tasks")).await.expect("info").result.expect("info");
    for field in ["status", "admitted", "run_at", "rank", "claim", "owner", "agent", "needs", "tags", "user"] {
        assert!(info.payload_schema.contains_key(field), "{field} is not indexed");
    }
}

#[tokio::test]
async fn several_replicas_may_start_at_once() {
    let bed = Bed::new().await;
    let fresh = Settings { prefix: settings().prefix, ..bed.settings.clone() };
    let stores = (0..4).map(|_| Store::connect(&fresh, &bed.artifacts, None));
    let mut identities = std::collections::BTreeSet::new();
    for store in futures_util::future::join_all(stores).await {
        let store = store.expect("connected");
        store.ping().await.expect("an answer");
        identities.insert(store.identity().to_owned());
    }
    assert_eq!(identities.len(), 1, "they agree which store it is: {identities:?}");
    let same_server = bed.store.identity();
    assert!(!identities.contains(same_server) && !same_server.is_empty(), "another prefix is another store");
    assert_eq!(bed.another().await.identity(), same_server);
    for name in COLLECTIONS {
        bed.client.delete_collection(format!("{}{name}", fresh.prefix)).await.expect("deleted");
    }
}

/// What the nodes of a cluster answer to who is not the first: in other words than a single server, with another code,
/// and before they show what they say is there.
#[tokio::test]
async fn a_start_takes_already_there_in_every_wording_for_an_answer() {
    let bed = Bed::new().await;
    for (code, words) in [
        (Code::AlreadyExists, "Collection `{}` already exists!"),
        (Code::InvalidArgument, "Wrong input: Collection `{}` already exists!"),
        (Code::Internal, "Service internal error: Collection {} already exists"),
        (Code::InvalidArgument, "Can't create collection with name {}. Collection data already exists at ./storage"),
    ] {
        let fresh = Settings { prefix: settings().prefix, ..bed.settings.clone() };
        let node = Node::before(&bed.settings.url, code, words).await;
        let through = Settings { url: node.url.clone(), ..fresh.clone() };
        let store = Store::connect(&through, &bed.artifacts, None).await.expect(words);
        store.ping().await.expect("an answer");
        let info = bed.client.collection_info(format!("{}tasks", fresh.prefix)).await.expect("info").result;
        assert!(info.expect("info").payload_schema.contains_key("rank"), "{words}");
        for name in COLLECTIONS {
            bed.client.delete_collection(format!("{}{name}", fresh.prefix)).await.expect("deleted");
        }
    }
}

#[tokio::test]
async fn data_of_a_newer_qron_is_refused_whichever_collection_it_is_in() {
    let bed = Bed::new().await;
    let set = async |name: &str, schema: i64| {
        let metadata: HashMap<String, Value> = HashMap::from([("qron_schema".to_owned(), json!(schema))]);
        let request = UpdateCollectionBuilder::new(bed.collection(name)).metadata(metadata);
        bed.client.update_collection(request).await.expect("updated");
        // The nodes of a cluster show it one after the other.
        loop {
            let info = bed.client.collection_info(bed.collection(name)).await.expect("info").result.expect("info");
            let shown = info.config.and_then(|config| config.metadata.get("qron_schema")?.as_integer());
            if shown == Some(schema) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    for name in COLLECTIONS {
        set(name, 2).await;
        let Err(error) = bed.connect(None).await else { panic!("{name} was accepted") };
        assert!(matches!(error, StoreError::Incompatible(_)), "{error}");
        assert!(error.to_string().contains(&bed.collection(name)), "{error}");
        assert!(!error.is_transient());
        set(name, 1).await;
    }
    bed.connect(None).await.map(drop).expect("all are of this version again");
}

#[tokio::test]
async fn a_collection_that_somebody_made_with_vectors_of_their_own_is_used_as_it_is() {
    let bed = Bed::new().await;
    let tasks = bed.collection("tasks");
    bed.client.delete_collection(&tasks).await.expect("deleted");
    let vectors = VectorParamsBuilder::new(4, Distance::Cosine);
    bed.client.create_collection(CreateCollectionBuilder::new(&tasks).vectors_config(vectors)).await.expect("created");
    let store = bed.another().await;
    let task = qron::domain::task::Task::new(qron::domain::id::TaskId::fresh(), "no vector", super::bed::NOW);
    assert!(store.insert(std::slice::from_ref(&task)).await.expect("inserted")[0].created);
    assert_eq!(store.task(task.id).await.expect("readable"), Some(task));
}

#[tokio::test]
async fn nobody_listening_is_told_with_the_address() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let error = refused_by(Settings { url: url.clone(), timeout_ms: 2000, ..settings() }).await;
    assert!(matches!(&error, StoreError::Unavailable { url: told, .. } if *told == url), "{error}");
    assert!(error.is_transient());
}

/// A server that answers every connection with `answer`, then closes it.
fn http_server(answer: &'static str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 1_024];
            let asked = stream.read(&mut request);
            // A client that has gone meanwhile is none that the test minds.
            drop(asked.and_then(|_| stream.write_all(answer.as_bytes())));
        }
    });
    url
}

#[tokio::test]
async fn an_http_port_is_recognised_and_the_grpc_port_named() {
    let qdrant = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n\
                  {\"title\":\"qdrant - vector search engine\",\"version\":\"1.18.3\"}";
    let other = "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    for (answer, expected) in [
        (qdrant, "is Qdrant's REST port; did you mean http://127.0.0.1:6334 (gRPC)?"),
        (other, "answers HTTP and not gRPC"),
    ] {
        let url = http_server(answer);
        let error = refused_by(Settings { url: url.clone(), timeout_ms: 5_000, ..settings() }).await;
        assert!(error.to_string().starts_with(&format!("{url} {expected}")), "{error}");
        assert!(
            error.to_string().contains("http://127.0.0.1:6334") && error.to_string().contains("QDRANT_URL"),
            "{error}"
        );
        assert!(!error.is_transient(), "trying again does not help");
    }
}

#[tokio::test]
async fn what_is_no_address_is_refused_by_name() {
    for url in ["", "not a url", "http://"] {
        let error = refused_by(Settings { url: url.to_owned(), timeout_ms: 2000, ..settings() }).await;
        assert!(!error.to_string().is_empty() && error.to_string().contains(url), "{error}");
    }
}

async fn refused_by(settings: Settings) -> StoreError {
    let artifacts = ArtifactSettings { inline_bytes: 1, folder: "unused".into(), max_bytes: 1 };
    match Store::connect(&settings, &artifacts, None).await {
        Ok(_) => panic!("connected to {:?}", settings.url),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_bed_leaves_nothing_behind() {
    let bed = Bed::new().await;
    let (url, tasks) = (bed.settings.url.clone(), bed.collection("tasks"));
    assert!(client(&url).collection_exists(&tasks).await.expect("an answer"));
    drop(bed);
    assert!(!client(&url).collection_exists(&tasks).await.expect("an answer"));
}
