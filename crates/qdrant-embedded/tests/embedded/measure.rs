//! Figures, not verdicts: how long a start, a write and a search take with 100k points. Run on purpose:
//! `cargo test --release --test embedded -- --ignored --nocapture measure`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "it prints its figures, and a failure ends it")]

use std::path::Path;
use std::time::{Duration, Instant};

use qdrant_client::Qdrant;
use qdrant_client::qdrant::{
    Condition, CreateCollectionBuilder, Distance, FieldType, Filter, OrderByBuilder, PointStruct, Range,
    ScrollPointsBuilder, SearchPointsBuilder, SetPayloadPointsBuilder, UpsertPointsBuilder, VectorParamsBuilder,
};
use qdrant_embedded::Server;
use serde_json::json;

use crate::support::settings_in;
use crate::support::{client_of, count, has_ids, index, insert, payload, point};

const POINTS: u64 = 100_000;
const SIZE: u32 = 384;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and prints figures"]
async fn measure() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&settings_in(folder.path())).await.unwrap();
    let client = client_of(&server.url());
    fill_tasks(&client).await;
    reads(&client).await;
    writes(&client).await;
    fill_memory(&client).await;
    searches(&client).await;
    server.shutdown().await.unwrap();
    for start in 0..3 {
        restart(folder.path(), start).await;
    }
}

async fn fill_tasks(client: &Qdrant) {
    client.create_collection(CreateCollectionBuilder::new("tasks")).await.unwrap();
    for (field, kind) in [
        ("status", FieldType::Keyword),
        ("claim", FieldType::Keyword),
        ("owner", FieldType::Keyword),
        ("rank", FieldType::Integer),
        ("run_at", FieldType::Integer),
        ("created_at", FieldType::Integer),
    ] {
        index(client, "tasks", field, kind).await;
    }
    let started = Instant::now();
    for batch in 0..POINTS / 500 {
        let points = (0..500).map(|n| {
            let n = batch * 500 + n;
            let payload = json!({"goal": format!("task number {n} of the measurement"), "status": "pending",
                "run_at": 1_700_000_000_000_u64 + n, "rank": 1_700_000_000_000_u64 + n, "created_at": n, "priority": 5,
                "attempt": 0, "max_attempts": 3, "capabilities": ["a", "b"], "context": {"key": "value"}, "tags": []});
            point(uuid::Uuid::from_u128(u128::from(n) + 1).to_string(), payload)
        });
        insert(client, "tasks", points.collect()).await;
    }
    println!("insert of {POINTS} tasks in batches of 500: {:?}", started.elapsed());
}

async fn fill_memory(client: &Qdrant) {
    let vectors = VectorParamsBuilder::new(u64::from(SIZE), Distance::Cosine);
    client.create_collection(CreateCollectionBuilder::new("memory").vectors_config(vectors)).await.unwrap();
    let started = Instant::now();
    for batch in 0..POINTS / 500 {
        let points =
            (0..500).map(|n| PointStruct::new(batch * 500 + n, vector(batch * 500 + n), payload(json!({"n": n}))));
        insert(client, "memory", points.collect()).await;
    }
    println!("insert of {POINTS} vectors of {SIZE}: {:?}", started.elapsed());
}

#[allow(clippy::cast_precision_loss, clippy::allow_attributes, reason = "any numbers will do")]
fn vector(seed: u64) -> Vec<f32> {
    (0..u64::from(SIZE)).map(|i| (((seed + 1) * (i + 7) * 2_654_435_761) % 1000) as f32 - 500.0).collect()
}

async fn reads(client: &Qdrant) {
    let due = Filter::must([
        Condition::matches("status", "pending".to_owned()),
        Condition::range("run_at", Range { lte: Some(1_800_000_000_000.0), ..Default::default() }),
    ]);
    let scroll =
        ScrollPointsBuilder::new("tasks").filter(due.clone()).order_by(OrderByBuilder::new("rank")).limit(256).build();
    timed("due scan of 256", 50, async |_| drop(client.scroll(scroll.clone()).await.unwrap())).await;
    timed("exact count", 10, async |_| assert_eq!(count(client, "tasks", Some(due.clone())).await, POINTS)).await;
}

async fn searches(client: &Qdrant) {
    timed("nearest 10 of 100k", 20, async |n| {
        client.search_points(SearchPointsBuilder::new("memory", vector(n), 10)).await.unwrap();
    })
    .await;
}

async fn writes(client: &Qdrant) {
    timed("single insert, acknowledged", 200, async |n| {
        insert(client, "tasks", vec![point(1_000_000 + n, json!({"status": "new", "rank": n}))]).await;
    })
    .await;
    timed("claim of 64 by filter, acknowledged", 100, async |n| {
        let ids = (n * 64..n * 64 + 64).map(|id| uuid::Uuid::from_u128(u128::from(id) + 1).to_string());
        let free = Filter::must([Condition::has_id(ids), Condition::matches("status", "pending".to_owned())]);
        let patch = payload(json!({"status": "running", "owner": "me", "claim": n.to_string()}));
        let set = SetPayloadPointsBuilder::new("tasks", patch).points_selector(free).wait(true);
        client.set_payload(set).await.unwrap();
    })
    .await;
    let started = Instant::now();
    let many = (0..2000_u64).map(|n| async move {
        let points = vec![point(2_000_000 + n, json!({"status": "new"}))];
        client.upsert_points(UpsertPointsBuilder::new("tasks", points).wait(true)).await.unwrap();
    });
    futures_util::future::join_all(many).await;
    println!("2000 single inserts at once, all acknowledged: {:?}", started.elapsed());
    insert(client, "tasks", vec![point(1, json!({}))]).await;
    assert_eq!(count(client, "tasks", Some(Filter::must([has_ids([1])]))).await, 1);
}

async fn timed(what: &str, times: u64, mut work: impl AsyncFnMut(u64)) {
    let mut took = Vec::new();
    for n in 0..times {
        let started = Instant::now();
        work(n).await;
        took.push(started.elapsed());
    }
    took.sort();
    let at = |share: usize| -> Duration { took[(took.len() - 1) * share / 100] };
    println!("{what}: median {:?}, 99 % {:?}, most {:?}", at(50), at(99), at(100));
}

async fn restart(folder: &Path, number: u32) {
    let started = Instant::now();
    let server = Server::start(&settings_in(folder)).await.unwrap();
    println!("start {number} with both collections: {:?}", started.elapsed());
    let stored = count(&client_of(&server.url()), "tasks", None).await;
    assert!(stored > POINTS);
    server.shutdown().await.unwrap();
}
