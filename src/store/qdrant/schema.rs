//! Creates the collections with their payload indexes and vectors, and checks the version of their schema.

use std::collections::HashMap;

use futures_util::future::try_join_all;
use qdrant_client::qdrant::payload_index_params::IndexParams;
use qdrant_client::qdrant::vectors_config::Config;
use qdrant_client::qdrant::{
    BoolIndexParamsBuilder, CollectionInfo, CreateCollectionBuilder, CreateFieldIndexCollectionBuilder,
    CreateVectorNameRequestBuilder, DenseVectorCreationConfigBuilder, Distance, FieldType, IntegerIndexParamsBuilder,
    KeywordIndexParamsBuilder, Modifier, SparseVectorConfig, SparseVectorParamsBuilder, UpdateCollectionBuilder,
    Value as QdrantValue, VectorParamsBuilder, VectorParamsMap,
};
use serde_json::json;

use super::agreement::{FIRST_LOOK, LONGEST_LOOK, Seen, TRIES};
use super::collections::{Collection, Index};
use super::requests::{Inner, strong};
use super::vectors::{Dense, SPARSE};
use crate::store::StoreError;

/// Version of the stored data that this program writes.
pub(super) const SCHEMA: i64 = 1;
/// Key of the version in a collection's metadata.
const SCHEMA_KEY: &str = "qron_schema";

impl Inner {
    /// Creates what is missing of every collection and checks the rest. Gives back whether memories have vectors
    /// for the embeddings that `dense` describes.
    pub(super) async fn prepare(&self, dense: Option<&Dense>) -> Result<bool, StoreError> {
        let listed = self.call("list_collections", self.client.list_collections()).await?;
        let existing: Vec<String> = listed.collections.into_iter().map(|collection| collection.name).collect();
        let prepared = Collection::ALL.into_iter().map(|collection| {
            let exists = existing.contains(&self.name(collection));
            self.prepare_one(collection, exists, dense)
        });
        let ready = try_join_all(prepared).await?;
        Ok(Collection::ALL.into_iter().zip(ready).any(|(collection, dense)| collection == Collection::Memory && dense))
    }

    async fn prepare_one(
        &self,
        collection: Collection,
        exists: bool,
        dense: Option<&Dense>,
    ) -> Result<bool, StoreError> {
        if !exists {
            self.ensure_created(collection, dense).await?;
        }
        let info = self.until_there(collection).await?;
        self.check_schema(collection, &info).await?;
        self.ensure_indexes(collection, &info).await?;
        match dense {
            Some(dense) if collection == Collection::Memory => self.ensure_dense(&info, dense).await,
            _ => Ok(false),
        }
    }

