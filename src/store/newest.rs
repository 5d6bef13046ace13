//! Listings with the latest first.
//!
//! The server orders by a number, and pages of such an order begin at a number, too: many points may share it. Those of
//! one time are therefore paged through in the order of their ids, and only from one time to the next by their order.

use std::cmp::Reverse;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use qdrant_client::qdrant::{
    Condition, Direction, Filter, OrderByBuilder, Range, RetrievedPoint, ScrollPointsBuilder, start_from,
};

use super::codec::ADMITTED;
use super::collections::Collection;
use super::found::SUMMARY;
use super::requests::{Part, readable};
use super::tasks::{conditions, readable_tasks};
use super::values::{bound, point_id, task_id};
use super::{Page, Store, StoreError, TaskFilter};
use crate::domain::dead_letter::DeadLetter;
use crate::domain::id::TaskId;
use crate::domain::task::Task;
use crate::domain::time::Timestamp;

/// Where a page of [`Store::newest`] or [`Store::dead_letters`] begins: with one of those of a time. As text, milliseconds
/// and the id of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    at: Timestamp,
    id: TaskId,
}

impl Display for Place {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.at.as_millis(), self.id)
    }
}

/// Text that no page has given.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not where a page ended")]
pub struct NoPlace(String);

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let place = || {
            let (ms, id) = text.split_once(':')?;
            Some(Self { at: Timestamp::from_millis(ms.parse().ok()?), id: id.parse().ok()? })
        };
        place().ok_or_else(|| NoPlace(text.to_owned()))
    }
}

/// What is listed, by the time that each of it has in one field.
struct Listed {
    collection: Collection,
    filter: Filter,
    time: &'static str,
    /// What is read of a point that is nested deeper than the protocol can tell: its time at least.
    summary: &'static [&'static str],
}

impl Listed {
    fn time_of(&self, point: &RetrievedPoint) -> Option<Timestamp> {
        point.payload.get(self.time)?.as_integer().map(Timestamp::from_millis)
    }

    fn place_of(&self, point: &RetrievedPoint) -> Option<Place> {
        Some(Place { at: self.time_of(point)?, id: task_id(point.id.as_ref())? })
    }
}

impl Store {
    /// Tasks that pass `filter`, the latest `run_at` first, from `after` (the `next` of the page before). What waits for
    /// admission and what cannot be read are left out.
    ///
    /// A page costs a few requests, however many tasks have passed before it. The server goes through what is later
    /// than those that pass, unless these are so few that it sorts them.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn newest(
        &self,
        filter: &TaskFilter,
        limit: u32,
        after: Option<Place>,
    ) -> Result<Page<Task>, StoreError> {
        let (points, next) = self.newest_raw(filter, limit, after).await?;
        Ok(Page { items: readable_tasks(points), next })
    }

    /// The points of [`Store::newest`], readable or not.
    pub(super) async fn newest_raw(
        &self,
        filter: &TaskFilter,
        limit: u32,
        after: Option<Place>,
    ) -> Result<(Vec<RetrievedPoint>, Option<String>), StoreError> {
        let mut filter = conditions(filter);
        // What is not admitted need not have a time that the server can order by.
        filter.must.push(Condition::matches(ADMITTED, true));
        let listed = Listed { collection: Collection::Tasks, filter, time: "run_at", summary: SUMMARY };
        self.latest(&listed, limit, after).await
    }

    /// Dead letters, the latest first, from `after` (the `next` of the page before).
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn dead_letters(&self, limit: u32, after: Option<Place>) -> Result<Page<DeadLetter>, StoreError> {
        let collection = Collection::DeadLetters;
        let listed = Listed { collection, filter: Filter::default(), time: "buried_at", summary: &["buried_at"] };
        let (points, next) = self.latest(&listed, limit, after).await?;
        Ok(Page { items: readable(collection, points), next })
    }

    /// A page, and where the next one begins.
    async fn latest(
        &self,
        listed: &Listed,
        limit: u32,
        after: Option<Place>,
    ) -> Result<(Vec<RetrievedPoint>, Option<String>), StoreError> {
        let wanted = limit as usize + 1;
        let mut found = Vec::new();
        if let Some(place) = after {
            found = self.of_time(listed, place.at, Some(place.id), wanted).await?;
        }
        if found.len() < wanted {
            let missing = wanted - found.len();
            let mut older = self.before(listed, after.map(|place| place.at), missing).await?;
            // The server gives those of one time in any order.
            older.sort_by_key(|point| listed.place_of(point).map(|place| (Reverse(place.at), place.id)));
            // Of the last time there may be others.
            if older.len() == missing
                && let Some(last) = older.last().and_then(|point| listed.time_of(point))
            {
                older.retain(|point| listed.time_of(point) != Some(last));
                let missing = missing - older.len();
                older.extend(self.of_time(listed, last, None, missing).await?);
            }
            found.extend(older);
        }
        let next = found.get(limit as usize).and_then(|point| listed.place_of(point)).map(|place| place.to_string());
        found.truncate(limit as usize);
        Ok((found, next))
    }

    async fn of_time(
        &self,
        listed: &Listed,
        time: Timestamp,
        from: Option<TaskId>,
        limit: usize,
    ) -> Result<Vec<RetrievedPoint>, StoreError> {
        let mut filter = listed.filter.clone();
        let at = Some(bound(time));
        filter.must.push(Condition::range(listed.time, Range { gte: at, lte: at, ..Range::default() }));
        let request = |request: ScrollPointsBuilder| {
            let request = request.filter(filter.clone());
            if let Some(from) = from { request.offset(point_id(from)) } else { request }
        };
        self.scroll_listed(listed, limit, request).await
    }

    async fn before(
        &self,
        listed: &Listed,
        before: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<RetrievedPoint>, StoreError> {
        let mut order = OrderByBuilder::new(listed.time).direction(Direction::Desc.into());
        if let Some(before) = before {
            // Where the server begins, in place of a condition that it would ask of everything later.
            order = order.start_from(start_from::Value::Integer(before.as_millis().saturating_sub(1)));
        }
        let request = |request: ScrollPointsBuilder| request.filter(listed.filter.clone()).order_by(order.clone());
        self.scroll_listed(listed, limit, request).await
    }

    async fn scroll_listed(
        &self,
        listed: &Listed,
        limit: usize,
        request: impl Fn(ScrollPointsBuilder) -> ScrollPointsBuilder,
    ) -> Result<Vec<RetrievedPoint>, StoreError> {
        let request = |part: Part| {
            let blank = ScrollPointsBuilder::new(self.inner.name(listed.collection));
            request(blank.limit(u32::try_from(limit).unwrap_or(u32::MAX)).with_payload(part.selector()))
        };
        let rest = Part::Only(listed.summary);
        Ok(self.scroll_tellable(listed.collection, rest, request).await?.result)
    }
}
