//! What a read returns and in which order: payload and vector selectors, `order_by`, search parameters; and the
//! points of the answer.

use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::{order_value, start_from, with_payload_selector, with_vectors_selector};
use qdrant_edge::{
    DateTimeWrapper, Direction, OrderBy, OrderValue, PayloadSelector, PayloadSelectorExclude, PayloadSelectorInclude,
    Record, ScoredPoint, SearchParams, StartFrom, WithPayloadInterface, WithVector,
};

use super::Converted;
use super::filter::timestamp_in;
use super::value::{id_out, path_in, paths_in, payload_out};
use super::vector::vectors_out;
use crate::server::error::Fault;

/// Payload to return; `default` when the request does not say.
pub(crate) fn payload_selector(
    selector: Option<proto::WithPayloadSelector>,
    default: bool,
) -> Converted<WithPayloadInterface> {
    Ok(match selector.and_then(|selector| selector.selector_options) {
        None => WithPayloadInterface::Bool(default),
        Some(with_payload_selector::SelectorOptions::Enable(flag)) => WithPayloadInterface::Bool(flag),
        Some(with_payload_selector::SelectorOptions::Include(fields)) => {
            WithPayloadInterface::Selector(PayloadSelector::Include(PayloadSelectorInclude {
                include: paths_in(&fields.fields)?,
            }))
        }
        Some(with_payload_selector::SelectorOptions::Exclude(fields)) => {
            WithPayloadInterface::Selector(PayloadSelector::Exclude(PayloadSelectorExclude {
                exclude: paths_in(&fields.fields)?,
            }))
        }
    })
}

/// Vectors to return; none when the request does not say.
pub(crate) fn vector_selector(selector: Option<proto::WithVectorsSelector>) -> WithVector {
    match selector.and_then(|selector| selector.selector_options) {
        None => WithVector::Bool(false),
        Some(with_vectors_selector::SelectorOptions::Enable(flag)) => WithVector::Bool(flag),
        Some(with_vectors_selector::SelectorOptions::Include(names)) => WithVector::Selector(names.names),
    }
}

pub(crate) fn order_by_in(order: proto::OrderBy) -> Converted<OrderBy> {
    let direction = order.direction.and_then(|direction| proto::Direction::try_from(direction).ok());
    let start_from = order.start_from.and_then(|start| start.value).map(|start| {
        Ok::<_, Fault>(match start {
            start_from::Value::Integer(number) => StartFrom::Integer(number),
            start_from::Value::Float(number) => StartFrom::Float(number),
            start_from::Value::Timestamp(at) => StartFrom::Datetime(timestamp_in(at.seconds, at.nanos)?),
            start_from::Value::Datetime(text) => StartFrom::Datetime(datetime_in(&text)?),
        })
    });
    Ok(OrderBy {
        key: path_in(&order.key)?,
        direction: direction.map(|direction| match direction {
            proto::Direction::Asc => Direction::Asc,
            proto::Direction::Desc => Direction::Desc,
        }),
        start_from: start_from.transpose()?,
    })
}

fn datetime_in(text: &str) -> Converted<DateTimeWrapper> {
    text.parse().map_err(|error| Fault::bad(format!("Malformed datetime: {error}")))
}

pub(crate) fn search_params_in(params: &proto::SearchParams) -> SearchParams {
    SearchParams {
        hnsw_ef: params.hnsw_ef.and_then(|ef| usize::try_from(ef).ok()),
        exact: params.exact.unwrap_or_default(),
        quantization: None,
        indexed_only: params.indexed_only.unwrap_or_default(),
        acorn: None,
    }
}

/// A size that the request may leave out, but may not set to zero.
pub(crate) fn positive(name: &str, value: Option<u64>, default: usize) -> Converted<usize> {
    match value {
        None => Ok(default),
        Some(0) => Err(Fault::bad(format!("{name} must be 1 or larger, it is 0"))),
        Some(value) => Ok(usize::try_from(value).unwrap_or(usize::MAX)),
    }
}

pub(crate) fn record_out(record: Record) -> proto::RetrievedPoint {
    proto::RetrievedPoint {
        id: Some(id_out(record.id)),
        payload: payload_out(record.payload),
        vectors: record.vector.map(vectors_out),
        shard_key: None,
        order_value: record.order_value.map(order_value_out),
    }
}

pub(crate) fn scored_out(point: ScoredPoint) -> proto::ScoredPoint {
    proto::ScoredPoint {
        id: Some(id_out(point.id)),
        payload: payload_out(point.payload),
        score: point.score,
        version: point.version,
        vectors: point.vector.map(vectors_out),
        shard_key: None,
        order_value: point.order_value.map(order_value_out),
    }
}

fn order_value_out(value: OrderValue) -> proto::OrderValue {
    let variant = match value {
        OrderValue::Int(number) => order_value::Variant::Int(number),
        OrderValue::Float(number) => order_value::Variant::Float(number),
    };
    proto::OrderValue { variant: Some(variant) }
}