    /// Creates `collection`, unless another replica that starts now was first: what counts is that it is there.
    async fn ensure_created(&self, collection: Collection, dense: Option<&Dense>) -> Result<(), StoreError> {
        let mut pause = FIRST_LOOK;
        for tries in 1.. {
            let Err(error) = self.create(collection, dense).await else { break };
            // The node that refuses may not show yet what another one has created.
            if error.says_exists() || self.info(collection).await.is_ok() {
                break;
            }
            if !error.is_transient() || tries == TRIES {
                return Err(error);
            }
            tracing::debug!(%error, collection = self.name(collection), "not created; trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_LOOK);
        }
        Ok(())
    }

    /// Creates the indexes that `info` lacks, and waits until all can be seen.
    async fn ensure_indexes(&self, collection: Collection, info: &CollectionInfo) -> Result<(), StoreError> {
        let missing = |info: &CollectionInfo| {
            let indexes = collection.indexes().iter();
            indexes.filter(|(field, _)| !info.payload_schema.contains_key(*field)).collect::<Vec<_>>()
        };
        for (field, index) in missing(info) {
            let mut pause = FIRST_LOOK;
            let mut tries = 0;
            // While the shard of a new collection comes up on another node, it takes no index.
            while let Err(error) = self.create_index(collection, field, *index).await {
                tries += 1;
                if error.says_exists() {
                    break;
                }
                if !error.may_settle() || tries == TRIES {
                    return Err(error);
                }
                tracing::debug!(%error, field, "index not created; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_LOOK);
            }
        }
        let seen = |info: &CollectionInfo| match missing(info).as_slice() {
            [] => Seen::Yes(()),
            [(field, _), ..] => Seen::NotYet(format!("it does not show the index of {field}")),
        };
        self.until_seen(collection, seen).await
    }

    pub(super) async fn info(&self, collection: Collection) -> Result<CollectionInfo, StoreError> {
        let answer = self.call("collection_info", self.client.collection_info(self.name(collection))).await?;
        answer.result.ok_or_else(|| StoreError::Refused {
            operation: "collection_info",
            reason: format!("no information about {}", self.name(collection)),
        })
    }

    async fn create(&self, collection: Collection, dense: Option<&Dense>) -> Result<(), StoreError> {
        let metadata: HashMap<String, serde_json::Value> = HashMap::from([(SCHEMA_KEY.to_owned(), json!(SCHEMA))]);
        let mut request = CreateCollectionBuilder::new(self.name(collection))
            // One shard keeps a claim of many tasks atomic.
            .shard_number(1)
            .replication_factor(self.copies)
            .write_consistency_factor(self.copies / 2 + 1)
            .metadata(metadata);
        if collection == Collection::Memory {
            let sparse = SparseVectorParamsBuilder::default().modifier(Modifier::Idf).build();
            request =
                request.sparse_vectors_config(SparseVectorConfig { map: HashMap::from([(SPARSE.to_owned(), sparse)]) });
            if let Some(dense) = dense {
                let params = VectorParamsBuilder::new(dense.size, Distance::Cosine).build();
                let map = HashMap::from([(dense.name.clone(), params)]);
                request = request.vectors_config(Config::ParamsMap(VectorParamsMap { map }));
            }
        }
        self.call("create_collection", self.client.create_collection(request)).await?;
        Ok(())
    }

    async fn check_schema(&self, collection: Collection, info: &CollectionInfo) -> Result<(), StoreError> {
        match schema_of(info) {
            Some(version) if version > SCHEMA => Err(StoreError::Incompatible(format!(
                "collection {} has schema version {version}, this program knows {SCHEMA}: use a newer qron",
                self.name(collection)
            ))),
            Some(_) => Ok(()),
            // Somebody made the collection before us, for vectors of their own.
            None => {
                let metadata: HashMap<String, serde_json::Value> =
                    HashMap::from([(SCHEMA_KEY.to_owned(), json!(SCHEMA))]);
                let request = UpdateCollectionBuilder::new(self.name(collection)).metadata(metadata);
                self.call("update_collection", self.client.update_collection(request)).await?;
                let seen = |info: &CollectionInfo| match schema_of(info) {
                    Some(_) => Seen::Yes(()),
                    None => Seen::NotYet("it does not show the version of its schema".to_owned()),
                };
                self.until_seen(collection, seen).await
            }
        }
    }

    async fn create_index(&self, collection: Collection, field: &str, index: Index) -> Result<(), StoreError> {
        let (kind, params): (FieldType, IndexParams) = match index {
            Index::Word => (FieldType::Keyword, KeywordIndexParamsBuilder::default().build().into()),
            Index::Flag => (FieldType::Bool, BoolIndexParamsBuilder::default().build().into()),
            Index::Order => (FieldType::Integer, IntegerIndexParamsBuilder::new(false, true).build().into()),
        };
        let request = CreateFieldIndexCollectionBuilder::new(self.name(collection), field, kind)
            .field_index_params(params)
            .wait(true)
            .ordering(strong());
        self.call("create_index", self.client.create_field_index(request)).await?;
        Ok(())
    }

    /// Memories made before embeddings were configured, or with another model, get a vector beside the old ones.
    async fn ensure_dense(&self, info: &CollectionInfo, dense: &Dense) -> Result<bool, StoreError> {
        if has_vector(info, &dense.name) {
            return Ok(true);
        }
        let config = DenseVectorCreationConfigBuilder::new(dense.size, Distance::Cosine).build();
        let request = CreateVectorNameRequestBuilder::new(self.name(Collection::Memory), dense.name.as_str(), config)
            .wait(true)
            .ordering(strong());
        match self.call("create_vector", self.client.create_vector_name(request)).await {
            Ok(_) => Ok(true),
            Err(error) if error.says_exists() => {
                let seen = |info: &CollectionInfo| {
                    if has_vector(info, &dense.name) {
                        return Seen::Yes(true);
                    }
                    Seen::NotYet(format!("it does not show the vector {}", dense.name))
                };
                self.until_seen(Collection::Memory, seen).await
            }
            Err(error) if error.is_transient() => Err(error),
            Err(error) => {
                tracing::warn!(%error, size = dense.size, "the collection of memories has no vectors for embeddings, so recalls compare words alone");
                Ok(false)
            }
        }
    }
}

/// The version of the schema that a collection says it has.
pub(super) fn schema_of(info: &CollectionInfo) -> Option<i64> {
    info.config.as_ref()?.metadata.get(SCHEMA_KEY).and_then(QdrantValue::as_integer)
}

pub(super) fn has_vector(info: &CollectionInfo, name: &str) -> bool {
    let params = info.config.as_ref().and_then(|config| config.params.as_ref());
    match params.and_then(|params| params.vectors_config.as_ref()).and_then(|vectors| vectors.config.as_ref()) {
        Some(Config::ParamsMap(vectors)) => vectors.map.contains_key(name),
        _ => false,
    }
}

pub(super) fn has_sparse(info: &CollectionInfo, name: &str) -> bool {
    let params = info.config.as_ref().and_then(|config| config.params.as_ref());
    let sparse = params.and_then(|params| params.sparse_vectors_config.as_ref());
    sparse.is_some_and(|vectors| vectors.map.contains_key(name))
}
