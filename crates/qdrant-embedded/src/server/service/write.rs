//! Writes to points: queued on their collection, answered once durable when the client waits.

use qdrant_client::qdrant as proto;
use qdrant_edge::UpdateOperation;
use tokio::time::Instant;

use crate::server::collection::Change;
use crate::server::convert::change;
use crate::server::convert::limits::{self, at_most};
use crate::server::error::Fault;
use crate::server::registry::Registry;

/// Applies one operation.
pub(crate) async fn write(
    registry: &Registry,
    collection: &str,
    operation: Result<UpdateOperation, Fault>,
    wait: Option<bool>,
) -> Result<proto::PointsOperationResponse, Fault> {
    let started = Instant::now();
    let collection = registry.get(collection)?;
    let operation = operation?;
    let change = Change { bytes: change::bytes(&operation), operations: vec![operation] };
    let wait = wait.unwrap_or_default();
    let number = collection.write(change, wait).await?;
    Ok(proto::PointsOperationResponse {
        result: Some(outcome(number, wait)),
        time: started.elapsed().as_secs_f64(),
        usage: None,
    })
}

/// Applies operations in order, made durable together; the first that fails ends the batch, and what came before stays.
pub(crate) async fn batch(
    registry: &Registry,
    request: proto::UpdateBatchPoints,
) -> Result<proto::UpdateBatchResponse, Fault> {
    let started = Instant::now();
    let collection = registry.get(&request.collection_name)?;
    if request.operations.is_empty() {
        return Err(Fault::bad("operations must not be empty"));
    }
    at_most("operations", request.operations.len(), limits::OPERATIONS)?;
    let mut operations = Vec::with_capacity(request.operations.len());
    let mut malformed = None;
    for operation in request.operations {
        match change::batched(operation) {
            Ok(operation) => operations.push(operation),
            Err(fault) => {
                malformed = Some(fault);
                break;
            }
        }
    }
    let count = operations.len();
    let wait = request.wait.unwrap_or_default();
    let bytes = operations.iter().map(change::bytes).sum();
    let number = collection.write(Change { operations, bytes }, wait).await?;
    malformed.map_or(Ok(()), Err)?;
    Ok(proto::UpdateBatchResponse {
        result: std::iter::repeat_n(outcome(number, wait), count).collect(),
        time: started.elapsed().as_secs_f64(),
        usage: None,
    })
}

fn outcome(number: u64, waited: bool) -> proto::UpdateResult {
    let status = if waited { proto::UpdateStatus::Completed } else { proto::UpdateStatus::Acknowledged };
    proto::UpdateResult { operation_id: Some(number), status: status.into() }
}
