//! The one way every request takes to Qdrant: timed, its errors told in the words of the store, its writes durable.

use std::collections::HashMap;

use futures_util::future::BoxFuture;
use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::read_consistency;
use qdrant_client::qdrant::with_payload_selector::SelectorOptions;
use qdrant_client::qdrant::{
    CountPointsBuilder, DeletePointsBuilder, Filter, GetPointsBuilder, PayloadExcludeSelector, PayloadIncludeSelector,
    PointId, PointStruct, PointsIdsList, PointsUpdateOperation, QueryPoints, ReadConsistency, ReadConsistencyType,
    RetrievedPoint, ScoredPoint, ScrollPointsBuilder, ScrollResponse, UpdateBatchPointsBuilder, UpdateMode,
    UpdateResult, UpdateStatus, UpsertPointsBuilder, Value as QdrantValue, WriteOrdering, WriteOrderingType,
};
use qdrant_client::{Qdrant, QdrantError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::collections::Collection;
use super::unreadable::warn_once;
use super::values::from_payload;
use crate::domain::schedule::zone::Zone;
use crate::store::StoreError;
use crate::store::error::explain;
use crate::telemetry::metrics::{STORE_SECONDS, outcome};

/// The connection to a store.
pub(in crate::store) struct Inner {
    pub(in crate::store) client: Qdrant,
    pub(in crate::store) url: String,
    pub(in crate::store) prefix: String,
    /// What tells this store from every other; set once the collections are there.
    pub(in crate::store) identity: String,
    /// Zone of times without an offset in points that wait for admission.
    pub(in crate::store) zone: Zone,
    /// Copies of each collection. With more than one, reads must ask a majority of them.
    pub(super) copies: u32,
}

/// Which part of the payload to read.
pub(in crate::store) enum Part {
    /// None of it.
    Nothing,
    /// All of it.
    All,
    /// These fields.
    Only(&'static [&'static str]),
    /// All but these fields.
    Without(&'static [&'static str]),
}

impl Part {
    pub(in crate::store) fn selector(&self) -> SelectorOptions {
        let owned = |fields: &[&str]| fields.iter().map(ToString::to_string).collect();
        match self {
            Self::Nothing => SelectorOptions::Enable(false),
            Self::All => SelectorOptions::Enable(true),
            Self::Only(fields) => SelectorOptions::Include(PayloadIncludeSelector { fields: owned(fields) }),
            Self::Without(fields) => SelectorOptions::Exclude(PayloadExcludeSelector { fields: owned(fields) }),
        }
    }
}

impl Inner {
    /// Name of `collection` on the server.
    pub(in crate::store) fn name(&self, collection: Collection) -> String {
        format!("{}{}", self.prefix, collection.as_str())
    }

