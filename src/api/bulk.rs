//! One change of many tasks: of those with these ids, or of all that pass a filter.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::error::Problem;
use super::schemas::{TimeInput, words};
use super::views::bulk::{BulkReport, Refusal};
use super::{Shared, extract, paging};
use crate::clock;
use crate::domain::approval::ApprovalOutcome;
use crate::domain::id::TaskId;
use crate::domain::schedule::zone::Zone;
use crate::domain::task::{MAX_PRIORITY, SpecLimits, TaskEvent, TaskFilter, TaskStatus};
use crate::domain::time::Timestamp;
use crate::queue::{BulkChange, BulkRequest, Person, Targets};

/// Tasks that one request changes, unless it says otherwise.
const DEFAULT_LIMIT: usize = 1_000;
const MAX_LIMIT: usize = 10_000;

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum BulkAction {
    Cancel,
    Retry,
    Reprioritise,
    Snooze,
    Approve,
    Deny,
}

words!(BulkAction, "What to do to each task.", {
    Cancel => "stop it",
    Retry => "run it again",
    Reprioritise => "give it `priority`",
    Snooze => "make it due at `until`, or `for_s` from now",
    Approve => "approve everything that it asks for",
    Deny => "deny everything that it asks for",
});

/// One change of many tasks: an action, and either `ids` or a `filter`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BulkChange, examples(json!({"action": "cancel", "filter": {"tag": "import", "status": ["pending"]}, "dry_run": true})))]
pub(super) struct Order {
    /// What to do to each task.
    action: BulkAction,
    /// Ids of the tasks.
    #[serde(default)]
    #[schema(max_items = 10_000)]
    ids: Vec<TaskId>,
    /// Conditions that the tasks meet.
    #[schema(value_type = Option<BulkFilter>)]
    filter: Option<Map<String, Value>>,
    /// Whether to change nothing and only tell how many tasks it would be.
    #[serde(default)]
    dry_run: bool,
    /// New priority, for `reprioritise`: 0 (can wait) to 10 (urgent).
    #[schema(maximum = 10)]
    priority: Option<u8>,
    /// New time, for `snooze`.
    #[schema(value_type = Option<TimeInput>)]
    until: Option<Value>,
    /// Seconds from now, for `snooze`; at most ten years.
    #[schema(maximum = 316_224_000)]
    for_s: Option<u64>,
    /// Name of the person who wants it, for the history.
    by: Option<String>,
    /// Why, for the history.
    note: Option<String>,
    /// Most tasks that this request changes when it has a `filter`; 1,000 without it.
    #[schema(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
    /// Where it goes on: `next` of the request before.
    after: Option<String>,
}

/// Conditions that the tasks of a bulk change meet, all of them. At least one is needed, or `all`.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `TaskFilter::parse` reads")]
struct BulkFilter {
    /// Whether no condition is meant to be all tasks.
    all: Option<bool>,
    /// Statuses, any of which the task has: a list, or text with commas.
    status: Option<Statuses>,
    /// Agent that must run the task.
    agent: Option<String>,
    /// One of the tags of the task.
    tag: Option<String>,
    /// User on whose behalf the task runs.
    user: Option<String>,
    /// Schedule whose firing created the task.
    schedule: Option<String>,
    /// Task that created the task, or that it is a part of.
    parent: Option<TaskId>,
    /// Concurrency key of the task.
    concurrency_key: Option<String>,
    /// Text that the goal contains, in any case.
    text: Option<String>,
    /// Time at which the task was there already.
    created_before: Option<TimeInput>,
}

/// Statuses: a list, or text with commas.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what `TaskFilter::parse` reads")]
enum Statuses {
    List(Vec<TaskStatus>),
    Text(String),
}

/// Changes many tasks in one way.
///
/// The tasks are those in `ids`, or those that meet all conditions of `filter`. Tasks that do not allow the change are not meant, and a
/// refusal does not stop the others. With a `filter`, a request changes at most `limit` tasks; when the answer has `next`, send it as
/// `after` and `as_of` as `created_before` of the filter.
#[utoipa::path(
    post,
    path = "/tasks/bulk",
    operation_id = "changeTasks",
    tag = "Tasks",
    request_body = Order,
    responses(
        (status = 200, description = "What was changed, or would be.", body = BulkReport),
    ),
)]
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
            BulkAction::Cancel => BulkChange::Event(TaskEvent::CancelRequested),
            BulkAction::Retry => BulkChange::Event(TaskEvent::Requeued),
            BulkAction::Reprioritise => BulkChange::Event(reprioritised(self.priority)?),
            BulkAction::Snooze => BulkChange::Event(snoozed(self.until.as_ref(), self.for_s, zone, now)?),
            BulkAction::Approve => BulkChange::Decide(ApprovalOutcome::Approved),
            BulkAction::Deny => BulkChange::Decide(ApprovalOutcome::Denied),
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
