//! Whether the collections are still what the start made of them: another program may delete one, or make it anew.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use qdrant_client::qdrant::{CollectionInfo, PayloadSchemaType};
use tokio::time::Instant;

use super::collections::{Collection, Index};
use super::schema::{has_sparse, has_vector, schema_of};
use super::vectors::SPARSE;
use crate::store::{Store, StoreError};

/// How long an answer holds, so that probes cost the store little however often they come.
const HOLDS: Duration = Duration::from_secs(1);

/// What the last look at the collections found.
pub(in crate::store) struct Completeness {
    known: Mutex<(Instant, Vec<String>)>,
    /// Held by the one caller that looks.
    looking: tokio::sync::Mutex<()>,
}

impl Completeness {
    /// Nothing is missing: the start has just seen to it.
    pub(in crate::store) fn new() -> Self {
        Self { known: Mutex::new((Instant::now(), Vec::new())), looking: tokio::sync::Mutex::new(()) }
    }

    fn known(&self) -> MutexGuard<'_, (Instant, Vec<String>)> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// What the collections lack, each fault with the way out; empty when all is there. An answer holds for a second, and
    /// while one caller looks anew the others get the last answer, so that a slow store holds nobody up here.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn lacks(&self) -> Result<Vec<String>, StoreError> {
        self.lacks_of(&self.local.completeness, &Collection::ALL).await
    }

    /// What those collections lack into which tasks are inserted, as [`Store::lacks`] tells it of all.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn lacks_for_inserts(&self) -> Result<Vec<String>, StoreError> {
        self.lacks_of(&self.local.insertable, &[Collection::Tasks, Collection::Keys]).await
    }

    async fn lacks_of(
        &self,
        completeness: &Completeness,
        collections: &[Collection],
    ) -> Result<Vec<String>, StoreError> {
        let (at, last) = completeness.known().clone();
        if at.elapsed() < HOLDS {
            return Ok(last);
        }
        let Ok(_looking) = completeness.looking.try_lock() else { return Ok(last) };
        let looks = collections.iter().map(|collection| self.faults_of(*collection));
        let faults = try_join_all(looks).await?.concat();
        *completeness.known() = (Instant::now(), faults.clone());
        Ok(faults)
    }

    async fn faults_of(&self, collection: Collection) -> Result<Vec<String>, StoreError> {
        let name = self.inner.name(collection);
        let info = match self.inner.info(collection).await {
            Ok(info) => info,
            Err(StoreError::CollectionMissing { .. }) => {
                return Ok(vec![format!(
                    "collection {name} is gone: restore it from a backup, or restart qron, which creates it empty"
                )]);
            }
            Err(error) => return Err(error),
        };
        let mut faults = Vec::new();
        if schema_of(&info).is_none() {
            faults.push(format!("collection {name} was created by another program: restart qron, which completes it"));
        }
        for (field, index) in collection.indexes() {
            faults.extend(index_fault(&name, &info, field, *index));
        }
        if collection == Collection::Memory {
            let dense = self.local.dense.as_ref().filter(|dense| !has_vector(&info, &dense.name));
            let sparse = (!has_sparse(&info, SPARSE)).then_some(SPARSE);
            for vector in dense.map(|dense| dense.name.as_str()).into_iter().chain(sparse) {
                faults.push(format!(
                    "collection {name} lacks the vector {vector}: delete the collection and restart qron, which creates it empty"
                ));
            }
        }
        Ok(faults)
    }
}

fn index_fault(name: &str, info: &CollectionInfo, field: &str, index: Index) -> Option<String> {
    let Some(found) = info.payload_schema.get(field) else {
        return Some(format!("collection {name} lacks the index of {field}: restart qron, which creates it"));
    };
    let wanted = match index {
        Index::Word => PayloadSchemaType::Keyword,
        Index::Flag => PayloadSchemaType::Bool,
        Index::Order => PayloadSchemaType::Integer,
    };
    (found.data_type() != wanted).then(|| {
        format!(
            "collection {name} has an index of {field} for another type ({}): delete that index and restart qron",
            found.data_type().as_str_name()
        )
    })
}