    /// Sends a request: measures it and translates its error. Boxed at once, because the client's futures hold whole
    /// requests, and those of every caller up to the task would grow by as much.
    pub(in crate::store) fn call<'a, T>(
        &'a self,
        operation: &'static str,
        request: impl Future<Output = Result<T, QdrantError>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        let request = Box::pin(request);
        Box::pin(async move {
            let started = Instant::now();
            let answer = request.await.map_err(|error| explain(operation, &self.url, &error));
            STORE_SECONDS.record(started.elapsed(), [operation, outcome(&answer)]);
            answer
        })
    }

    /// Only `Completed` means that a write is applied and durable; anything else leaves it open.
    fn completed(&self, result: Option<&UpdateResult>) -> Result<(), StoreError> {
        match result.map(UpdateResult::status) {
            Some(UpdateStatus::Completed) => Ok(()),
            other => Err(StoreError::Unavailable {
                url: self.url.clone(),
                reason: format!(
                    "a write was not confirmed in time (status {})",
                    other.map_or("none", |status| status.as_str_name())
                ),
            }),
        }
    }

    /// How reads that decide something are asked: with copies, of a majority.
    pub(in crate::store) fn consistency(&self) -> Option<ReadConsistency> {
        let majority = read_consistency::Value::Type(ReadConsistencyType::Majority.into());
        (self.copies > 1).then_some(ReadConsistency { value: Some(majority) })
    }

    /// Writes whole points; with [`UpdateMode::InsertOnly`] those that exist are left as they are.
    pub(in crate::store) async fn upsert(
        &self,
        operation: &'static str,
        collection: Collection,
        points: Vec<PointStruct>,
        mode: UpdateMode,
    ) -> Result<(), StoreError> {
        let request =
            UpsertPointsBuilder::new(self.name(collection), points).wait(true).ordering(strong()).update_mode(mode);
        let response = self.call(operation, self.client.upsert_points(request)).await?;
        self.completed(response.result.as_ref())
    }

    /// Applies operations one after the other. On an error those before the failing one stay applied.
    pub(in crate::store) async fn update_batch(
        &self,
        operation: &'static str,
        collection: Collection,
        operations: Vec<PointsUpdateOperation>,
    ) -> Result<(), StoreError> {
        let request = UpdateBatchPointsBuilder::new(self.name(collection), operations).wait(true).ordering(strong());
        let response = self.call(operation, self.client.update_points_batch(request)).await?;
        response.result.iter().try_for_each(|result| self.completed(Some(result)))
    }

    /// Removes points by id; ids without a point are fine.
    pub(in crate::store) async fn delete(
        &self,
        operation: &'static str,
        collection: Collection,
        ids: Vec<PointId>,
    ) -> Result<(), StoreError> {
        let request = DeletePointsBuilder::new(self.name(collection))
            .points(PointsSelectorOneOf::Points(PointsIdsList { ids }))
            .wait(true)
            .ordering(strong());
        let response = self.call(operation, self.client.delete_points(request)).await?;
        self.completed(response.result.as_ref())
    }

    /// Removes every point that `filter` lets through, evaluated as they are removed.
    pub(in crate::store) async fn delete_where(
        &self,
        operation: &'static str,
        collection: Collection,
        filter: Filter,
    ) -> Result<(), StoreError> {
        let request = DeletePointsBuilder::new(self.name(collection))
            .points(PointsSelectorOneOf::Filter(filter))
            .wait(true)
            .ordering(strong());
        let response = self.call(operation, self.client.delete_points(request)).await?;
        self.completed(response.result.as_ref())
    }

    /// Reads points by id, in no particular order; missing ones are left out.
    pub(in crate::store) async fn get(
        &self,
        operation: &'static str,
        collection: Collection,
        ids: Vec<PointId>,
        part: Part,
    ) -> Result<Vec<RetrievedPoint>, StoreError> {
        let mut request = GetPointsBuilder::new(self.name(collection), ids).with_payload(part.selector()).build();
        request.read_consistency = self.consistency();
        Ok(self.call(operation, self.client.get_points(request)).await?.result)
    }

    /// Reads a page of points.
    pub(in crate::store) async fn scroll(
        &self,
        operation: &'static str,
        request: ScrollPointsBuilder,
    ) -> Result<ScrollResponse, StoreError> {
        let mut request = request.build();
        request.read_consistency = self.consistency();
        self.call(operation, self.client.scroll(request)).await
    }

    /// Counts points; approximately, unless `exact`.
    pub(in crate::store) async fn count(
        &self,
        operation: &'static str,
        collection: Collection,
        filter: Option<Filter>,
        exact: bool,
    ) -> Result<u64, StoreError> {
        let mut request = CountPointsBuilder::new(self.name(collection)).exact(exact).build();
        request.filter = filter;
        request.read_consistency = self.consistency();
        let response = self.call(operation, self.client.count(request)).await?;
        Ok(response.result.map_or(0, |result| result.count))
    }

    /// Searches by likeness or by any other query.
    pub(in crate::store) async fn query(
        &self,
        operation: &'static str,
        request: QueryPoints,
    ) -> Result<Vec<ScoredPoint>, StoreError> {
        Ok(self.call(operation, self.client.query(request)).await?.result)
    }

    /// Every point of `collection` that `filter` lets through, page after page, as far as `limit`.
    pub(in crate::store) async fn scroll_all(
        &self,
        operation: &'static str,
        collection: Collection,
        filter: Filter,
        part: Part,
        limit: usize,
    ) -> Result<Vec<RetrievedPoint>, StoreError> {
        const PAGE: u32 = 256;
        let mut points = Vec::new();
        let mut after: Option<PointId> = None;
        loop {
            let mut request = ScrollPointsBuilder::new(self.name(collection))
                .filter(filter.clone())
                .limit(PAGE)
                .with_payload(part.selector());
            if let Some(offset) = after {
                request = request.offset(offset);
            }
            let page = self.scroll(operation, request).await?;
            points.extend(page.result);
            after = page.next_page_offset;
            if after.is_none() || points.len() >= limit {
                points.truncate(limit);
                return Ok(points);
            }
        }
    }
}

/// Writes of one shard go through one leader, so that copies apply competing ones in the same order.
pub(in crate::store) fn strong() -> WriteOrdering {
    WriteOrdering { r#type: WriteOrderingType::Strong.into() }
}

/// Reads a document back as `T`.
pub(in crate::store) fn document<T: DeserializeOwned>(
    collection: Collection,
    id: Option<&PointId>,
    payload: HashMap<String, QdrantValue>,
) -> Result<T, StoreError> {
    serde_json::from_value(Value::Object(from_payload(payload))).map_err(|error| StoreError::Corrupt {
        collection: collection.as_str().to_owned(),
        id: id.map(show_id).unwrap_or_default(),
        reason: error.to_string(),
    })
}

/// The points of a page as `T`. One that cannot be read is left out and logged: it must not hide the others.
pub(in crate::store) fn readable<T: DeserializeOwned>(collection: Collection, points: Vec<RetrievedPoint>) -> Vec<T> {
    points
        .into_iter()
        .filter_map(|point| match document(collection, point.id.as_ref(), point.payload) {
            Ok(item) => Some(item),
            Err(error) => {
                warn_once(&error);
                None
            }
        })
        .collect()
}

/// The point id that the `next` of an earlier page names.
pub(in crate::store) fn offset(operation: &'static str, after: Option<&str>) -> Result<Option<PointId>, StoreError> {
    let Some(text) = after else { return Ok(None) };
    match text.parse() {
        Ok(id) => Ok(Some(super::values::point_id(id))),
        Err(_) => Err(StoreError::Refused { operation, reason: format!("{text:?} is not the end of a page") }),
    }
}

/// A point id as people see it.
pub(in crate::store) fn show_id(id: &PointId) -> String {
    super::values::task_id(Some(id)).map(|id| id.to_string()).unwrap_or_default()
}

/// A document as the fields of a payload.
pub(in crate::store) fn object<T: Serialize>(
    operation: &'static str,
    item: &T,
) -> Result<Map<String, Value>, StoreError> {
    match serde_json::to_value(item) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(other) => Err(StoreError::Refused { operation, reason: format!("{other} is no object") }),
        Err(error) => Err(StoreError::Refused { operation, reason: error.to_string() }),
    }
}
