//! The identity of the store: what tells it from every other, wherever it is reached and whatever its prefix.
//!
//! It is a point beside the shared keys, so that it goes with the data into backups and to another server.

use qdrant_client::Payload;
use qdrant_client::qdrant::{NamedVectors, PointStruct, UpdateMode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::id::derived;
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::{Inner, Part, document, object};
use crate::store::qdrant::values::to_payload;
use crate::store::{Store, StoreError};

/// The point.
#[derive(Serialize, Deserialize)]
struct Identity {
    identity: Uuid,
}

impl Store {
    /// What tells this store from every other: made once, when the first program connected to it.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.inner.identity
    }
}

impl Inner {
    /// Reads the identity of the store. When it has none, this program gives it one; of several that try, the first wins.
    pub(in crate::store) async fn identify(&self) -> Result<String, StoreError> {
        if let Some(identity) = self.read_identity().await? {
            return Ok(identity);
        }
        let payload = object("identify", &Identity { identity: Uuid::new_v4() })?;
        let point = PointStruct::new(point_id(), NamedVectors::default(), Payload::from(to_payload(payload)));
        self.upsert("identify", Collection::State, vec![point], UpdateMode::InsertOnly).await?;
        self.read_identity().await?.ok_or_else(|| StoreError::Unavailable {
            url: self.url.clone(),
            reason: "the identity of the store was written and is not found; are all nodes up?".to_owned(),
        })
    }

    async fn read_identity(&self) -> Result<Option<String>, StoreError> {
        let mut found = self.get("identify", Collection::State, vec![point_id().into()], Part::All).await?;
        let Some(point) = found.pop() else { return Ok(None) };
        let Identity { identity } = document(Collection::State, point.id.as_ref(), point.payload)?;
        Ok(Some(identity.to_string()))
    }
}

fn point_id() -> Uuid {
    derived(&["identity of the store"])
}
