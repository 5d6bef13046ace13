//! One change of many tasks: of those with these ids, or of all that pass a filter.

use std::collections::HashSet;

use axum::Json;
use axum::extract::State;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::Value;

use super::error::Problem;
use super::tasks::{self, Who};
use super::views::bulk::{BulkReport, Refusal};
use super::{Parts, Shared, approvals, extract, paging};
use crate::clock;
use crate::domain::approval::{Approval, Ruling, Verdict};
use crate::domain::event::Event;
use crate::domain::id::TaskId;
use crate::domain::schedule::zone::Zone;
use crate::domain::task::{MAX_PRIORITY, Task, TaskEvent, TaskStatus, limits};
use crate::domain::time::Timestamp;
use crate::store::{Found, TaskFilter};
use crate::telemetry::metrics;

/// Tasks read at once.
const PAGE: u32 = 500;
/// Tasks changed at once; their changes share writes.
const PARALLEL: usize = 128;
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
    filter: Option<Wanted>,
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

/// Which tasks. At least one condition, or `all`, so that nothing forgotten means all.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    status: Vec<String>,
    agent: Option<String>,
    tag: Option<String>,
    user: Option<String>,
    schedule: Option<String>,
    /// Made by this task.
    parent: Option<TaskId>,
    concurrency_key: Option<String>,
    /// Part of the goal, in any case.
    text: Option<String>,
    created_before: Option<Value>,
    #[serde(default)]
    all: bool,
}

/// Which tasks, read.
struct Selection {
    filter: TaskFilter,
    /// Lower case.
    text: Option<String>,
}

/// What is done to a task.
enum Change {
    Same(TaskEvent),
    /// Whatever it asks for when it is met.
    Decide(Verdict),
}

