//! Points that cannot be read are told of, but not again and again.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::store::StoreError;

/// Most points remembered as told.
const MAX_WARNED: usize = 10_000;

/// Tells of a point that is left out of a listing, once: some listings are read every second, and the point stays as it is
/// when a newer version wrote it.
pub(in crate::store) fn warn_once(error: &StoreError) {
    static WARNED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
    if warned.len() >= MAX_WARNED {
        warned.clear();
    }
    if warned.insert(error.to_string()) {
        tracing::warn!(%error, "left out of a listing; did a newer qron write it?");
    }
}
