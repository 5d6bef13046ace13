//! The points service: hands each method to writes, reads or queries.

use std::sync::Arc;

use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::points_server::Points;
use tonic::Request;

use super::{Reply, query, read, reply, unsupported, write};
use crate::server::convert::change;
use crate::server::registry::Registry;

/// Everything about points.
pub(crate) struct PointsService {
    registry: Arc<Registry>,
}

impl PointsService {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

#[tonic::async_trait]
impl Points for PointsService {
    async fn upsert(&self, request: Request<proto::UpsertPoints>) -> Reply<proto::PointsOperationResponse> {
        let request = request.into_inner();
        let operation = change::upsert(request.points, request.update_filter, request.update_mode);
        reply(write::write(&self.registry, &request.collection_name, operation, request.wait).await)
    }

    async fn delete(&self, request: Request<proto::DeletePoints>) -> Reply<proto::PointsOperationResponse> {
        let request = request.into_inner();
        let operation = change::delete(request.points);
        reply(write::write(&self.registry, &request.collection_name, operation, request.wait).await)
    }

    async fn update_vectors(
        &self,
        request: Request<proto::UpdatePointVectors>,
    ) -> Reply<proto::PointsOperationResponse> {
        let request = request.into_inner();
        let operation = change::update_vectors(request.points, request.update_filter);
        reply(write::write(&self.registry, &request.collection_name, operation, request.wait).await)
    }

    async fn delete_vectors(
        &self,
        request: Request<proto::DeletePointVectors>,
    ) -> Reply<proto::PointsOperationResponse> {
        let request = request.into_inner();
        let operation = change::delete_vectors(request.points_selector, request.vectors);
        reply(write::write(&self.registry, &request.collection_name, operation, request.wait).await)
    }

    async fn set_payload(&self, request: Request<proto::SetPayloadPoints>) -> Reply<proto::PointsOperationResponse> {
        let request = request.into_inner();
        let operation = change::set_payload(request.payload, request.points_selector, request.key);
        reply(write::write(&self.registry, &request.collection_name, operation, request.wait).await)
    }

    async fn overwrite_payload(
        &self,
        request: Request<proto::SetPayloadPoints>,
    ) -> Reply<proto::PointsOperationResponse> {
        let request = request.into_inner();
        let operation = change::overwrite_payload(request.payload, request.points_selector);
        reply(write::write(&self.registry, &request.collection_name, operation, request.wait).await)
    }

    async fn delete_payload(
        &self,
        request: Request<proto::DeletePayloadPoints>,
    ) -> Reply<proto::PointsOperationResponse> {
        let request = request.into_inner();
        let operation = change::delete_payload(&request.keys, request.points_selector);
        reply(write::write(&self.registry, &request.collection_name, operation, request.wait).await)
    }

    async fn clear_payload(
        &self,
        request: Request<proto::ClearPayloadPoints>,
    ) -> Reply<proto::PointsOperationResponse> {
        let request = request.into_inner();
        let operation = change::clear_payload(request.points);
        reply(write::write(&self.registry, &request.collection_name, operation, request.wait).await)
    }

    async fn create_field_index(
        &self,
        request: Request<proto::CreateFieldIndexCollection>,
    ) -> Reply<proto::PointsOperationResponse> {
        let request = request.into_inner();
        let (name, wait) = (request.collection_name.clone(), request.wait);
        reply(write::write(&self.registry, &name, change::create_index(request), wait).await)
    }

    async fn delete_field_index(
        &self,
        request: Request<proto::DeleteFieldIndexCollection>,
    ) -> Reply<proto::PointsOperationResponse> {
        let request = request.into_inner();
        let operation = change::delete_index(&request.field_name);
        reply(write::write(&self.registry, &request.collection_name, operation, request.wait).await)
    }

    async fn update_batch(&self, request: Request<proto::UpdateBatchPoints>) -> Reply<proto::UpdateBatchResponse> {
        reply(write::batch(&self.registry, request.into_inner()).await)
    }

    async fn get(&self, request: Request<proto::GetPoints>) -> Reply<proto::GetResponse> {
        reply(read::get(&self.registry, request.into_inner()).await)
    }

    async fn scroll(&self, request: Request<proto::ScrollPoints>) -> Reply<proto::ScrollResponse> {
        reply(read::scroll(&self.registry, request.into_inner()).await)
    }

    async fn count(&self, request: Request<proto::CountPoints>) -> Reply<proto::CountResponse> {
        reply(read::count(&self.registry, request.into_inner()).await)
    }

    async fn facet(&self, request: Request<proto::FacetCounts>) -> Reply<proto::FacetResponse> {
        reply(read::facet(&self.registry, request.into_inner()).await)
    }

    async fn query(&self, request: Request<proto::QueryPoints>) -> Reply<proto::QueryResponse> {
        reply(query::query(&self.registry, request.into_inner()).await)
    }

    async fn query_batch(&self, request: Request<proto::QueryBatchPoints>) -> Reply<proto::QueryBatchResponse> {
        reply(query::batch(&self.registry, request.into_inner()).await)
    }

    async fn search(&self, request: Request<proto::SearchPoints>) -> Reply<proto::SearchResponse> {
        reply(query::search(&self.registry, request.into_inner()).await)
    }

    async fn search_batch(&self, request: Request<proto::SearchBatchPoints>) -> Reply<proto::SearchBatchResponse> {
        reply(query::search_batch(&self.registry, request.into_inner()).await)
    }

    async fn create_vector_name(
        &self,
        _: Request<proto::CreateVectorNameRequest>,
    ) -> Reply<proto::PointsOperationResponse> {
        unsupported("Points/CreateVectorName")
    }

    async fn delete_vector_name(
        &self,
        _: Request<proto::DeleteVectorNameRequest>,
    ) -> Reply<proto::PointsOperationResponse> {
        unsupported("Points/DeleteVectorName")
    }

    async fn search_groups(&self, _: Request<proto::SearchPointGroups>) -> Reply<proto::SearchGroupsResponse> {
        unsupported("Points/SearchGroups")
    }

    async fn recommend(&self, _: Request<proto::RecommendPoints>) -> Reply<proto::RecommendResponse> {
        unsupported("Points/Recommend")
    }

    async fn recommend_batch(&self, _: Request<proto::RecommendBatchPoints>) -> Reply<proto::RecommendBatchResponse> {
        unsupported("Points/RecommendBatch")
    }

    async fn recommend_groups(&self, _: Request<proto::RecommendPointGroups>) -> Reply<proto::RecommendGroupsResponse> {
        unsupported("Points/RecommendGroups")
    }

    async fn discover(&self, _: Request<proto::DiscoverPoints>) -> Reply<proto::DiscoverResponse> {
        unsupported("Points/Discover")
    }

    async fn discover_batch(&self, _: Request<proto::DiscoverBatchPoints>) -> Reply<proto::DiscoverBatchResponse> {
        unsupported("Points/DiscoverBatch")
    }

    async fn query_groups(&self, _: Request<proto::QueryPointGroups>) -> Reply<proto::QueryGroupsResponse> {
        unsupported("Points/QueryGroups")
    }

    async fn search_matrix_pairs(
        &self,
        _: Request<proto::SearchMatrixPoints>,
    ) -> Reply<proto::SearchMatrixPairsResponse> {
        unsupported("Points/SearchMatrixPairs")
    }

    async fn search_matrix_offsets(
        &self,
        _: Request<proto::SearchMatrixPoints>,
    ) -> Reply<proto::SearchMatrixOffsetsResponse> {
        unsupported("Points/SearchMatrixOffsets")
    }
}
