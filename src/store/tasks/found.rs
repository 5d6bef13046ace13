//! Points of tasks as people look at them: also those that do not read as a task, with the reason.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::codec;
use super::fields::{ADMITTED, SETTLED_BY};
use super::newest::{Order, PageCursor};
use super::read::{SUMMARY, UNDECODABLE};
use super::writer::{Change, Fence, Proof};
use crate::clock;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::id::TaskId;
use crate::domain::schedule::zone::Zone;
use crate::domain::task::{Task, TaskStatus};
use crate::domain::time::Timestamp;
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::Part;
use crate::store::qdrant::values::{from_payload, point_id, task_id};
use crate::store::{Page, RawTask, Store, StoreError, TaskFilter};

/// A point of the tasks collection as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The task; of a point that cannot be read as much as can be.
    pub task: Task,
    /// Why the point does not read as a task; `None` when it does.
    pub unreadable: Option<String>,
}

impl Store {
    /// The point of a task, readable or not. One that waits for admission is shown as admission will read it.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn find(&self, id: TaskId) -> Result<Option<Found>, StoreError> {
        let read = |part| self.inner.get("task", Collection::Tasks, vec![point_id(id)], part);
        let mut points = match read(Part::All).await {
            Err(error) if error.is_undecodable() => {
                let mut points = read(Part::Only(SUMMARY)).await?;
                for point in &mut points {
                    point.payload.insert(UNDECODABLE.to_owned(), true.into());
                }
                points
            }
            answer => answer?,
        };
        Ok(points.pop().map(|point| found(id, from_payload(point.payload), self.inner.zone, clock::now())))
    }

    /// Why the point of a task that was refused as unreadable would be refused again; `None` when it has been corrected. `written` is
    /// the point as it was when it was refused: its time was put in the place of one that could not be read.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn still_refused(&self, id: TaskId, written: &Map<String, Value>) -> Result<Option<String>, StoreError> {
        let points = self.inner.get("task", Collection::Tasks, vec![point_id(id)], Part::All).await?;
        let Some(point) = points.into_iter().next() else { return Ok(None) };
        let mut payload = from_payload(point.payload);
        // The refusal wrote its own time and status over those of the point.
        if has_time_of_refusal(&payload) {
            match written.get("run_at") {
                Some(run_at) => payload.insert("run_at".to_owned(), run_at.clone()),
                None => payload.remove("run_at"),
            };
        }
        payload.insert("status".to_owned(), json!(TaskStatus::Pending));
        payload.retain(|field, _| !WRITTEN_BY_REFUSAL.contains(&field.as_str()));
        let raw = RawTask { id, payload };
        Ok(raw.read(self.inner.zone, clock::now()).err().map(|failure| failure.message))
    }

    /// When the point of `task` asks to run, if it was refused as unreadable: as its fields tell now, which a person may have corrected.
    /// `None` for other tasks.
    ///
    /// # Errors
    /// A failure of the store.
    pub(super) async fn time_of_refused(&self, task: &Task, now: Timestamp) -> Result<Option<PointTime>, StoreError> {
        let was_invalid = task.state.error.as_ref().is_some_and(|error| error.class == FailureClass::Invalid);
        if !was_invalid || task.state.earlier_runs() > 0 {
            return Ok(None);
        }
        let points = self.inner.get("task", Collection::Tasks, vec![point_id(task.id)], Part::All).await?;
        Ok(points.into_iter().next().map(|point| {
            let mut payload = from_payload(point.payload);
            let is_of_refusal = has_time_of_refusal(&payload);
            if is_of_refusal {
                payload.remove("run_at");
            }
            PointTime { at: RawTask { id: task.id, payload }.run_at(self.inner.zone, now), is_of_refusal }
        }))
    }

    /// [`Store::ordered`] with the points among them that do not read as a task.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn ordered_points(
        &self,
        filter: &TaskFilter,
        order: Order,
        limit: u32,
        after: Option<PageCursor>,
    ) -> Result<Page<Found>, StoreError> {
        let (points, next) = self.ordered_raw(filter, order, limit, after).await?;
        let now = clock::now();
        let items = points.into_iter().filter_map(|point| {
            let id = task_id(point.id.as_ref())?;
            Some(found(id, from_payload(point.payload), self.inner.zone, now))
        });
        Ok(Page { items: items.filter(|found| filter.has_text(&found.task)).collect(), next })
    }

    /// Stops a point that does not read as a task, for `reason`: at once, unless a replica runs it, which is asked to stop.
    /// `Ok(None)` when it has changed meanwhile.
    ///
    /// # Errors
    /// A failure of the store; calling again is safe.
    pub async fn cancel_unreadable(
        &self,
        task: &Task,
        reason: &str,
        now: Timestamp,
    ) -> Result<Option<Task>, StoreError> {
        let change = match &task.state.claim {
            Some(claim) => Change {
                id: task.id,
                fence: Fence::Held(claim.token.clone()),
                patch: Map::from_iter([("cancel_requested".to_owned(), json!(true))]),
                proof: Proof::CancelRequested(claim.token.clone()),
            },
            None => cancelled(task, reason, now),
        };
        let next = task.clone().with(|task| {
            if task.state.claim.is_some() {
                task.state.cancel_requested = true;
            } else {
                task.state.status = TaskStatus::Cancelled;
                task.state.finished_at = Some(now);
                task.state.updated_at = now;
            }
        });
        Ok(self.commit(change).await?.then_some(next))
    }
}

