//! Snapshots: not offered; copy the data folder of a stopped server instead.

use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::snapshots_server::Snapshots;
use tonic::Request;

use super::{Reply, unsupported};

/// Answers every method with "unimplemented".
pub(crate) struct SnapshotsService;

#[tonic::async_trait]
impl Snapshots for SnapshotsService {
    async fn create(&self, _: Request<proto::CreateSnapshotRequest>) -> Reply<proto::CreateSnapshotResponse> {
        unsupported("Snapshots/Create")
    }

    async fn list(&self, _: Request<proto::ListSnapshotsRequest>) -> Reply<proto::ListSnapshotsResponse> {
        unsupported("Snapshots/List")
    }

    async fn delete(&self, _: Request<proto::DeleteSnapshotRequest>) -> Reply<proto::DeleteSnapshotResponse> {
        unsupported("Snapshots/Delete")
    }

    async fn create_full(&self, _: Request<proto::CreateFullSnapshotRequest>) -> Reply<proto::CreateSnapshotResponse> {
        unsupported("Snapshots/CreateFull")
    }

    async fn list_full(&self, _: Request<proto::ListFullSnapshotsRequest>) -> Reply<proto::ListSnapshotsResponse> {
        unsupported("Snapshots/ListFull")
    }

    async fn delete_full(&self, _: Request<proto::DeleteFullSnapshotRequest>) -> Reply<proto::DeleteSnapshotResponse> {
        unsupported("Snapshots/DeleteFull")
    }
}
