//! Measures the bare protocol: the requests that any queue on this store needs to drain it. Each batch takes a scroll, a
//! claim, a read of the claimed tasks and a completion; there is no routing, no lease, no record and no check of a fence.

use std::time::{Duration, Instant};

use qdrant_client::qdrant::{
    Condition, Direction, Filter, OrderByBuilder, PointId, ScrollPointsBuilder, SetPayloadPointsBuilder, WriteOrdering,
    WriteOrderingType,
};
use qdrant_client::{Payload, Qdrant};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::queue::insert;
use super::report::Throughput;
use super::{BenchEnv, Options, per_second};
use crate::store;

/// Time limit of one request.
const REQUEST_TIME_LIMIT: Duration = Duration::from_secs(30);

/// Inserts and drains as many tasks as the measured queue, in batches of the capacity.
pub(super) async fn drain(env: &BenchEnv, options: &Options) -> anyhow::Result<Throughput> {
    insert(env, options).await?;
    let (client, tasks) = (client(&env.config.store)?, format!("{}tasks", env.config.store.prefix));
    let limit = u32::try_from(options.capacity)?;
    let strong = || WriteOrdering { r#type: WriteOrderingType::Strong.into() };
    let began = Instant::now();
    let mut done = 0;
    for batch in 0_u64.. {
        let due = ScrollPointsBuilder::new(&tasks)
            .filter(Filter::must([Condition::matches("status", "pending".to_owned())]))
            .order_by(OrderByBuilder::new("rank").direction(Direction::Asc.into()))
            .limit(limit)
            .with_payload(false);
        let ids: Vec<PointId> = client.scroll(due).await?.result.into_iter().filter_map(|point| point.id).collect();
        if ids.is_empty() {
            break;
        }
        let token = format!("batch-{batch}");
        let claim = json!({"status": "running", "claim": token, "owner": "bench"});
        let pending = Filter::must([Condition::has_id(ids), Condition::matches("status", "pending".to_owned())]);
        let write = SetPayloadPointsBuilder::new(&tasks, Payload::try_from(claim)?).points_selector(pending);
        client.set_payload(write.wait(true).ordering(strong())).await?;
        let claimed = || Filter::must([Condition::matches("claim", token.clone())]);
        let read = ScrollPointsBuilder::new(&tasks).filter(claimed()).limit(limit).with_payload(true);
        let won: Vec<PointId> = client.scroll(read).await?.result.into_iter().filter_map(|point| point.id).collect();
        done += won.len();
        let completion = json!({"status": "completed", "claim": null, "owner": null, "rank": null});
        let held = Filter::must([Condition::has_id(won), Condition::matches("claim", token.clone())]);
        let write = SetPayloadPointsBuilder::new(&tasks, Payload::try_from(completion)?).points_selector(held);
        client.set_payload(write.wait(true).ordering(strong())).await?;
    }
    let took = began.elapsed();
    Ok(Throughput { seconds: took.as_secs_f64(), tasks_per_s: per_second(done, took) })
}

/// Removes the scratch collections.
pub(super) async fn remove_collections(settings: &store::Settings) -> anyhow::Result<()> {
    let client = client(settings)?;
    for collection in client.list_collections().await?.collections {
        if collection.name.starts_with(&settings.prefix) {
            client.delete_collection(collection.name).await?;
        }
    }
    Ok(())
}

fn client(settings: &store::Settings) -> anyhow::Result<Qdrant> {
    let mut builder = Qdrant::from_url(&settings.url).skip_compatibility_check().timeout(REQUEST_TIME_LIMIT);
    let key = settings.api_key.expose_secret().trim();
    if !key.is_empty() {
        builder = builder.api_key(key);
    }
    Ok(builder.build()?)
}
