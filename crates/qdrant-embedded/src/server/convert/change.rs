//! Writes: the requests of the points service and the members of a batch, as operations of the engine.

use std::collections::HashMap;

use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::points_update_operation::Operation;
use qdrant_edge::{
    ConditionalInsertOperation, CreateIndex, DeletePayloadOp, FieldIndexOperations, Filter, Payload, PayloadOps,
    PointId, PointIdsList, PointInsertOperations, PointOperations, PointStructPersisted, PointVectorsPersisted,
    SetPayloadOp, UpdateMode, UpdateOperation, UpdateVectorsOp, VectorOperations,
};
use serde_json::Value;

use super::Converted;
use super::filter::{filter_in, filter_opt};
use super::index::schema_in;
use super::limits::{self, at_most};
use super::value::{id_in, ids_in, path_in, paths_in, payload_in};
use super::vector::{vectors_bytes, vectors_in};
use crate::server::error::Fault;

/// Either ids or a filter, as a request names its points.
enum Points {
    Ids(Vec<PointId>),
    Filter(Filter),
}

impl Points {
    fn split(self) -> (Option<Vec<PointId>>, Option<Filter>) {
        match self {
            Self::Ids(ids) => (Some(ids), None),
            Self::Filter(filter) => (None, Some(filter)),
        }
    }
}

fn points_in(selector: Option<proto::PointsSelector>) -> Converted<Points> {
    match selector.and_then(|selector| selector.points_selector_one_of) {
        Some(PointsSelectorOneOf::Points(list)) => ids_in(list.ids).map(Points::Ids),
        Some(PointsSelectorOneOf::Filter(filter)) => filter_in(filter).map(Points::Filter),
        None => Err(Fault::bad("points_selector is expected")),
    }
}

pub(crate) fn upsert(
    points: Vec<proto::PointStruct>,
    update_filter: Option<proto::Filter>,
    update_mode: Option<i32>,
) -> Converted<UpdateOperation> {
    at_most("points", points.len(), limits::POINTS)?;
    let points = points.into_iter().map(point_in).collect::<Converted<Vec<_>>>()?;
    let points_op = PointInsertOperations::PointsList(points);
    let mode = match update_mode.and_then(|mode| proto::UpdateMode::try_from(mode).ok()) {
        Some(proto::UpdateMode::InsertOnly) => Some(UpdateMode::InsertOnly),
        Some(proto::UpdateMode::UpdateOnly) => Some(UpdateMode::UpdateOnly),
        Some(proto::UpdateMode::Upsert) | None => None,
    };
    let filter = filter_opt(update_filter)?;
    Ok(UpdateOperation::PointOperation(if mode.is_none() && filter.is_none() {
        PointOperations::UpsertPoints(points_op)
    } else {
        let condition = filter.unwrap_or_default();
        PointOperations::UpsertPointsConditional(ConditionalInsertOperation { points_op, condition, update_mode: mode })
    }))
}

fn point_in(point: proto::PointStruct) -> Converted<PointStructPersisted> {
    Ok(PointStructPersisted {
        id: id_in(point.id)?,
        vector: vectors_in(point.vectors)?,
        payload: if point.payload.is_empty() { None } else { Some(payload_in(point.payload)?) },
    })
}

pub(crate) fn delete(selector: Option<proto::PointsSelector>) -> Converted<UpdateOperation> {
    Ok(UpdateOperation::PointOperation(match points_in(selector)? {
        Points::Ids(ids) => PointOperations::DeletePoints { ids },
        Points::Filter(filter) => PointOperations::DeletePointsByFilter(filter),
    }))
}

pub(crate) fn set_payload(
    payload: HashMap<String, proto::Value>,
    selector: Option<proto::PointsSelector>,
    key: Option<String>,
) -> Converted<UpdateOperation> {
    let key = key.map(|key| path_in(&key)).transpose()?;
    let (points, filter) = points_in(selector)?.split();
    let set = SetPayloadOp { payload: payload_in(payload)?, points, filter, key };
    Ok(UpdateOperation::PayloadOperation(PayloadOps::SetPayload(set)))
}

pub(crate) fn overwrite_payload(
    payload: HashMap<String, proto::Value>,
    selector: Option<proto::PointsSelector>,
) -> Converted<UpdateOperation> {
    let (points, filter) = points_in(selector)?.split();
    let set = SetPayloadOp { payload: payload_in(payload)?, points, filter, key: None };
    Ok(UpdateOperation::PayloadOperation(PayloadOps::OverwritePayload(set)))
}

pub(crate) fn delete_payload(keys: &[String], selector: Option<proto::PointsSelector>) -> Converted<UpdateOperation> {
    let (points, filter) = points_in(selector)?.split();
    let delete = DeletePayloadOp { keys: paths_in(keys)?, points, filter };
    Ok(UpdateOperation::PayloadOperation(PayloadOps::DeletePayload(delete)))
}

