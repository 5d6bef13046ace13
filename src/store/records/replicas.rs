//! Running processes, each writing its own point.

use qdrant_client::Payload;
use qdrant_client::qdrant::{Filter, NamedVectors, PointStruct, RetrievedPoint, UpdateMode};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::clock;
use crate::domain::id::derived;
use crate::domain::number;
use crate::domain::replica::ReplicaRecord;
use crate::domain::time::Timestamp;
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::{Part, object, show_id};
use crate::store::qdrant::unreadable::warn_once;
use crate::store::qdrant::values::{from_payload, to_payload};
use crate::store::{Store, StoreError};

/// Most replicas that are read.
const MAX_REPLICAS: usize = 10_000;

impl Store {
    /// Writes what a replica says of itself. On return the others can see it.
    ///
    /// # Errors
    /// A failure of the store: the heartbeat is not confirmed.
    pub async fn beat(&self, replica: &ReplicaRecord) -> Result<(), StoreError> {
        // JSON has no word for a load that is not a number, and the others could not read the point.
        let cpu = if replica.cpu.is_finite() { replica.cpu } else { 0.0 };
        let payload = object("beat", &ReplicaRecord { cpu, ..replica.clone() })?;
        let point = PointStruct::new(id_of(&replica.id), NamedVectors::default(), Payload::from(to_payload(payload)));
        self.inner.upsert("beat", Collection::Replicas, vec![point], UpdateMode::Upsert).await
    }

    /// Every replica that has written and not been removed.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn replicas(&self) -> Result<Vec<ReplicaRecord>, StoreError> {
        let points =
            self.inner.scroll_all("replicas", Collection::Replicas, Filter::default(), Part::All, MAX_REPLICAS).await?;
        Ok(points.into_iter().filter_map(|point| presence(point, clock::now())).collect())
    }

    /// Removes a replica that left or died.
    ///
    /// # Errors
    /// A failure of the store; calling again is safe.
    pub async fn remove_replica(&self, id: &str) -> Result<(), StoreError> {
        self.inner.delete("remove_replica", Collection::Replicas, vec![id_of(id).into()]).await
    }
}

/// A replica as far as it can be read. What else a newer version says in words of its own, it lives while its heartbeat
/// moves: taking it for nobody would take its tasks away.
fn presence(point: RetrievedPoint, now: Timestamp) -> Option<ReplicaRecord> {
    let payload = from_payload(point.payload);
    let whole = serde_json::from_value(Value::Object(payload.clone()));
    let error = match whole {
        Ok(replica) => return Some(replica),
        Err(error) => error,
    };
    warn_once(&StoreError::Corrupt {
        collection: Collection::Replicas.as_str().to_owned(),
        id: point.id.as_ref().map(show_id).unwrap_or_default(),
        reason: error.to_string(),
    });
    payload.get("id")?.as_str()?;
    number::count_of(payload.get("heartbeat")?)?;
    let unknown = ReplicaRecord {
        id: String::new(),
        host: String::new(),
        version: String::new(),
        started_at: now,
        updated_at: now,
        heartbeat: 0,
        draining: false,
        nudges: 0,
        waiting_for_model: 0,
        agents: Vec::new(),
        cpu: 0.0,
        memory_bytes: 0,
    };
    let Ok(Value::Object(mut known)) = serde_json::to_value(unknown) else { return None };
    for (field, value) in payload {
        let with: Map<String, Value> = known.clone().into_iter().chain([(field, value)]).collect();
        if serde_json::from_value::<ReplicaRecord>(Value::Object(with.clone())).is_ok() {
            known = with;
        }
    }
    serde_json::from_value(Value::Object(known)).ok()
}

fn id_of(replica: &str) -> Uuid {
    derived(&["replica", replica])
}
