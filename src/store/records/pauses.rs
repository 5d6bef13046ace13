//! What people have put on hold. Each pause is a point of its own beside the shared keys, so that nobody's pause is lost
//! to somebody else's, and the whole fleet sees it however many replicas come and go.

use qdrant_client::Payload;
use qdrant_client::qdrant::{Condition, Filter, NamedVectors, PointStruct, UpdateMode};
use serde_json::json;
use uuid::Uuid;

use crate::domain::id::derived;
use crate::domain::pause::{Pause, PauseOutcome};
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::{Part, object, readable};
use crate::store::qdrant::values::to_payload;
use crate::store::{Store, StoreError};

/// Tells these points from the keys that tasks share.
const KIND: &str = "kind";
const PAUSE: &str = "pause";
/// Most pauses that are read.
const MAX_PAUSES: usize = 10_000;

impl Store {
    /// Pauses the fleet or an agent, unless it is paused: then the earlier pause keeps its time, and its note unless
    /// `pause` has another. Durable on return.
    ///
    /// # Errors
    /// A failure of the store; calling again is safe.
    pub async fn pause(&self, pause: &Pause) -> Result<PauseOutcome, StoreError> {
        // The first of several that pause at the same time wins, whichever replica they speak to.
        self.write_pause(pause, UpdateMode::InsertOnly).await?;
        let id = id_of(pause.agent.as_deref());
        let found = self.inner.get("pause", Collection::State, vec![id.into()], Part::Without(&[KIND])).await?;
        let Some(earlier) = readable::<Pause>(Collection::State, found).pop() else {
            // Resumed at this very moment, or not readable: this pause takes its place.
            self.write_pause(pause, UpdateMode::Upsert).await?;
            return Ok(PauseOutcome::Paused);
        };
        if earlier == *pause {
            return Ok(PauseOutcome::Paused);
        }
        if pause.note.is_none() || pause.note == earlier.note {
            return Ok(PauseOutcome::AlreadyPaused);
        }
        self.write_pause(&Pause { since: earlier.since, ..pause.clone() }, UpdateMode::Upsert).await?;
        Ok(PauseOutcome::NoteChanged)
    }

    async fn write_pause(&self, pause: &Pause, mode: UpdateMode) -> Result<(), StoreError> {
        let mut payload = object("pause", pause)?;
        payload.insert(KIND.to_owned(), json!(PAUSE));
        let id = id_of(pause.agent.as_deref());
        let point = PointStruct::new(id, NamedVectors::default(), Payload::from(to_payload(payload)));
        self.inner.upsert("pause", Collection::State, vec![point], mode).await
    }

    /// Ends the pause of `agent`, or that of the fleet; `false` when there was none.
    ///
    /// # Errors
    /// A failure of the store; calling again is safe.
    pub async fn resume(&self, agent: Option<&str>) -> Result<bool, StoreError> {
        let id = id_of(agent);
        let found = self.inner.get("resume", Collection::State, vec![id.into()], Part::Nothing).await?;
        self.inner.delete("resume", Collection::State, vec![id.into()]).await?;
        Ok(!found.is_empty())
    }

    /// Everything that is on hold.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        let filter = Filter::must([Condition::matches(KIND, PAUSE.to_owned())]);
        let points =
            self.inner.scroll_all("pauses", Collection::State, filter, Part::Without(&[KIND]), MAX_PAUSES).await?;
        let mut pauses: Vec<Pause> = readable(Collection::State, points);
        pauses.sort_by(|one, other| one.agent.cmp(&other.agent));
        Ok(pauses)
    }
}

fn id_of(agent: Option<&str>) -> Uuid {
    agent.map_or_else(|| derived(&["pause"]), |agent| derived(&["pause", agent]))
}
