//! Finding points by the beginning of their id.

use qdrant_client::qdrant::ScrollPointsBuilder;

use super::collections::Collection;
use super::requests::Part;
use super::values::{point_id, task_id};
use crate::domain::id::{IdPrefix, TaskId};
use crate::store::{Store, StoreError};

impl Store {
    /// The ids of tasks that begin with `prefix`, in their order, at most `limit`.
    ///
    /// Costs the same with any number of tasks: the server goes through points in the order of their ids, and begins at
    /// the first that the prefix allows.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn task_ids_by_prefix(&self, prefix: IdPrefix, limit: u32) -> Result<Vec<TaskId>, StoreError> {
        self.ids_by_prefix(Collection::Tasks, prefix, limit).await
    }

    /// The tasks of dead letters whose ids begin with `prefix`, as [`Store::task_ids_by_prefix`].
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn dead_letter_ids_by_prefix(&self, prefix: IdPrefix, limit: u32) -> Result<Vec<TaskId>, StoreError> {
        self.ids_by_prefix(Collection::DeadLetters, prefix, limit).await
    }

    async fn ids_by_prefix(
        &self,
        collection: Collection,
        prefix: IdPrefix,
        limit: u32,
    ) -> Result<Vec<TaskId>, StoreError> {
        let request = ScrollPointsBuilder::new(self.inner.name(collection))
            .offset(point_id(prefix.first()))
            .limit(limit)
            .with_payload(Part::Nothing.selector());
        let page = self.inner.scroll("ids_by_prefix", request).await?;
        let ids = page.result.iter().filter_map(|point| task_id(point.id.as_ref()));
        let mut ids: Vec<TaskId> = ids.take_while(|id| prefix.matches(*id)).collect();
        if let Some(number) = prefix.number()
            && !self.inner.get("ids_by_prefix", collection, vec![point_id(number)], Part::Nothing).await?.is_empty()
        {
            ids.insert(0, number);
        }
        Ok(ids)
    }
}
