//! Reads of points by id, page, count and facet.

use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::facet_value;
use qdrant_edge::{CountRequest, EdgeShard, FacetRequest, FacetValue, OrderBy, PointId, ScrollRequest, WithVector};
use tokio::time::Instant;
use uuid::Uuid;

use crate::server::convert::filter::filter_opt;
use crate::server::convert::limits::{RESULTS, check_ordered};
use crate::server::convert::select::{order_by_in, payload_selector, positive, record_out, vector_selector};
use crate::server::convert::value::{id_in, id_out, ids_in, path_in};
use crate::server::error::Fault;
use crate::server::registry::Registry;

/// Points or facet values returned when the request does not say.
const DEFAULT_LIMIT: usize = 10;

pub(crate) async fn get(registry: &Registry, request: proto::GetPoints) -> Result<proto::GetResponse, Fault> {
    let started = Instant::now();
    let collection = registry.get(&request.collection_name)?;
    let ids = ids_in(request.ids)?;
    let payload = payload_selector(request.with_payload, true)?;
    let vectors = vector_selector(request.with_vectors);
    let records = collection.read(move |shard| shard.retrieve(&ids, Some(payload), Some(vectors))).await?;
    Ok(proto::GetResponse {
        result: records.into_iter().map(record_out).collect(),
        time: started.elapsed().as_secs_f64(),
        usage: None,
    })
}

pub(crate) async fn scroll(registry: &Registry, request: proto::ScrollPoints) -> Result<proto::ScrollResponse, Fault> {
    let started = Instant::now();
    let collection = registry.get(&request.collection_name)?;
    let offset: Option<PointId> = request.offset.map(|id| id_in(Some(id))).transpose()?;
    let order_by: Option<OrderBy> = request.order_by.map(order_by_in).transpose()?;
    let with_vector: WithVector = vector_selector(request.with_vectors);
    let mut scroll = ScrollRequest {
        offset,
        limit: Some(positive("limit", request.limit.map(u64::from), DEFAULT_LIMIT)?),
        filter: filter_opt(request.filter)?,
        with_payload: Some(payload_selector(request.with_payload, true)?),
        with_vector,
        order_by: order_by.map(qdrant_edge::OrderByInterface::Struct),
    };
    let page = collection.read(move |shard| {
        let limit = scroll.limit.unwrap_or(DEFAULT_LIMIT);
        if scroll.order_by.is_none() {
            // What is left out comes with the next page, to which the answer points.
            scroll.limit = Some(limit.min(RESULTS));
            return shard.scroll(scroll).map(Ok);
        }
        // An ordered answer points to no next page, so a shorter one would look complete.
        scroll.limit = Some(limit.min(RESULTS + 1));
        let (records, next) = shard.scroll(scroll)?;
        Ok(check_ordered(records.len()).map(|()| (records, next)))
    });
    let (records, next) = page.await??;
    Ok(proto::ScrollResponse {
        next_page_offset: next.map(id_out),
        result: records.into_iter().map(record_out).collect(),
        time: started.elapsed().as_secs_f64(),
        usage: None,
    })
}

pub(crate) async fn count(registry: &Registry, request: proto::CountPoints) -> Result<proto::CountResponse, Fault> {
    let started = Instant::now();
    let collection = registry.get(&request.collection_name)?;
    let count = CountRequest { filter: filter_opt(request.filter)?, exact: request.exact.unwrap_or(true) };
    let count = collection.read(move |shard| shard.count(count)).await?;
    Ok(proto::CountResponse {
        result: Some(proto::CountResult { count: count as u64 }),
        time: started.elapsed().as_secs_f64(),
        usage: None,
    })
}

pub(crate) async fn facet(registry: &Registry, request: proto::FacetCounts) -> Result<proto::FacetResponse, Fault> {
    let started = Instant::now();
    let collection = registry.get(&request.collection_name)?;
    let mut facet = FacetRequest {
        key: path_in(&request.key)?,
        limit: positive("limit", request.limit, DEFAULT_LIMIT)?,
        filter: filter_opt(request.filter)?,
        exact: request.exact.unwrap_or_default(),
    };
    let facets = collection.read(move |shard| {
        facet.limit = facet.limit.min(room(shard)).min(RESULTS);
        shard.facet(facet)
    });
    let facets = facets.await?;
    let hits = facets.hits.into_iter().map(|hit| {
        let variant = match hit.value {
            FacetValue::Keyword(word) => facet_value::Variant::StringValue(word),
            FacetValue::Int(number) => facet_value::Variant::IntegerValue(number),
            FacetValue::Uuid(uuid) => facet_value::Variant::StringValue(Uuid::from_u128(uuid).to_string()),
            FacetValue::Bool(flag) => facet_value::Variant::BoolValue(flag),
        };
        proto::FacetHit { value: Some(proto::FacetValue { variant: Some(variant) }), count: hit.count as u64 }
    });
    Ok(proto::FacetResponse { hits: hits.collect(), time: started.elapsed().as_secs_f64(), usage: None })
}

/// As many results as there can be: the engine reserves room for as many as it is asked for, however many exist.
fn room(shard: &EdgeShard) -> usize {
    shard.count(CountRequest { filter: None, exact: false }).unwrap_or(DEFAULT_LIMIT).max(1)
}
