//! Points that say they are admitted, and that no search finds: another client has changed or copied them since.

use std::sync::PoisonError;
use std::time::Duration;

use qdrant_client::qdrant::{Condition, Filter, PointId, Range, ScrollPointsBuilder, Value as QdrantValue};
use serde_json::json;
use tokio::time::Instant;

use super::fields::ADMITTED;
use super::writer::set_payload;
use crate::domain::task::TaskStatus;
use crate::domain::time::Timestamp;
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::Part;
use crate::store::qdrant::values::{any_word, bound};
use crate::store::{Store, StoreError};

/// A look is followed by a rest this many times as long, so that it takes at most half a percent of the store's time.
const REST: u32 = 200;
/// Points looked at in one request.
const PAGE: u32 = 512;
/// Most points handed back by one look; the next one finds the rest.
const MOST: u64 = 20_000;
/// Below this a number is a time in seconds, and not in milliseconds.
const SECONDS_BELOW: f64 = 1e11;
/// Least time that any field may hold.
const LEAST: f64 = -9e18;
/// Statuses in which a task has a place in the order of due tasks.
const ORDERED: [TaskStatus; 3] = [TaskStatus::Pending, TaskStatus::Waiting, TaskStatus::AwaitingApproval];
/// Statuses in which nothing more is looked for.
const SETTLED: [TaskStatus; 6] = [
    TaskStatus::Running,
    TaskStatus::Completed,
    TaskStatus::Failed,
    TaskStatus::Cancelled,
    TaskStatus::Blocked,
    TaskStatus::Skipped,
];

impl Store {
    /// Hands points back to admission that say they are admitted and that would never run: their time is no number of
    /// milliseconds, they have no place in the order, their status is spelled otherwise or missing, or they are pending and
    /// claimed at once. Gives back how many.
    ///
    /// Costs two requests when there are none, and nobody is asked to approve anything. What it finds through the indexes are explicit values: a point that an index
    /// has lost is found too, and is merely read once more. A status that qron does not know is left alone, since it belongs
    /// to a newer version.
    ///
    /// # Errors
    /// A failure of the store; calling again finds the rest.
    pub async fn readmit_overlooked(&self, now: Timestamp) -> Result<u64, StoreError> {
        let began = Instant::now();
        {
            let rests_until = self.local.overlooked_scan.lock().unwrap_or_else(PoisonError::into_inner);
            if rests_until.is_some_and(|until| began < until) {
                return Ok(0);
            }
        }
        let (mut handed_back, mut after) = (0, None::<PointId>);
        loop {
            let mut request = ScrollPointsBuilder::new(self.inner.name(Collection::Tasks))
                .filter(overlooked(now))
                .limit(PAGE)
                .with_payload(Part::Only(&["status"]).selector());
            if let Some(offset) = after {
                request = request.offset(offset);
            }
            let page = self.inner.scroll("overlooked", request).await?;
            let ids: Vec<PointId> = page
                .result
                .into_iter()
                .filter(|point| is_known(point.payload.get("status")))
                .filter_map(|point| point.id)
                .collect();
            handed_back += ids.len() as u64;
            self.send_back(ids).await?;
            after = page.next_page_offset;
            if after.is_none() || handed_back >= MOST {
                break;
            }
        }
        self.read_awaiting().await?;
        let rest: Duration = began.elapsed() * REST;
        *self.local.overlooked_scan.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + rest);
        Ok(handed_back)
    }

    /// Reads the tasks that wait for a person: no search looks at one that cannot be read.
    async fn read_awaiting(&self) -> Result<(), StoreError> {
        let mut after: Option<String> = None;
        loop {
            let page = self.readable_page(TaskStatus::AwaitingApproval, PAGE, after.as_deref()).await?;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Hands these points back to admission, as they are; those that are there already stay there.
    pub(super) async fn send_back(&self, ids: Vec<PointId>) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let filter = Filter::must([Condition::has_id(ids), Condition::matches(ADMITTED, true)]);
        let patch = [(ADMITTED.to_owned(), json!(false))].into_iter().collect();
        self.inner.update_batch("send_back", Collection::Tasks, vec![set_payload(patch, filter)]).await?;
        // The counts that tell whether there is anything to admit are approximate.
        *self.local.admission_scan.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }
}

/// Whether a status is one that qron knows, or no word at all, which no version of qron writes.
fn is_known(status: Option<&QdrantValue>) -> bool {
    let word = status.and_then(|value| value.as_str());
    word.is_none_or(|word| word.parse::<TaskStatus>().is_ok())
}

fn overlooked(now: Timestamp) -> Filter {
    let one_of = |statuses: &[TaskStatus]| {
        let words: Vec<String> = statuses.iter().map(ToString::to_string).collect();
        Condition::matches("status", words)
    };
    let at_least = |field: &str, least: f64| Condition::range(field, Range { gte: Some(least), ..Range::default() });
    let in_order = Filter::must([one_of(&ORDERED), at_least("run_at", LEAST), at_least("rank", LEAST)]);
    let lost = Filter { must_not: vec![one_of(&SETTLED), in_order.into()], ..Filter::default() };
    // A rank is never later than the time it was made of.
    let due = Range { lte: Some(bound(now)), ..Range::default() };
    let later = Range { gt: Some(bound(now)), ..Range::default() };
    let brought_forward =
        Filter::must([one_of(&ORDERED), Condition::range("run_at", due), Condition::range("rank", later)]);
    let seconds = Range { lt: Some(SECONDS_BELOW), ..Range::default() };
    let in_seconds =
        Filter::must([one_of(&ORDERED), Condition::range("run_at", seconds), at_least("rank", SECONDS_BELOW)]);
    let still_claimed = Filter::must([one_of(&ORDERED), any_word("claim")]);
    Filter {
        must: vec![Condition::matches(ADMITTED, true)],
        should: [lost, brought_forward, in_seconds, still_claimed].map(Condition::from).into(),
        ..Filter::default()
    }
}