/// Does one thing to many tasks. One that is refused does not stop the others.
pub(super) async fn bulk(
    State(parts): State<Shared>,
    extract::Json(order): extract::Json<Order>,
) -> Result<Json<BulkReport>, Problem> {
    let now = clock::now();
    let change = order.change(parts.zone, now)?;
    let who = Who { by: order.by.clone(), note: order.note.clone() };
    let mut report = BulkReport { dry_run: order.dry_run, as_of: now.to_rfc3339(), ..BulkReport::default() };
    match (&order.filter, order.ids.is_empty()) {
        (None, false) => {
            check_ids(order.ids.len())?;
            let mut tasks = Vec::with_capacity(order.ids.len());
            for id in &order.ids {
                match parts.store.find(*id).await? {
                    Some(Found { task, unreadable: None }) => tasks.push(task),
                    Some(found) => unreadable(&parts, found, &change, &who, &mut report).await?,
                    None => report.refused.push(Refusal { task_id: *id, reason: tasks::missing(*id).detail }),
                }
            }
            work(&parts, tasks, &change, &who, now, &mut report).await?;
        }
        (Some(wanted), true) => {
            let selection = wanted.read(&change, parts.zone, now)?;
            report.as_of = selection.filter.created_before.unwrap_or(now).to_rfc3339();
            let limit = match order.limit.unwrap_or(DEFAULT_LIMIT) {
                limit @ 1..=MAX_LIMIT => limit,
                limit => return Err(Problem::bad_request(format!("limit = {limit}: use 1 to {MAX_LIMIT}"))),
            };
            let after = paging::start(order.after.as_deref())?;
            sweep(&parts, &selection, &change, &who, limit, after, &mut report).await?;
        }
        _ => return Err(Problem::bad_request(r#"send either {"ids": [...]} or {"filter": {...}}"#)),
    }
    Ok(Json(report))
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

/// Stops a point that cannot be read as a task, which is all that can be done to it.
async fn unreadable(
    parts: &Parts,
    found: Found,
    change: &Change,
    who: &Who,
    report: &mut BulkReport,
) -> Result<(), Problem> {
    let task_id = found.task.id;
    let reason = found.unreadable.clone().unwrap_or_default();
    report.matched += 1;
    let outcome = match change {
        Change::Same(TaskEvent::CancelRequested) if report.dry_run => Ok(()),
        Change::Same(TaskEvent::CancelRequested) => tasks::cancel_unreadable(parts, found, who).await.map(drop),
        _ => Err(Problem::conflict(format!("task {task_id} cannot be read, only cancelled: {reason}"))),
    };
    match outcome {
        Ok(()) => report.done += 1,
        Err(problem) if problem.status == 503 => return Err(problem),
        Err(problem) => report.refused.push(Refusal { task_id, reason: problem.detail }),
    }
    Ok(())
}

/// Works through all tasks of a selection, as far as `limit`; a dry run counts them all.
async fn sweep(
    parts: &Parts,
    selection: &Selection,
    change: &Change,
    who: &Who,
    limit: usize,
    mut after: Option<String>,
    report: &mut BulkReport,
) -> Result<(), Problem> {
    if selection.filter.statuses.is_empty() {
        return Ok(());
    }
    let by_status_alone = selection.text.is_none() && matches!(change, Change::Same(_));
    if report.dry_run && by_status_alone {
        report.matched = parts.store.count_tasks(&selection.filter).await?;
        report.done = report.matched;
        return Ok(());
    }
    let mut left = if report.dry_run { usize::MAX } else { limit };
    loop {
        let size = u32::try_from(left).unwrap_or(PAGE).min(PAGE);
        let page = parts.store.tasks(&selection.filter, size, after.as_deref()).await?;
        left = left.saturating_sub(page.items.len());
        let meant = page.items.into_iter().filter(|task| selection.means(task)).collect();
        work(parts, meant, change, who, clock::now(), report).await?;
        after = page.next;
        if after.is_none() || left == 0 {
            report.next = after;
            return Ok(());
        }
    }
}

/// Changes these tasks, or tells what would become of them.
async fn work(
    parts: &Parts,
    found: Vec<Task>,
    change: &Change,
    who: &Who,
    now: Timestamp,
    report: &mut BulkReport,
) -> Result<(), Problem> {
    report.matched += found.len() as u64;
    let mut events = Vec::new();
    let mut again = HashSet::new();
    let dry_run = report.dry_run;
    let mut letters = match change {
        // Seen before, since a task may fail again at once, and its new letter stays.
        Change::Same(TaskEvent::Requeued) if !dry_run => {
            parts.store.seen_letters(&found.iter().map(|task| task.id).collect::<Vec<_>>()).await?
        }
        _ => Vec::new(),
    };
    let outcomes = stream::iter(found).map(|task| async move {
        let event = change.of(&task, who, now);
        let id = task.id;
        let outcome = if dry_run {
            task.apply(&event, now).map_err(|error| Problem::conflict(error.to_string()))
        } else {
            tasks::apply(parts, task, &event).await
        };
        (id, event, outcome)
    });
    let outcomes: Vec<_> = outcomes.buffer_unordered(PARALLEL).collect().await;
    for (id, event, outcome) in outcomes {
        match outcome {
            Ok(_) if report.dry_run => report.done += 1,
            Ok(task) => {
                report.done += 1;
                tasks::follow(parts, &task, &event);
                if let Change::Decide(verdict) = change {
                    metrics::APPROVALS_DECIDED.inc([verdict.as_str()]);
                }
                if event == TaskEvent::Requeued {
                    again.insert(id);
                }
                events.push(who.sign(Event::new(event.name(), tasks::told(&event), now)).task(id));
            }
            // The store does not answer: what is left would fail the same way.
            Err(problem) if problem.status == 503 => return Err(problem),
            Err(problem) => report.refused.push(Refusal { task_id: id, reason: problem.detail }),
        }
    }
    if !again.is_empty() {
        letters.retain(|letter| again.contains(&letter.task));
        parts.store.purge_seen_letters(&letters).await?;
        parts.runner.sweep();
    }
    tasks::record(parts, &events).await;
    Ok(())
}

impl Order {
    fn change(&self, zone: Zone, now: Timestamp) -> Result<Change, Problem> {
        Ok(match self.action {
            Action::Cancel => Change::Same(TaskEvent::CancelRequested),
            Action::Retry => Change::Same(TaskEvent::Requeued),
            Action::Reprioritise => Change::Same(reprioritised(self.priority)?),
            Action::Snooze => Change::Same(snoozed(self.until.as_ref(), self.for_s, zone, now)?),
            Action::Approve => Change::Decide(Verdict::Approved),
            Action::Deny => Change::Decide(Verdict::Denied),
        })
    }
}

/// The event that gives a task this priority.
pub(super) fn reprioritised(priority: Option<u8>) -> Result<TaskEvent, Problem> {
    match priority {
        Some(priority) => match limits::priority_fault(priority) {
            None => Ok(TaskEvent::Reprioritised(priority)),
            Some(fault) => Err(Problem::bad_request(fault)),
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

impl Change {
    fn of(&self, task: &Task, who: &Who, now: Timestamp) -> TaskEvent {
        match self {
            Self::Same(event) => event.clone(),
            Self::Decide(verdict) => {
                let open = task.approvals.iter().filter(|approval| approval.is_open() && !approval.is_over(now));
                let hashes = open.map(|approval: &Approval| approval.hash.clone()).collect();
                approvals::event(Ruling { hashes, by: who.by.clone(), note: who.note.clone() }, *verdict)
            }
        }
    }

    /// The statuses in which a task can be changed so.
    fn statuses(&self, now: Timestamp) -> Vec<TaskStatus> {
        let allows = |status: &TaskStatus| match self {
            Self::Same(event) => {
                let task = Task { status: *status, ..Task::new(TaskId::Number(0), "", now) };
                task.apply(event, now).is_ok()
            }
            Self::Decide(_) => *status == TaskStatus::AwaitingApproval,
        };
        TaskStatus::ALL.into_iter().filter(allows).collect()
    }
}

impl Wanted {
    /// The filter, narrowed to tasks that can be changed so and were there when the first request came.
    fn read(&self, change: &Change, zone: Zone, now: Timestamp) -> Result<Selection, Problem> {
        let texts = [&self.agent, &self.tag, &self.user, &self.schedule, &self.concurrency_key, &self.text];
        let names_some = !self.status.is_empty() || self.parent.is_some() || texts.iter().any(|text| text.is_some());
        if !self.all && !names_some && self.created_before.is_none() {
            return Err(Problem::bad_request(r#"the filter is empty: name a condition, or say {"all": true}"#));
        }
        let asked: Result<Vec<TaskStatus>, _> = self.status.iter().map(|word| word.parse()).collect();
        let asked = asked.map_err(|error| Problem::bad_request(error.to_string()))?;
        let mut statuses = change.statuses(now);
        statuses.retain(|status| asked.is_empty() || asked.contains(status));
        let created_before = self.created_before.as_ref().map(|before| zone.read(before)).transpose();
        let created_before =
            created_before.map_err(|error| Problem::bad_request(format!("created_before: {error}")))?.unwrap_or(now);
        let filter = TaskFilter {
            statuses,
            agent: self.agent.clone(),
            tag: self.tag.clone(),
            user: self.user.clone(),
            schedule_id: self.schedule.clone(),
            tree_root: None,
            parent: self.parent,
            concurrency_key: self.concurrency_key.clone(),
            created_before: Some(created_before.min(now)),
        };
        Ok(Selection { filter, text: self.text.as_ref().map(|text| text.to_lowercase()) })
    }
}

impl Selection {
    fn means(&self, task: &Task) -> bool {
        self.text.as_ref().is_none_or(|text| task.goal.to_lowercase().contains(text))
    }
}
