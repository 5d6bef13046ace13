//! What happened, for people to read later.

use qdrant_client::Payload;
use qdrant_client::qdrant::{
    Condition, Direction, Filter, NamedVectors, OrderByBuilder, PointStruct, ScrollPointsBuilder, UpdateMode,
};

use crate::domain::event::Event;
use crate::domain::id::TaskId;
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::{object, readable};
use crate::store::qdrant::values::to_payload;
use crate::store::{Store, StoreError};

/// Most events in one request.
const BATCH: usize = 1_024;

impl Store {
    /// Writes events. Durable on return.
    ///
    /// # Errors
    /// A failure of the store; calling again with the same events writes none twice.
    pub async fn record(&self, events: &[Event]) -> Result<(), StoreError> {
        for chunk in events.chunks(BATCH) {
            let points: Result<Vec<PointStruct>, StoreError> = chunk
                .iter()
                .map(|event| {
                    let payload = Payload::from(to_payload(object("record", event)?));
                    Ok(PointStruct::new(event.id, NamedVectors::default(), payload))
                })
                .collect();
            self.inner.upsert("record", Collection::Events, points?, UpdateMode::Upsert).await?;
        }
        Ok(())
    }

    /// The newest events of a task, or of all, at most `limit`, oldest of them first.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn events(&self, task: Option<TaskId>, limit: u32) -> Result<Vec<Event>, StoreError> {
        let filter = task.map(|task| Filter::must([Condition::matches("task_id", task.to_string())]));
        let request = ScrollPointsBuilder::new(self.inner.name(Collection::Events))
            .filter(filter.unwrap_or_default())
            .order_by(OrderByBuilder::new("at").direction(Direction::Desc.into()))
            .limit(limit)
            .with_payload(true);
        let page = self.inner.scroll("events", request).await?;
        let mut events: Vec<Event> = readable(Collection::Events, page.result);
        // Ids of one millisecond are in the order they were made in.
        events.sort_by_key(|event| (event.at, event.id));
        Ok(events)
    }
}
