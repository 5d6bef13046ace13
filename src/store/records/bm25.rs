//! Sparse vectors of texts, by which memories are found through their words: BM25, without a model.
//!
//! With the embedded engine this process computes them. A build without it leaves that to the Qdrant server, which computes
//! the same: both kinds of replicas may share a store.

use qdrant_client::qdrant::{Vector, VectorInput};

use crate::store::StoreError;

/// Makes sparse vectors.
pub(in crate::store) struct Words {
    #[cfg(feature = "embedded")]
    bm25: qdrant_embedded::bm25::Bm25,
}

#[cfg(feature = "embedded")]
impl Words {
    pub(in crate::store) fn new() -> Result<Self, StoreError> {
        let bm25 = qdrant_embedded::bm25::Bm25::new().map_err(|error| StoreError::Incompatible(error.to_string()))?;
        Ok(Self { bm25 })
    }

    /// The vector of a memory. `None` for a text of nothing but stop words: there is nothing to find it by.
    pub(in crate::store) fn document(&self, text: &str) -> Option<Vector> {
        let vector = self.bm25.document(text);
        (!vector.indices.is_empty()).then(|| Vector::new_sparse(vector.indices, vector.values))
    }

    /// The vector to search with; `None` as for [`Words::document`].
    pub(in crate::store) fn query(&self, text: &str) -> Option<VectorInput> {
        let vector = self.bm25.query(text);
        (!vector.indices.is_empty()).then(|| VectorInput::new_sparse(vector.indices, vector.values))
    }
}

#[cfg(not(feature = "embedded"))]
#[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "the same signatures as with the engine")]
impl Words {
    pub(in crate::store) fn new() -> Result<Self, StoreError> {
        Ok(Self {})
    }

    /// The text of a memory, of which the server makes the vector. `None` for a blank one.
    pub(in crate::store) fn document(&self, text: &str) -> Option<Vector> {
        (!text.trim().is_empty()).then(|| Vector::from(bm25_of(text)))
    }

    /// The text to search with, of which the server makes the vector; `None` for a blank one.
    pub(in crate::store) fn query(&self, text: &str) -> Option<VectorInput> {
        (!text.trim().is_empty()).then(|| VectorInput::from(bm25_of(text)))
    }
}

/// `text` for the model that every Qdrant server has built in.
#[cfg(not(feature = "embedded"))]
fn bm25_of(text: &str) -> qdrant_client::qdrant::Document {
    qdrant_client::qdrant::Document { text: text.to_owned(), model: "qdrant/bm25".to_owned(), ..Default::default() }
}