/// When a refused point asks to run.
#[derive(Clone, Copy, Debug)]
pub(super) struct PointTime {
    /// The time.
    pub(super) at: Timestamp,
    /// Whether its field `run_at` holds the time of the refusal, which hides the other names that a time is read from.
    pub(super) is_of_refusal: bool,
}

/// Whether `run_at` holds the time at which the point was refused, which [`Store::reject`] writes when the point has no `run_at` that can
/// be read.
fn has_time_of_refusal(payload: &Map<String, Value>) -> bool {
    payload.get("run_at").is_some_and(|at| !at.is_null()) && payload.get("run_at") == payload.get("finished_at")
}

/// Fields that the refusal of a point writes, beside its status and its time.
const WRITTEN_BY_REFUSAL: [&str; 8] =
    ["error", "finished_at", "updated_at", "rank", "claim", "owner", ADMITTED, SETTLED_BY];

/// The change that ends a point which nobody runs.
fn cancelled(task: &Task, reason: &str, now: Timestamp) -> Change {
    let mark = Uuid::new_v4().simple().to_string();
    let message = format!("cancelled on request; it could not be read as a task: {reason}");
    let fields = [
        ("status", json!(TaskStatus::Cancelled)),
        ("error", json!(Failure::new(FailureClass::Cancelled, message))),
        ("run_at", json!(task.spec.run_at)),
        ("updated_at", json!(now)),
        ("finished_at", json!(now)),
        ("rank", Value::Null),
        ("owner", Value::Null),
        (ADMITTED, json!(true)),
        (SETTLED_BY, json!(mark)),
    ];
    let patch = fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Change { id: task.id, fence: Fence::Unheld, patch, proof: Proof::Mark(mark) }
}

/// A point as a task, or as much of it as can be read.
fn found(id: TaskId, payload: Map<String, Value>, zone: Zone, now: Timestamp) -> Found {
    if payload.contains_key(UNDECODABLE) {
        let reason = "its payload is nested deeper than the protocol of the store can tell";
        let status = payload.get("status").and_then(Value::as_str).and_then(|word| word.parse().ok());
        let task = RawTask { id, payload: Map::new() }.salvage(zone, now);
        let task = task.with(|task| task.state.status = status.unwrap_or(task.state.status));
        return Found { task, unreadable: Some(reason.to_owned()) };
    }
    let raw = RawTask { id, payload };
    match codec::decode(id, raw.payload.clone(), zone, now) {
        Ok(task) => Found { task, unreadable: None },
        Err(StoreError::Corrupt { reason, .. }) => Found { task: raw.salvage(zone, now), unreadable: Some(reason) },
        Err(error) => Found { task: raw.salvage(zone, now), unreadable: Some(error.to_string()) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_of_an_unreadable_point_is_shown_with_the_reason() {
        let now = Timestamp::from_millis(1_767_225_600_000);
        for (payload, status, expected) in [
            (
                json!({"goal": "x", "status": "pending", "timeout_s": "soon", "admitted": true}),
                TaskStatus::Pending,
                "timeout_s",
            ),
            (json!({"goal": "x", "status": "waiting", "plan": 7, "admitted": true}), TaskStatus::Waiting, "plan"),
            (json!({"goal": "x", "status": "hibernating", "admitted": true}), TaskStatus::Waiting, "hibernating"),
            (
                json!({"goal": "x", "status": "awaiting_approval", "approvals": 3, "admitted": true}),
                TaskStatus::AwaitingApproval,
                "approvals",
            ),
            (json!({"goal": 5, "status": "PENDING"}), TaskStatus::Pending, "goal"),
            (json!({"goal": "x", "approval": "perhaps"}), TaskStatus::Pending, "approval"),
            (json!({"status": "running", "unreadable": true}), TaskStatus::Running, "goal"),
            (json!({"status": "running", UNDECODABLE: true}), TaskStatus::Running, "nested deeper"),
        ] {
            let Value::Object(payload) = payload else { unreachable!() };
            let found = found(TaskId::Number(7), payload, Zone::UTC, now);
            assert_eq!(found.task.state.status, status, "{found:?}");
            let reason = found.unreadable.expect("a reason");
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
