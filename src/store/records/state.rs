//! Keys that tasks share, with expiry.

use qdrant_client::Payload;
use qdrant_client::qdrant::{NamedVectors, PointStruct, UpdateMode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::id::derived;
use crate::domain::time::Timestamp;
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::{Part, document, object};
use crate::store::qdrant::values::{to_payload, to_text};
use crate::store::{Store, StoreError};

/// An entry as it is stored.
#[derive(Serialize, Deserialize)]
struct Entry {
    scope: String,
    key: String,
    /// The value as JSON text, so that it comes back exactly.
    value: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

impl Store {
    /// Sets a key of `scope` until `expires_at`, or for good.
    ///
    /// # Errors
    /// A failure of the store; calling again is safe.
    pub async fn set_state(
        &self,
        scope: &str,
        key: &str,
        value: &Value,
        expires_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let entry = Entry { scope: scope.to_owned(), key: key.to_owned(), value: to_text(value), expires_at };
        let payload = Payload::from(to_payload(object("set_state", &entry)?));
        let point = PointStruct::new(id_of(scope, key), NamedVectors::default(), payload);
        self.inner.upsert("set_state", Collection::State, vec![point], UpdateMode::Upsert).await
    }

    /// A key of `scope` that has not expired at `now`.
    ///
    /// # Errors
    /// A failure of the store, or [`StoreError::Corrupt`].
    pub async fn state(&self, scope: &str, key: &str, now: Timestamp) -> Result<Option<Value>, StoreError> {
        let id = id_of(scope, key);
        let mut points = self.inner.get("state", Collection::State, vec![id.into()], Part::All).await?;
        let Some(point) = points.pop() else { return Ok(None) };
        let entry: Entry = document(Collection::State, point.id.as_ref(), point.payload)?;
        // Ids are derived from text; a key made to collide with one of another scope must not open it.
        if entry.scope != scope || entry.key != key || entry.expires_at.is_some_and(|expiry| expiry <= now) {
            return Ok(None);
        }
        let value = serde_json::from_str(&entry.value).map_err(|error| StoreError::Corrupt {
            collection: Collection::State.as_str().to_owned(),
            id: id.to_string(),
            reason: format!("value: {error}"),
        })?;
        Ok(Some(value))
    }
}

fn id_of(scope: &str, key: &str) -> Uuid {
    derived(&["state", scope, key])
}