pub(crate) fn clear_payload(selector: Option<proto::PointsSelector>) -> Converted<UpdateOperation> {
    Ok(UpdateOperation::PayloadOperation(match points_in(selector)? {
        Points::Ids(points) => PayloadOps::ClearPayload { points },
        Points::Filter(filter) => PayloadOps::ClearPayloadByFilter(filter),
    }))
}

pub(crate) fn update_vectors(
    points: Vec<proto::PointVectors>,
    update_filter: Option<proto::Filter>,
) -> Converted<UpdateOperation> {
    at_most("points", points.len(), limits::POINTS)?;
    let points = points
        .into_iter()
        .map(|point| Ok(PointVectorsPersisted { id: id_in(point.id)?, vector: vectors_in(point.vectors)? }));
    let update =
        UpdateVectorsOp { points: points.collect::<Converted<_>>()?, update_filter: filter_opt(update_filter)? };
    Ok(UpdateOperation::VectorOperation(VectorOperations::UpdateVectors(update)))
}

pub(crate) fn delete_vectors(
    selector: Option<proto::PointsSelector>,
    vectors: Option<proto::VectorsSelector>,
) -> Converted<UpdateOperation> {
    let names = vectors.ok_or_else(|| Fault::bad("vectors is expected"))?.names;
    Ok(UpdateOperation::VectorOperation(match points_in(selector)? {
        Points::Ids(ids) => VectorOperations::DeleteVectors(PointIdsList::from(ids), names),
        Points::Filter(filter) => VectorOperations::DeleteVectorsByFilter(filter, names),
    }))
}

pub(crate) fn create_index(request: proto::CreateFieldIndexCollection) -> Converted<UpdateOperation> {
    let index = CreateIndex {
        field_name: path_in(&request.field_name)?,
        field_schema: Some(schema_in(request.field_type, request.field_index_params)?),
    };
    Ok(UpdateOperation::FieldIndexOperation(FieldIndexOperations::CreateIndex(index)))
}

pub(crate) fn delete_index(field: &str) -> Converted<UpdateOperation> {
    Ok(UpdateOperation::FieldIndexOperation(FieldIndexOperations::DeleteIndex(path_in(field)?)))
}

/// One member of a batch.
pub(crate) fn batched(operation: proto::PointsUpdateOperation) -> Converted<UpdateOperation> {
    match operation.operation.ok_or_else(|| Fault::bad("Operation is missing"))? {
        Operation::Upsert(list) => upsert(list.points, list.update_filter, list.update_mode),
        Operation::DeletePoints(points) => delete(points.points),
        #[expect(deprecated, reason = "old clients still send it")]
        Operation::DeleteDeprecated(points) => delete(Some(points)),
        Operation::SetPayload(set) => set_payload(set.payload, set.points_selector, set.key),
        Operation::OverwritePayload(set) => overwrite_payload(set.payload, set.points_selector),
        Operation::DeletePayload(keys) => delete_payload(&keys.keys, keys.points_selector),
        Operation::ClearPayload(points) => clear_payload(points.points),
        #[expect(deprecated, reason = "old clients still send it")]
        Operation::ClearPayloadDeprecated(points) => clear_payload(Some(points)),
        Operation::UpdateVectors(update) => update_vectors(update.points, update.update_filter),
        Operation::DeleteVectors(vectors) => delete_vectors(vectors.points_selector, vectors.vectors),
    }
}

/// About how many bytes an operation adds to the disk: its values once in the log and once in the shard.
pub(crate) fn bytes(operation: &UpdateOperation) -> u64 {
    let bytes = match operation {
        UpdateOperation::PointOperation(PointOperations::UpsertPoints(points)) => points_bytes(points),
        UpdateOperation::PointOperation(PointOperations::UpsertPointsConditional(conditional)) => {
            points_bytes(&conditional.points_op)
        }
        UpdateOperation::VectorOperation(VectorOperations::UpdateVectors(update)) => {
            update.points.iter().map(|point| vectors_bytes(&point.vector)).sum()
        }
        UpdateOperation::PayloadOperation(PayloadOps::SetPayload(set) | PayloadOps::OverwritePayload(set)) => {
            let points = set.points.as_ref().map_or(1, Vec::len);
            payload_bytes(&set.payload).saturating_mul(points)
        }
        _ => 0,
    };
    (bytes as u64).saturating_mul(2)
}

fn points_bytes(points: &PointInsertOperations) -> usize {
    match points {
        PointInsertOperations::PointsList(points) => points
            .iter()
            .map(|point| 64 + vectors_bytes(&point.vector) + point.payload.as_ref().map_or(0, payload_bytes))
            .sum(),
        PointInsertOperations::PointsBatch(_) => 0,
    }
}

fn payload_bytes(payload: &Payload) -> usize {
    payload.0.iter().map(|(key, value)| key.len() + json_bytes(value)).sum()
}

fn json_bytes(value: &Value) -> usize {
    8 + match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(json_bytes).sum(),
        Value::Object(fields) => fields.iter().map(|(key, value)| key.len() + json_bytes(value)).sum(),
    }
}
