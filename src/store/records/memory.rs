//! Finished tasks, found again by likeness: by their words (BM25, computed here, so that no model is needed), and by
//! their meaning when there are embeddings.

use qdrant_client::Payload;
use qdrant_client::qdrant::{
    Condition, Filter, Fusion, NamedVectors, PointStruct, PrefetchQueryBuilder, Query, QueryPoints, QueryPointsBuilder,
    ScoredPoint, UpdateMode, Vector,
};
use serde_json::json;

use crate::domain::memory::{Memory, RecalledMemory};
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::{document, object};
use crate::store::qdrant::values::to_payload;
use crate::store::qdrant::vectors::{Dense, SPARSE};
use crate::store::{Store, StoreError};

/// Who may recall a memory: its user, or [`EVERYBODY`].
const VISIBLE_TO: &str = "visible_to";
/// Stands for no user; users are stored behind a prefix, so that none can be called so.
const EVERYBODY: &str = "everybody";
/// Most text that is turned into words, in characters; more only blurs it.
const MAX_TEXT_CHARS: usize = 20_000;
/// Candidates of each kind of likeness for each memory asked for.
const CANDIDATES: u64 = 4;

impl Store {
    /// Remembers a finished task, replacing what was remembered of it; `embedding` only when the store was connected
    /// with a vector size. Durable on return.
    ///
    /// # Errors
    /// A failure of the store, or [`StoreError::Refused`] for an embedding of another size.
    pub async fn remember(&self, memory: &Memory, embedding: Option<Vec<f32>>) -> Result<(), StoreError> {
        let mut payload = object("remember", memory)?;
        payload.insert(VISIBLE_TO.to_owned(), json!(visible_to(memory.user.as_deref())));
        let mut vectors = NamedVectors::default();
        if let Some(words) = self.local.words.document(&text_of(memory)) {
            vectors = vectors.add_vector(SPARSE, words);
        }
        if let Some((dense, embedding)) = self.fitting("remember", embedding)? {
            vectors = vectors.add_vector(dense.name.as_str(), Vector::new_dense(embedding));
        }
        let point = PointStruct::new(memory.id, vectors, Payload::from(to_payload(payload)));
        self.inner.upsert("remember", Collection::Memory, vec![point], UpdateMode::Upsert).await
    }

    /// Memories alike `text` (BM25, fused with `embedding` when given), of this user or of none, best first.
    ///
    /// # Errors
    /// A failure of the store, or [`StoreError::Refused`] for an embedding of another size.
    pub async fn recall(
        &self,
        text: &str,
        embedding: Option<Vec<f32>>,
        user: Option<&str>,
        limit: u32,
    ) -> Result<Vec<RecalledMemory>, StoreError> {
        let words = self.local.words.query(&cut(text));
        let meaning = self.fitting("recall", embedding)?.map(|(dense, embedding)| (dense.name.as_str(), embedding));
        let filter = Filter::must([Condition::matches(VISIBLE_TO, readers(user))]);
        let request = QueryPointsBuilder::new(self.inner.name(Collection::Memory))
            .filter(filter.clone())
            .limit(u64::from(limit))
            .with_payload(true);
        let request: QueryPoints = match (words, meaning) {
            (None, None) => return Ok(Vec::new()),
            (Some(words), None) => request.query(Query::new_nearest(words)).using(SPARSE).build(),
            (None, Some((name, embedding))) => request.query(Query::new_nearest(embedding)).using(name).build(),
            (Some(words), Some((name, embedding))) => {
                let candidates = u64::from(limit) * CANDIDATES;
                let prefetch = |query: Query, using: &str| {
                    PrefetchQueryBuilder::default()
                        .query(query)
                        .using(using)
                        .filter(filter.clone())
                        .limit(candidates)
                        .build()
                };
                let prefetches =
                    vec![prefetch(Query::new_nearest(words), SPARSE), prefetch(Query::new_nearest(embedding), name)];
                request.prefetch(prefetches).query(Query::new_fusion(Fusion::Rrf)).build()
            }
        };
        let found = self.inner.query("recall", request).await?;
        Ok(found.into_iter().filter_map(recalled).collect())
    }

    /// The embedding with its place, if the store keeps any.
    fn fitting(
        &self,
        operation: &'static str,
        embedding: Option<Vec<f32>>,
    ) -> Result<Option<(&Dense, Vec<f32>)>, StoreError> {
        let (Some(dense), Some(embedding)) = (&self.local.dense, embedding) else { return Ok(None) };
        if embedding.len() as u64 != dense.size {
            let reason = format!("the embedding has {} numbers, memories hold {}", embedding.len(), dense.size);
            return Err(StoreError::Refused { operation, reason });
        }
        Ok(Some((dense, embedding)))
    }
}

fn recalled(point: ScoredPoint) -> Option<RecalledMemory> {
    match document(Collection::Memory, point.id.as_ref(), point.payload) {
        Ok(memory) => Some(RecalledMemory { memory, score: point.score }),
        Err(error) => {
            tracing::warn!(%error, "left out of a recall");
            None
        }
    }
}

fn text_of(memory: &Memory) -> String {
    cut(&format!("{}\n{}\n{}", memory.goal, memory.summary, memory.outline))
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT_CHARS).collect()
}

fn visible_to(user: Option<&str>) -> String {
    user.map_or_else(|| EVERYBODY.to_owned(), |user| format!("user:{user}"))
}

/// Whose memories `user` may recall.
fn readers(user: Option<&str>) -> Vec<String> {
    let mut readers = vec![EVERYBODY.to_owned()];
    readers.extend(user.map(|user| visible_to(Some(user))));
    readers
}
