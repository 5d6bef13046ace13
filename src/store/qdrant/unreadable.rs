//! Points that cannot be read are told of, but not again and again.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::store::StoreError;

/// Most points remembered as told.
const MAX_TOLD: usize = 10_000;

/// Tells of a point that is left out of a listing, once: some listings are read every second, and the point stays as it is
/// when a newer version wrote it.
pub(in crate::store) fn tell_once(error: &StoreError) {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.len() >= MAX_TOLD {
        told.clear();
    }
    if told.insert(error.to_string()) {
        tracing::warn!(%error, "left out of a listing; did a newer qron write it?");
    }
}
