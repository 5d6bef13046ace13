//! Listings in the order of a time: the latest first, or the soonest.
//!
//! The server orders by a number, and pages of such an order begin at a number, too: many points may share it. Those of
//! one time are therefore paged through in the order of their ids, and only from one time to the next by their order.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use qdrant_client::qdrant::{
    Condition, Direction, Filter, OrderByBuilder, Range, RetrievedPoint, ScrollPointsBuilder, start_from,
};

use super::fields::ADMITTED;
use super::read::{SUMMARY, conditions};
use crate::domain::dead_letter::DeadLetter;
use crate::domain::id::TaskId;
use crate::domain::task::Task;
use crate::domain::time::Timestamp;
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::{Part, readable};
use crate::store::qdrant::values::{bound, point_id, task_id};
use crate::store::{Page, Store, StoreError, TaskFilter};

/// In which order [`Store::ordered`] lists tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// All tasks, the latest `run_at` first.
    #[default]
    Newest,
    /// Tasks that have not ended, in the order in which they start: the soonest first, with a head start by priority.
    Next,
    /// Tasks that have ended, the latest end first.
    Ended,
}

impl Order {
    /// The field that holds the time, and the direction in which it is gone through.
    const fn field(self) -> (&'static str, Direction) {
        match self {
            Self::Newest => ("run_at", Direction::Desc),
            Self::Next => ("rank", Direction::Asc),
            Self::Ended => ("finished_at", Direction::Desc),
        }
    }
}

/// Where a page of [`Store::ordered`] or [`Store::dead_letters`] begins: with one of those of a time. As text, milliseconds
/// and the id of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageCursor {
    at: Timestamp,
    id: TaskId,
}

impl Display for PageCursor {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.at.as_millis(), self.id)
    }
}

/// Text that no page has given.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not the end of a page")]
pub struct InvalidCursor(String);

impl FromStr for PageCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let place = || {
            let (ms, id) = text.split_once(':')?;
            Some(Self { at: Timestamp::from_millis(ms.parse().ok()?), id: id.parse().ok()? })
        };
        place().ok_or_else(|| InvalidCursor(text.to_owned()))
    }
}

/// What is listed, by the time that each of it has in one field.
struct Listed {
    collection: Collection,
    filter: Filter,
    time: &'static str,
    direction: Direction,
    /// What is read of a point that is nested deeper than the protocol can tell: its time at least.
    summary: &'static [&'static str],
}

impl Listed {
    fn time_of(&self, point: &RetrievedPoint) -> Option<Timestamp> {
        point.payload.get(self.time)?.as_integer().map(Timestamp::from_millis)
    }

    fn place_of(&self, point: &RetrievedPoint) -> Option<PageCursor> {
        Some(PageCursor { at: self.time_of(point)?, id: task_id(point.id.as_ref())? })
    }

    /// Sorts points as the listing shows them; those of one time by their ids.
    fn sort(&self, points: &mut [RetrievedPoint]) {
        let forward = self.direction == Direction::Asc;
        points.sort_by_key(|point| {
            self.place_of(point).map(|PageCursor { at, id }| {
                let ms = at.as_millis();
                (if forward { ms } else { -ms }, id)
            })
        });
    }

    /// The first time after `at` in this order, in milliseconds.
    const fn beyond(&self, at: Timestamp) -> i64 {
        let step = if matches!(self.direction, Direction::Asc) { 1 } else { -1 };
        at.as_millis().saturating_add(step)
    }
}

impl Store {
    /// Tasks that pass `filter` in this order, from `after` (the `next` of the page before). What waits for admission and
    /// what cannot be read are left out, and so are tasks without the text of the filter: a page may hold fewer than `limit`.
    ///
    /// A page costs a few requests, however many tasks have passed before it. The server goes through what comes before
    /// those that pass, unless these are so few that it sorts them.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn ordered(
        &self,
        filter: &TaskFilter,
        order: Order,
        limit: u32,
        after: Option<PageCursor>,
    ) -> Result<Page<Task>, StoreError> {
        let (points, next) = self.ordered_raw(filter, order, limit, after).await?;
        let mut items = self.inner.readable_tasks(points);
        items.retain(|task| filter.has_text(task));
        Ok(Page { items, next })
    }

    /// The points of [`Store::ordered`], readable or not, whatever the text of the filter.
    pub(super) async fn ordered_raw(
        &self,
        filter: &TaskFilter,
        order: Order,
        limit: u32,
        after: Option<PageCursor>,
    ) -> Result<(Vec<RetrievedPoint>, Option<String>), StoreError> {
        let mut filter = conditions(filter);
        // What is not admitted need not have a time that the server can order by.
        filter.must.push(Condition::matches(ADMITTED, true));
        let (time, direction) = order.field();
        let listed = Listed { collection: Collection::Tasks, filter, time, direction, summary: SUMMARY };
        self.page_of(&listed, limit, after).await
    }

    /// [`Store::ordered`] with the latest `run_at` first.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn newest(
        &self,
        filter: &TaskFilter,
        limit: u32,
        after: Option<PageCursor>,
    ) -> Result<Page<Task>, StoreError> {
        self.ordered(filter, Order::Newest, limit, after).await
    }

    /// Dead letters, the latest first, from `after` (the `next` of the page before).
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn dead_letters(&self, limit: u32, after: Option<PageCursor>) -> Result<Page<DeadLetter>, StoreError> {
        let collection = Collection::DeadLetters;
        let listed = Listed {
            collection,
            filter: Filter::default(),
            time: "buried_at",
            direction: Direction::Desc,
            summary: &["buried_at"],
        };
        let (points, next) = self.page_of(&listed, limit, after).await?;
        Ok(Page { items: readable(collection, points), next })
    }

    /// A page, and where the next one begins.
    async fn page_of(
        &self,
        listed: &Listed,
        limit: u32,
        after: Option<PageCursor>,
    ) -> Result<(Vec<RetrievedPoint>, Option<String>), StoreError> {
        let wanted = limit as usize + 1;
        let mut found = Vec::new();
        if let Some(place) = after {
            found = self.of_time(listed, place.at, Some(place.id), wanted).await?;
        }
        if found.len() < wanted {
            let missing = wanted - found.len();
            let mut rest = self.beyond(listed, after.map(|place| place.at), missing).await?;
            // The server gives those of one time in any order.
            listed.sort(&mut rest);
            // Of the last time there may be others.
            if rest.len() == missing
                && let Some(last) = rest.last().and_then(|point| listed.time_of(point))
            {
                rest.retain(|point| listed.time_of(point) != Some(last));
                let missing = missing - rest.len();
                rest.extend(self.of_time(listed, last, None, missing).await?);
            }
            found.extend(rest);
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

    async fn beyond(
        &self,
        listed: &Listed,
        time: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<RetrievedPoint>, StoreError> {
        let mut order = OrderByBuilder::new(listed.time).direction(listed.direction.into());
        if let Some(time) = time {
            // Where the server begins, in place of a condition that it would ask of everything before.
            order = order.start_from(start_from::Value::Integer(listed.beyond(time)));
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
        Ok(self.scroll_decodable(listed.collection, rest, request).await?.result)
    }
}
