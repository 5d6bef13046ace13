//! Universal queries, and the older searches in their terms.

use std::sync::Arc;

use qdrant_client::qdrant as proto;
use qdrant_edge::{
    CountRequest, EdgeShard, PointId, VectorInternal, VectorStructInternal, WithPayloadInterface, WithVector,
};
use tokio::time::Instant;

use crate::server::collection::Collection;
use crate::server::convert::limits::{self, at_most};
use crate::server::convert::query::{Context, query_in};
use crate::server::convert::select::scored_out;
use crate::server::error::Fault;
use crate::server::registry::Registry;

pub(crate) async fn query(registry: &Registry, request: proto::QueryPoints) -> Result<proto::QueryResponse, Fault> {
    let started = Instant::now();
    let collection = registry.get(&request.collection_name)?;
    let result = run(&collection, request).await?;
    Ok(proto::QueryResponse { result, time: started.elapsed().as_secs_f64(), usage: None })
}

pub(crate) async fn batch(
    registry: &Registry,
    request: proto::QueryBatchPoints,
) -> Result<proto::QueryBatchResponse, Fault> {
    let started = Instant::now();
    let collection = registry.get(&request.collection_name)?;
    at_most("queries", request.query_points.len(), limits::QUERIES)?;
    let mut result = Vec::with_capacity(request.query_points.len());
    for query in request.query_points {
        result.push(proto::BatchResult { result: run(&collection, query).await? });
    }
    Ok(proto::QueryBatchResponse { result, time: started.elapsed().as_secs_f64(), usage: None })
}

pub(crate) async fn search(registry: &Registry, request: proto::SearchPoints) -> Result<proto::SearchResponse, Fault> {
    let answer = query(registry, as_query(request)).await?;
    Ok(proto::SearchResponse { result: answer.result, time: answer.time, usage: None })
}

pub(crate) async fn search_batch(
    registry: &Registry,
    request: proto::SearchBatchPoints,
) -> Result<proto::SearchBatchResponse, Fault> {
    let queries = proto::QueryBatchPoints {
        collection_name: request.collection_name,
        query_points: request.search_points.into_iter().map(as_query).collect(),
        ..Default::default()
    };
    let answer = batch(registry, queries).await?;
    Ok(proto::SearchBatchResponse { result: answer.result, time: answer.time, usage: None })
}

fn as_query(search: proto::SearchPoints) -> proto::QueryPoints {
    let input = match search.sparse_indices {
        Some(indices) => {
            proto::vector_input::Variant::Sparse(proto::SparseVector { values: search.vector, indices: indices.data })
        }
        None => proto::vector_input::Variant::Dense(proto::DenseVector { data: search.vector }),
    };
    let nearest = proto::VectorInput { variant: Some(input) };
    proto::QueryPoints {
        collection_name: search.collection_name,
        query: Some(proto::Query { variant: Some(proto::query::Variant::Nearest(nearest)) }),
        using: search.vector_name,
        filter: search.filter,
        params: search.params,
        score_threshold: search.score_threshold,
        limit: Some(search.limit),
        offset: search.offset,
        with_vectors: search.with_vectors,
        with_payload: search.with_payload,
        ..Default::default()
    }
}

async fn run(collection: &Arc<Collection>, request: proto::QueryPoints) -> Result<Vec<proto::ScoredPoint>, Fault> {
    let config = collection.config().clone();
    // Conversion may have to look up stored vectors, so it happens where blocking is allowed.
    let points = collection.read(move |shard| {
        let points = shard.count(CountRequest { filter: None, exact: false })?;
        let context = Context { config: &config, points, stored: &|id, name| stored_vector(shard, id, name) };
        let (query, offset) = match query_in(request, &context) {
            Ok(converted) => converted,
            Err(fault) => return Ok(Err(fault)),
        };
        Ok(Ok(shard.query(query)?.into_iter().skip(offset).map(scored_out).collect()))
    });
    points.await?
}

fn stored_vector(shard: &EdgeShard, id: PointId, name: &str) -> Result<VectorInternal, Fault> {
    let wanted = WithVector::Selector(vec![name.to_owned()]);
    let records = shard.retrieve(&[id], Some(WithPayloadInterface::Bool(false)), Some(wanted))?;
    let record = records.into_iter().next().ok_or_else(|| Fault::NotFound(format!("No point with id {id} found")))?;
    let vector = match record.vector {
        Some(VectorStructInternal::Single(dense)) if name.is_empty() => Some(VectorInternal::Dense(dense)),
        Some(VectorStructInternal::MultiDense(multi)) if name.is_empty() => Some(VectorInternal::MultiDense(multi)),
        Some(VectorStructInternal::Named(mut named)) => named.remove(name),
        _ => None,
    };
    vector.ok_or_else(|| Fault::bad(format!("Point {id} has no vector {name:?}")))
}
