//! The vectors of the collection of memories.

/// Name of the vector of words.
pub(in crate::store) const SPARSE: &str = "words";

/// The embeddings kept with memories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Dense {
    /// Name of the vector. It holds the size, so that a change of model starts a new one beside the old.
    pub(in crate::store) name: String,
    /// Length of an embedding.
    pub(in crate::store) size: u64,
}

impl Dense {
    pub(in crate::store) fn of_size(size: u64) -> Self {
        Self { name: format!("meaning_{size}"), size }
    }
}
