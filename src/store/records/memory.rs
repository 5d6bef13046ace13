//! Finished tasks, found again by identity: the schedule or the form of the goal; and by likeness: by their words (BM25,
//! computed here, so that no model is needed), and by their meaning when there are embeddings.

use qdrant_client::Payload;
use qdrant_client::qdrant::{
    Condition, Direction, Filter, Fusion, NamedVectors, OrderByBuilder, PointStruct, PrefetchQueryBuilder, Query,
    QueryPoints, QueryPointsBuilder, ScoredPoint, ScrollPointsBuilder, UpdateMode, Vector,
};
use serde_json::json;

use crate::domain::memory::{Memory, RecalledMemory};
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::{document, object, readable};
use crate::store::qdrant::values::{exactly, to_payload};
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

/// What memories have in common.
#[derive(Clone, Copy, Debug)]
pub enum MemoryOf<'a> {
    /// The schedule with this id.
    Schedule(&'a str),
    /// Goals with this [`goal_hash`](crate::domain::memory::goal_hash).
    Goal(&'a str),
}

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

    /// Memories of one schedule or of one form of a goal, of exactly this user or of none, the newest first.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn memories_of(
        &self,
        of: MemoryOf<'_>,
        user: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Memory>, StoreError> {
        let (field, value) = match of {
            MemoryOf::Schedule(id) => ("schedule_id", id),
            MemoryOf::Goal(hash) => ("goal_hash", hash),
        };
        let request = ScrollPointsBuilder::new(self.inner.name(Collection::Memory))
            .filter(Filter::must([exactly(VISIBLE_TO, visible_to(user)), exactly(field, value.to_owned())]))
            .order_by(OrderByBuilder::new("at").direction(Direction::Desc.into()))
            .limit(limit)
            .with_payload(true);
        let page = self.inner.scroll("memories_of", request).await?;
        let mut memories: Vec<Memory> = readable(Collection::Memory, page.result);
        memories.sort_by_key(|memory| std::cmp::Reverse((memory.at, memory.id)));
        Ok(memories)
    }

    /// Memories alike `text`, of exactly this user or of none: those with the most words in common, and those whose meaning is
    /// nearest to `embedding`, with their cosine where it is at least `min_meaning`.
    ///
    /// # Errors
    /// A failure of the store, or [`StoreError::Refused`] for an embedding of another size.
    pub async fn memories_like(
        &self,
        text: &str,
        embedding: Option<Vec<f32>>,
        min_meaning: f32,
        user: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(Memory, Option<f32>)>, StoreError> {
        let filter = Filter::must([exactly(VISIBLE_TO, visible_to(user))]);
        let request = || {
            QueryPointsBuilder::new(self.inner.name(Collection::Memory))
                .filter(filter.clone())
                .limit(u64::from(limit))
                .with_payload(true)
        };
        let mut found: Vec<(Memory, Option<f32>)> = Vec::new();
        if let Some((dense, embedding)) = self.fitting("memories_like", embedding)? {
            let near =
                request().query(Query::new_nearest(embedding)).using(dense.name.as_str()).score_threshold(min_meaning);
            let near = self.inner.query("memories_like", near.build()).await?;
            found.extend(near.into_iter().filter_map(recalled).map(|near| (near.memory, Some(near.score))));
        }
        if let Some(words) = self.local.words.query(&cut(text)) {
            let alike = request().query(Query::new_nearest(words)).using(SPARSE);
            let alike = self.inner.query("memories_like", alike.build()).await?;
            for memory in alike.into_iter().filter_map(recalled).map(|alike| alike.memory) {
                if found.iter().all(|(known, _)| known.id != memory.id) {
                    found.push((memory, None));
                }
            }
        }
        Ok(found)
    }

    /// For people who search: memories alike `text` (BM25, fused with `embedding` when given), of this user or of none, best first.
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
