//! Running processes, each writing its own point.

use qdrant_client::Payload;
use qdrant_client::qdrant::{Filter, NamedVectors, PointStruct, UpdateMode};
use uuid::Uuid;

use super::collections::Collection;
use super::requests::{Part, object, readable};
use super::values::to_payload;
use super::{Store, StoreError};
use crate::domain::id::derived;
use crate::domain::replica::Replica;

/// Most replicas that are read.
const MAX_REPLICAS: usize = 10_000;

impl Store {
    /// Writes what a replica says of itself. On return the others can see it.
    ///
    /// # Errors
    /// A failure of the store: the heartbeat is not confirmed.
    pub async fn beat(&self, replica: &Replica) -> Result<(), StoreError> {
        // JSON has no word for a load that is not a number, and the others could not read the point.
        let cpu = if replica.cpu.is_finite() { replica.cpu } else { 0.0 };
        let payload = object("beat", &Replica { cpu, ..replica.clone() })?;
        let point = PointStruct::new(id_of(&replica.id), NamedVectors::default(), Payload::from(to_payload(payload)));
        self.inner.upsert("beat", Collection::Replicas, vec![point], UpdateMode::Upsert).await
    }

    /// Every replica that has written and not been removed.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn replicas(&self) -> Result<Vec<Replica>, StoreError> {
        let points =
            self.inner.scroll_all("replicas", Collection::Replicas, Filter::default(), Part::All, MAX_REPLICAS).await?;
        Ok(readable(Collection::Replicas, points))
    }

    /// Removes a replica that left or died.
    ///
    /// # Errors
    /// A failure of the store; calling again is safe.
    pub async fn remove_replica(&self, id: &str) -> Result<(), StoreError> {
        self.inner.delete("remove_replica", Collection::Replicas, vec![id_of(id).into()]).await
    }
}

fn id_of(replica: &str) -> Uuid {
    derived(&["replica", replica])
}
