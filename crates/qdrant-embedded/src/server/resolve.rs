//! Conditions of an operation, decided before it is applied: what is left names its points.
//!
//! The journal holds operations in this form, because a condition could be decided otherwise when it is read again: on
//! files that hold a part of what came later. Without conditions, operations that are applied once more in their order
//! leave every point as it was.

use std::collections::HashSet;

use qdrant_edge::{
    Condition, ConditionalInsertOperation, EdgeShard, Filter, HasIdCondition, OperationError, PayloadOps, PointId,
    PointIdsList, PointInsertOperations, PointOperations, ScrollRequest, UpdateMode, UpdateOperation, UpdateVectorsOp,
    VectorOperations, WithPayloadInterface, WithVector,
};

/// Points read at once.
const PAGE: usize = 10_000;

/// `operation` without its condition; `None` when no point is left that it would change.
///
/// # Errors
/// Those of the engine for the filter.
pub(super) fn resolve(
    shard: &EdgeShard,
    operation: UpdateOperation,
) -> Result<Option<UpdateOperation>, OperationError> {
    Ok(match operation {
        UpdateOperation::PointOperation(operation) => points(shard, operation)?.map(UpdateOperation::PointOperation),
        UpdateOperation::PayloadOperation(operation) => {
            payload(shard, operation)?.map(UpdateOperation::PayloadOperation)
        }
        UpdateOperation::VectorOperation(operation) => vectors(shard, operation)?.map(UpdateOperation::VectorOperation),
        other => Some(other),
    })
}

fn points(shard: &EdgeShard, operation: PointOperations) -> Result<Option<PointOperations>, OperationError> {
    Ok(match operation {
        PointOperations::UpsertPointsConditional(upsert) => {
            let ConditionalInsertOperation { mut points_op, condition, update_mode } = upsert;
            let ids = ids_of(&points_op);
            let existing = existing(shard, &ids)?;
            let matching = match update_mode {
                Some(UpdateMode::InsertOnly) => HashSet::new(),
                _ => among(shard, &existing, condition)?,
            };
            let only_existing = update_mode == Some(UpdateMode::UpdateOnly);
            points_op.retain_point_ids(|id| matching.contains(id) || !(only_existing || existing.contains(id)));
            (!ids_of(&points_op).is_empty()).then_some(PointOperations::UpsertPoints(points_op))
        }
        PointOperations::DeletePointsByFilter(filter) => {
            some(matching(shard, &filter)?).map(|ids| PointOperations::DeletePoints { ids })
        }
        other => Some(other),
    })
}

fn payload(shard: &EdgeShard, operation: PayloadOps) -> Result<Option<PayloadOps>, OperationError> {
    // Ids win over a filter, as in the engine.
    let chosen = |points: &mut Option<Vec<PointId>>, filter: &mut Option<Filter>| {
        if points.is_none()
            && let Some(filter) = filter
        {
            *points = Some(matching(shard, filter)?);
        }
        *filter = None;
        Ok::<_, OperationError>(points.as_ref().is_none_or(|points| !points.is_empty()))
    };
    Ok(match operation {
        PayloadOps::SetPayload(mut set) => {
            chosen(&mut set.points, &mut set.filter)?.then_some(PayloadOps::SetPayload(set))
        }
        PayloadOps::OverwritePayload(mut set) => {
            chosen(&mut set.points, &mut set.filter)?.then_some(PayloadOps::OverwritePayload(set))
        }
        PayloadOps::DeletePayload(mut delete) => {
            chosen(&mut delete.points, &mut delete.filter)?.then_some(PayloadOps::DeletePayload(delete))
        }
        PayloadOps::ClearPayloadByFilter(filter) => {
            some(matching(shard, &filter)?).map(|points| PayloadOps::ClearPayload { points })
        }
        other @ PayloadOps::ClearPayload { .. } => Some(other),
    })
}

fn vectors(shard: &EdgeShard, operation: VectorOperations) -> Result<Option<VectorOperations>, OperationError> {
    Ok(match operation {
        VectorOperations::UpdateVectors(UpdateVectorsOp { mut points, update_filter: Some(filter) }) => {
            let ids: Vec<PointId> = points.iter().map(|point| point.id).collect();
            let existing = existing(shard, &ids)?;
            let matching = among(shard, &existing, filter)?;
            points.retain(|point| matching.contains(&point.id) || !existing.contains(&point.id));
            some(points).map(|points| VectorOperations::UpdateVectors(UpdateVectorsOp { points, update_filter: None }))
        }
        VectorOperations::DeleteVectorsByFilter(filter, names) => {
            some(matching(shard, &filter)?).map(|ids| VectorOperations::DeleteVectors(PointIdsList::from(ids), names))
        }
        other => Some(other),
    })
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn ids_of(points: &PointInsertOperations) -> Vec<PointId> {
    match points {
        PointInsertOperations::PointsList(points) => points.iter().map(|point| point.id).collect(),
        PointInsertOperations::PointsBatch(batch) => batch.ids.clone(),
    }
}

fn existing(shard: &EdgeShard, ids: &[PointId]) -> Result<HashSet<PointId>, OperationError> {
    let found = shard.retrieve(ids, Some(WithPayloadInterface::Bool(false)), Some(WithVector::Bool(false)))?;
    Ok(found.into_iter().map(|record| record.id).collect())
}

/// Those of `ids` that `filter` lets through.
fn among(shard: &EdgeShard, ids: &HashSet<PointId>, filter: Filter) -> Result<HashSet<PointId>, OperationError> {
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let of_these = Condition::HasId(ids.iter().copied().collect::<HasIdCondition>());
    let filter = Filter { must: Some(vec![of_these, Condition::Filter(filter)]), ..Filter::default() };
    Ok(matching(shard, &filter)?.into_iter().collect())
}

/// Ids of all points that `filter` lets through.
fn matching(shard: &EdgeShard, filter: &Filter) -> Result<Vec<PointId>, OperationError> {
    let mut ids = Vec::new();
    let mut offset = None;
    loop {
        let request = ScrollRequest {
            offset,
            limit: Some(PAGE),
            filter: Some(filter.clone()),
            with_payload: Some(WithPayloadInterface::Bool(false)),
            with_vector: WithVector::Bool(false),
            order_by: None,
        };
        let (records, next) = shard.scroll(request)?;
        ids.extend(records.into_iter().map(|record| record.id));
        if next.is_none() {
            return Ok(ids);
        }
        offset = next;
    }
}
