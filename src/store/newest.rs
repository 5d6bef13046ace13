//! A listing with the latest first.
//!
//! The server orders by a number, and pages of such an order begin at a number, too: many tasks may share it. Tasks of
//! one time are therefore paged through in the order of their ids, and only from one time to the next by their order.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use qdrant_client::qdrant::{
    Condition, Direction, Filter, OrderByBuilder, Range, RetrievedPoint, ScrollPointsBuilder, start_from,
};

use super::codec::ADMITTED;
use super::collections::Collection;
use super::requests::Part;
use super::tasks::{conditions, readable_tasks};
use super::values::{bound, point_id, task_id};
use super::{Page, Store, StoreError, TaskFilter};
use crate::domain::id::TaskId;
use crate::domain::task::Task;
use crate::domain::time::Timestamp;

/// Where a page of [`Store::newest`] begins: with a task among those of one time. As text, milliseconds and its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    run_at: Timestamp,
    id: TaskId,
}

impl Place {
    fn of(point: &RetrievedPoint) -> Option<Self> {
        Some(Self { run_at: run_at(point)?, id: task_id(point.id.as_ref())? })
    }
}

impl Display for Place {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.run_at.as_millis(), self.id)
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
            Some(Self { run_at: Timestamp::from_millis(ms.parse().ok()?), id: id.parse().ok()? })
        };
        place().ok_or_else(|| NoPlace(text.to_owned()))
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
        let wanted = limit as usize + 1;
        let mut found = Vec::new();
        if let Some(place) = after {
            found = self.of_time(filter, place.run_at, Some(place.id), wanted).await?;
        }
        if found.len() < wanted {
            let missing = wanted - found.len();
            let mut older = self.before(filter, after.map(|place| place.run_at), missing).await?;
            // Those of the last time may not be all of it, and come in any order.
            if older.len() == missing
                && let Some(last) = older.last().and_then(run_at)
            {
                older.retain(|point| run_at(point) != Some(last));
                let missing = missing - older.len();
                older.extend(self.of_time(filter, last, None, missing).await?);
            }
            found.extend(older);
        }
        let next = found.get(limit as usize).and_then(Place::of).map(|place| place.to_string());
        found.truncate(limit as usize);
        Ok(Page { items: readable_tasks(found), next })
    }

    async fn of_time(
        &self,
        filter: &TaskFilter,
        run_at: Timestamp,
        from: Option<TaskId>,
        limit: usize,
    ) -> Result<Vec<RetrievedPoint>, StoreError> {
        let mut filter = conditions(filter);
        let at = Some(bound(run_at));
        filter.must.push(Condition::range("run_at", Range { gte: at, lte: at, ..Range::default() }));
        let request = |part| {
            let request = self.scroll_of(filter.clone(), limit, &part);
            if let Some(from) = from { request.offset(point_id(from)) } else { request }
        };
        Ok(self.scroll_tasks(request).await?.result)
    }

    async fn before(
        &self,
        filter: &TaskFilter,
        before: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<RetrievedPoint>, StoreError> {
        let mut order = OrderByBuilder::new("run_at").direction(Direction::Desc.into());
        if let Some(before) = before {
            // Where the server begins, in place of a condition that it would ask of everything later.
            order = order.start_from(start_from::Value::Integer(before.as_millis().saturating_sub(1)));
        }
        let request = |part| self.scroll_of(conditions(filter), limit, &part).order_by(order.clone());
        Ok(self.scroll_tasks(request).await?.result)
    }

    fn scroll_of(&self, mut filter: Filter, limit: usize, part: &Part) -> ScrollPointsBuilder {
        // What is not admitted need not have a time that the server can order by.
        filter.must.push(Condition::matches(ADMITTED, true));
        ScrollPointsBuilder::new(self.inner.name(Collection::Tasks))
            .filter(filter)
            .limit(u32::try_from(limit).unwrap_or(u32::MAX))
            .with_payload(part.selector())
    }
}

fn run_at(point: &RetrievedPoint) -> Option<Timestamp> {
    point.payload.get("run_at")?.as_integer().map(Timestamp::from_millis)
}
