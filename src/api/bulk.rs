//! One change of many tasks: of those with these ids, or of all that pass a filter.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::Problem;
use super::views::bulk::{BulkReport, Refusal};
use super::{Shared, extract, paging};
use crate::clock;
use crate::domain::approval::ApprovalOutcome;
use crate::domain::id::TaskId;
use crate::domain::schedule::zone::Zone;
use crate::domain::task::{MAX_PRIORITY, SpecLimits, TaskEvent, TaskFilter};
use crate::domain::time::Timestamp;
use crate::queue::{BulkChange, BulkRequest, Person, Targets};

/// Tasks that one request changes, unless it says otherwise.
const DEFAULT_LIMIT: usize = 1_000;
const MAX_LIMIT: usize = 10_000;

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Cancel,
    Retry,
    Reprioritise,
    Snooze,
    Approve,
    Deny,
}

/// What to do to which tasks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    action: Action,
    #[serde(default)]
    ids: Vec<TaskId>,
    filter: Option<Map<String, Value>>,
    /// Only tell how many it would be.
    #[serde(default)]
    dry_run: bool,
    priority: Option<u8>,
    until: Option<Value>,
    for_s: Option<u64>,
    by: Option<String>,
    note: Option<String>,
    /// Most tasks changed by this request.
    limit: Option<usize>,
    /// Where it goes on: `next` of the request before.
    after: Option<String>,
}

/// Does one thing to many tasks. A refusal does not stop the others.
pub(super) async fn bulk(
    State(parts): State<Shared>,
    extract::Json(order): extract::Json<Order>,
) -> Result<Json<BulkReport>, Problem> {
    let now = clock::now();
    let change = order.change(parts.zone, now)?;
    let (targets, as_of) = order.targets(parts.zone, now)?;
    let person = Person { by: order.by, note: order.note };
    let request = BulkRequest { change, targets, dry_run: order.dry_run, person };
    let report = parts.queue.change_many(request).await?;
    Ok(Json(BulkReport {
        dry_run: order.dry_run,
        matched: report.matched,
        done: report.done,
        refused: report.refused.into_iter().map(Refusal::from).collect(),
        next: report.next,
        as_of: as_of.to_rfc3339(),
    }))
}

/// Refuses more ids than one request may name.
pub(super) fn check_ids(count: usize) -> Result<(), Problem> {
    if count > MAX_LIMIT {
        return Err(Problem::bad_request(format!(
            "ids has {count} entries; the most is {MAX_LIMIT}: send several requests"
        )));
    }
    Ok(())
}

impl Order {
    /// Which tasks it is about, and the time after which inserted ones are not meant.
    fn targets(&self, zone: Zone, now: Timestamp) -> Result<(Targets, Timestamp), Problem> {
        match (&self.filter, self.ids.is_empty()) {
            (None, false) => {
                check_ids(self.ids.len())?;
                Ok((Targets::Ids(self.ids.clone()), now))
            }
            (Some(conditions), true) => {
                let filter = filter(conditions.clone(), zone, now)?;
                let as_of = filter.created_before.unwrap_or(now);
                let limit = match self.limit.unwrap_or(DEFAULT_LIMIT) {
                    limit @ 1..=MAX_LIMIT => limit,
                    limit => {
                        return Err(Problem::bad_request(format!(
                            "limit = {limit} is out of range: use 1 to {MAX_LIMIT}"
                        )));
                    }
                };
                let after = paging::start(self.after.as_deref())?;
                Ok((Targets::Filter { filter: Box::new(filter), limit, after }, as_of))
            }
            _ => Err(Problem::bad_request(r#"send either {"ids": [...]} or {"filter": {...}}"#)),
        }
    }

    fn change(&self, zone: Zone, now: Timestamp) -> Result<BulkChange, Problem> {
        Ok(match self.action {
            Action::Cancel => BulkChange::Event(TaskEvent::CancelRequested),
            Action::Retry => BulkChange::Event(TaskEvent::Requeued),
            Action::Reprioritise => BulkChange::Event(reprioritised(self.priority)?),
            Action::Snooze => BulkChange::Event(snoozed(self.until.as_ref(), self.for_s, zone, now)?),
            Action::Approve => BulkChange::Decide(ApprovalOutcome::Approved),
            Action::Deny => BulkChange::Decide(ApprovalOutcome::Denied),
        })
    }
}

/// The event that gives a task this priority.
pub(super) fn reprioritised(priority: Option<u8>) -> Result<TaskEvent, Problem> {
    match priority {
        Some(priority) => match SpecLimits::API.priority_fault(priority) {
            None => Ok(TaskEvent::Reprioritised(priority)),
            Some(fault) => Err(Problem::bad_request(fault.to_string())),
        },
        None => Err(Problem::bad_request(format!("priority is missing: use 0 to {MAX_PRIORITY}"))),
    }
}

/// The event that makes a task due at `until`, or `for_s` seconds from `now`.
pub(super) fn snoozed(
    until: Option<&Value>,
    for_s: Option<u64>,
    zone: Zone,
    now: Timestamp,
) -> Result<TaskEvent, Problem> {
    const LONGEST_S: u64 = 10 * 366 * 86_400;
    match (until, for_s) {
        (Some(until), None) => {
            let until = zone.read(until).map_err(|error| Problem::bad_request(format!("until: {error}")))?;
            Ok(TaskEvent::Snoozed(until))
        }
        (None, Some(seconds @ 0..=LONGEST_S)) => {
            Ok(TaskEvent::Snoozed(now.plus_millis(i64::try_from(seconds).unwrap_or_default() * 1_000)))
        }
        (None, Some(seconds)) => {
            Err(Problem::bad_request(format!("for_s = {seconds} is out of range: use 0 to {LONGEST_S}")))
        }
        _ => Err(Problem::bad_request(r#"send either {"until": time} or {"for_s": seconds}"#)),
    }
}

/// Which tasks: at least one condition, or `all`, so that nothing forgotten means all. Those inserted after `now`, when the first
/// request came, are not meant.
fn filter(mut conditions: Map<String, Value>, zone: Zone, now: Timestamp) -> Result<TaskFilter, Problem> {
    let all = match conditions.remove("all") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(all)) => all,
        Some(other) => return Err(Problem::bad_request(format!("all: {other} is neither true nor false"))),
    };
    let mut filter = TaskFilter::parse(conditions, zone)?;
    if !all && filter.is_empty() {
        return Err(Problem::bad_request(r#"the filter is empty: give a condition, or for all tasks {"all": true}"#));
    }
    filter.created_before = Some(filter.created_before.map_or(now, |before| before.min(now)));
    Ok(filter)
}
