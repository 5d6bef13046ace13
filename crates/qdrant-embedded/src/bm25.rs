//! Sparse vectors of texts by BM25, as a Qdrant server computes them for its model `qdrant/bm25` with its defaults.

use qdrant_edge::bm25_embed::{EdgeBm25, EdgeBm25Config};

/// The defaults of this version are not accepted by the engine.
#[derive(Debug, thiserror::Error)]
#[error("the search by words cannot be set up: {0}")]
pub struct Bm25Error(String);

/// A sparse vector: ids of words, and their weights in the same order. Empty for a text of nothing but stop words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseVector {
    /// Id of each word.
    pub indices: Vec<u32>,
    /// Weight of each word.
    pub values: Vec<f32>,
}

/// Computes sparse vectors of English texts.
#[derive(Debug)]
pub struct Bm25(EdgeBm25);

impl Bm25 {
    /// With the defaults of Qdrant.
    ///
    /// # Errors
    /// [`Bm25Error`] when the engine does not accept its own defaults.
    pub fn new() -> Result<Self, Bm25Error> {
        EdgeBm25::new(EdgeBm25Config::default()).map(Self).map_err(|error| Bm25Error(error.to_string()))
    }

    /// The vector of a text that is stored.
    #[must_use]
    pub fn document(&self, text: &str) -> SparseVector {
        let vector = self.0.embed_document(text);
        SparseVector { indices: vector.indices, values: vector.values }
    }

    /// The vector of a text that stored ones are compared with.
    #[must_use]
    pub fn query(&self, text: &str) -> SparseVector {
        let vector = self.0.embed_query(text);
        SparseVector { indices: vector.indices, values: vector.values }
    }
}
