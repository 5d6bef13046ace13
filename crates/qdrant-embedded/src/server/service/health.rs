//! The health check, by which clients learn that the server is up and which Qdrant it behaves like.

use qdrant_client::qdrant::qdrant_server::Qdrant;
use qdrant_client::qdrant::{HealthCheckReply, HealthCheckRequest};
use tonic::{Request, Response};

use super::Reply;

/// The release of Qdrant whose engine and protocol this server follows.
pub(crate) const VERSION: &str = "1.18.3";
/// Tells a person who asks that this is no full server.
pub(crate) const TITLE: &str = "qdrant - vector search engine (embedded, qdrant-edge 0.7.2)";

/// Always well: a server that is not does not answer.
pub(crate) struct HealthService;

#[tonic::async_trait]
impl Qdrant for HealthService {
    async fn health_check(&self, _request: Request<HealthCheckRequest>) -> Reply<HealthCheckReply> {
        Ok(Response::new(HealthCheckReply { title: TITLE.to_owned(), version: VERSION.to_owned(), commit: None }))
    }
}
