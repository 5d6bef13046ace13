//! The collections service.

use std::sync::Arc;

use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::collections_server::Collections;
use tokio::time::Instant;
use tonic::Request;

use super::{Reply, reply, unsupported};
use crate::server::convert::collection::{config_in, info_out_of};
use crate::server::convert::value::object_in;
use crate::server::error::Fault;
use crate::server::registry::Registry;

/// Creating, describing and removing collections.
pub(crate) struct CollectionsService {
    registry: Arc<Registry>,
}

impl CollectionsService {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }

    async fn info(&self, name: &str) -> Result<proto::CollectionInfo, Fault> {
        let collection = self.registry.get(name)?;
        let info = collection.read(|shard| Ok(shard.info())).await?;
        Ok(info_out_of(collection.config(), collection.metadata(), info))
    }

    async fn change(&self, request: proto::UpdateCollection) -> Result<(), Fault> {
        let collection = self.registry.get(&request.collection_name)?;
        let patch = object_in(request.metadata)?;
        if patch.is_empty() {
            return Ok(());
        }
        let done = tokio::task::spawn_blocking(move || collection.update_metadata(patch)).await;
        done.unwrap_or_else(|error| Err(Fault::Internal(format!("the update was cut off: {error}"))))
    }
}

fn done(result: bool, started: Instant) -> proto::CollectionOperationResponse {
    proto::CollectionOperationResponse { result, time: started.elapsed().as_secs_f64() }
}

#[tonic::async_trait]
impl Collections for CollectionsService {
    async fn get(&self, request: Request<proto::GetCollectionInfoRequest>) -> Reply<proto::GetCollectionInfoResponse> {
        let started = Instant::now();
        let info = self.info(&request.get_ref().collection_name).await;
        reply(
            info.map(|info| proto::GetCollectionInfoResponse {
                result: Some(info),
                time: started.elapsed().as_secs_f64(),
            }),
        )
    }

    async fn list(&self, _: Request<proto::ListCollectionsRequest>) -> Reply<proto::ListCollectionsResponse> {
        let started = Instant::now();
        let names = self.registry.names().into_iter();
        reply(Ok(proto::ListCollectionsResponse {
            collections: names.map(|name| proto::CollectionDescription { name }).collect(),
            time: started.elapsed().as_secs_f64(),
        }))
    }

    async fn create(&self, request: Request<proto::CreateCollection>) -> Reply<proto::CollectionOperationResponse> {
        let started = Instant::now();
        let request = request.into_inner();
        let name = request.collection_name.clone();
        let (config, metadata) = config_in(request)?;
        reply(self.registry.create(&name, config, metadata).await.map(|()| done(true, started)))
    }

    async fn update(&self, request: Request<proto::UpdateCollection>) -> Reply<proto::CollectionOperationResponse> {
        let started = Instant::now();
        reply(self.change(request.into_inner()).await.map(|()| done(true, started)))
    }

    async fn delete(&self, request: Request<proto::DeleteCollection>) -> Reply<proto::CollectionOperationResponse> {
        let started = Instant::now();
        let deleted = self.registry.delete(&request.get_ref().collection_name).await;
        reply(deleted.map(|existed| done(existed, started)))
    }

    async fn collection_exists(
        &self,
        request: Request<proto::CollectionExistsRequest>,
    ) -> Reply<proto::CollectionExistsResponse> {
        let started = Instant::now();
        let exists = self.registry.exists(&request.get_ref().collection_name);
        reply(Ok(proto::CollectionExistsResponse {
            result: Some(proto::CollectionExists { exists }),
            time: started.elapsed().as_secs_f64(),
        }))
    }

    async fn list_aliases(&self, _: Request<proto::ListAliasesRequest>) -> Reply<proto::ListAliasesResponse> {
        reply(Ok(proto::ListAliasesResponse::default()))
    }

    async fn list_collection_aliases(
        &self,
        _: Request<proto::ListCollectionAliasesRequest>,
    ) -> Reply<proto::ListAliasesResponse> {
        reply(Ok(proto::ListAliasesResponse::default()))
    }

    async fn update_aliases(&self, _: Request<proto::ChangeAliases>) -> Reply<proto::CollectionOperationResponse> {
        unsupported("Collections/UpdateAliases")
    }

    async fn collection_cluster_info(
        &self,
        _: Request<proto::CollectionClusterInfoRequest>,
    ) -> Reply<proto::CollectionClusterInfoResponse> {
        unsupported("Collections/CollectionClusterInfo")
    }

    async fn update_collection_cluster_setup(
        &self,
        _: Request<proto::UpdateCollectionClusterSetupRequest>,
    ) -> Reply<proto::UpdateCollectionClusterSetupResponse> {
        unsupported("Collections/UpdateCollectionClusterSetup")
    }

    async fn create_shard_key(&self, _: Request<proto::CreateShardKeyRequest>) -> Reply<proto::CreateShardKeyResponse> {
        unsupported("Collections/CreateShardKey")
    }

    async fn delete_shard_key(&self, _: Request<proto::DeleteShardKeyRequest>) -> Reply<proto::DeleteShardKeyResponse> {
        unsupported("Collections/DeleteShardKey")
    }

    async fn list_shard_keys(&self, _: Request<proto::ListShardKeysRequest>) -> Reply<proto::ListShardKeysResponse> {
        unsupported("Collections/ListShardKeys")
    }
}
