//! The Qdrant under test, and short forms for the cases: a client, a fresh collection, payloads, filters by code of the error.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use qdrant_client::qdrant::{
    Condition, CountPointsBuilder, CreateCollectionBuilder, CreateFieldIndexCollectionBuilder, FieldType, Filter,
    GetPointsBuilder, NamedVectors, PointId, PointStruct, RetrievedPoint, ScrollPointsBuilder, UpsertPointsBuilder,
};
use qdrant_client::{Payload, Qdrant, QdrantError};
use qdrant_embedded::{Server, Settings};
use serde_json::{Value, json};
use tonic::Code;

/// Names a real server to run the cases against, instead of an embedded one.
const URL_VARIABLE: &str = "QRON_TEST_QDRANT_URL";

/// URL of the Qdrant under test: the one of the variable, else of one embedded server for this process, which the first
/// caller starts.
pub(crate) fn qdrant_url() -> String {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| std::env::var(URL_VARIABLE).unwrap_or_else(|_| start_embedded())).clone()
}

/// A prefix for names of collections that no other test, process or run uses.
pub(crate) fn unique_prefix() -> String {
    format!("test_{}_", uuid::Uuid::new_v4().simple())
}

/// Settings of an embedded server in `folder` on any free port.
pub(crate) fn settings_in(folder: &Path) -> Settings {
    Settings {
        data_dir: folder.to_owned(),
        address: "127.0.0.1:0".parse().expect("an address"),
        next_free_port: false,
        api_key: String::new().into(),
    }
}

/// The server has a thread and a runtime of its own, because the runtime of the test that happens to start it ends with that
/// test.
fn start_embedded() -> String {
    let (ready, started) = mpsc::channel();
    std::thread::Builder::new()
        .name("embedded-qdrant".into())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
            let folder = scratch_folder();
            let server = runtime.block_on(Server::start(&settings_in(&folder))).expect("an embedded server");
            ready.send(server.url()).expect("the test waits for the URL");
            runtime.block_on(std::future::pending::<()>());
            drop(server);
        })
        .expect("a thread");
    started.recv().expect("the embedded server starts")
}

/// A folder for this process. Statics are not dropped, so the next process removes the folders of those that ended.
fn scratch_folder() -> PathBuf {
    let root = std::env::temp_dir().join("qdrant-embedded-tests");
    std::fs::create_dir_all(&root).expect("a scratch folder");
    for entry in std::fs::read_dir(&root).expect("the scratch folder").flatten() {
        if !Path::new("/proc").join(entry.file_name()).exists() {
            // Another process may be removing it at the same time.
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
    root.join(std::process::id().to_string())
}

pub(crate) fn client() -> Qdrant {
    client_of(&qdrant_url())
}

pub(crate) fn client_of(url: &str) -> Qdrant {
    Qdrant::from_url(url).skip_compatibility_check().timeout(Duration::from_mins(1)).build().expect("a client")
}

pub(crate) fn fresh_name() -> String {
    format!("{}points", unique_prefix())
}

/// A collection without vectors, as a task queue uses it.
pub(crate) async fn plain_collection(client: &Qdrant) -> String {
    let name = fresh_name();
    client.create_collection(CreateCollectionBuilder::new(&name)).await.expect("created");
    name
}

/// A collection with points 1 to `count`, each with `n` equal to its id and `even`, both indexed.
pub(crate) async fn numbered_collection(client: &Qdrant, count: u64) -> String {
    let name = plain_collection(client).await;
    index(client, &name, "n", FieldType::Integer).await;
    index(client, &name, "even", FieldType::Bool).await;
    let points = (1..=count).map(|id| point(id, json!({"n": id, "even": id % 2 == 0})));
    insert(client, &name, points.collect()).await;
    name
}

pub(crate) async fn index(client: &Qdrant, collection: &str, field: &str, kind: FieldType) {
    let request = CreateFieldIndexCollectionBuilder::new(collection, field, kind).wait(true);
    client.create_field_index(request).await.expect("indexed");
}

pub(crate) fn payload(value: Value) -> Payload {
    value.try_into().expect("a payload is an object")
}

pub(crate) fn point(id: impl Into<PointId>, value: Value) -> PointStruct {
    PointStruct::new(id, NamedVectors::default(), payload(value))
}

pub(crate) async fn insert(client: &Qdrant, collection: &str, points: Vec<PointStruct>) {
    client.upsert_points(UpsertPointsBuilder::new(collection, points).wait(true)).await.expect("inserted");
}

/// The payload of a point; none when there is no such point.
pub(crate) async fn stored(client: &Qdrant, collection: &str, id: impl Into<PointId>) -> Option<Value> {
    let request = GetPointsBuilder::new(collection, vec![id.into()]).with_payload(true);
    let mut result = client.get_points(request).await.expect("read").result;
    result.pop().map(|point| as_json(point.payload))
}

pub(crate) fn as_json(payload: HashMap<String, qdrant_client::qdrant::Value>) -> Value {
    Payload::from(payload).into()
}

pub(crate) async fn count(client: &Qdrant, collection: &str, filter: Option<Filter>) -> u64 {
    let request = CountPointsBuilder::new(collection).exact(true);
    let request = match filter {
        Some(filter) => request.filter(filter),
        None => request,
    };
    client.count(request).await.expect("counted").result.expect("a result").count
}

/// The numeric ids that match, in order of id.
pub(crate) async fn ids(client: &Qdrant, collection: &str, filter: Filter) -> Vec<u64> {
    let request = ScrollPointsBuilder::new(collection).filter(filter).limit(1000);
    client.scroll(request).await.expect("scrolled").result.iter().map(number).collect()
}

pub(crate) fn number(point: &RetrievedPoint) -> u64 {
    number_of(point.id.clone())
}

pub(crate) fn number_of(id: Option<PointId>) -> u64 {
    use qdrant_client::qdrant::point_id::PointIdOptions;
    match id.and_then(|id| id.point_id_options) {
        Some(PointIdOptions::Num(number)) => number,
        other => panic!("not a number: {other:?}"),
    }
}

pub(crate) fn has_ids(ids: impl IntoIterator<Item = u64>) -> Condition {
    Condition::has_id(ids)
}

/// The gRPC status code of a failed call.
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, QdrantError>) -> Code {
    match result {
        Err(QdrantError::ResponseError { status } | QdrantError::ResourceExhaustedError { status, .. }) => {
            status.code()
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// Says on the terminal that a test could not run here; in CI that is a failure.
pub(crate) fn skipped(why: &str) {
    use std::io::Write;
    assert!(std::env::var_os("CI").is_none(), "{why}");
    // Written past the test harness, which shows what it captured only of failing tests.
    std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes()).expect("stderr");
}
