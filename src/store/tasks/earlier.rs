//! What earlier runs left of tasks whose points another client has written anew.

use std::collections::HashMap;

use qdrant_client::qdrant::{Condition, Filter, RetrievedPoint};
use serde_json::{Value, json};

use super::fields::ADMITTED;
use super::writer::set_payload;
use crate::domain::attempt::AttemptStatus;
use crate::domain::id::TaskId;
use crate::domain::number;
use crate::domain::task::{Claim, TaskStatus};
use crate::domain::time::Timestamp;
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::Part;
use crate::store::qdrant::values::{from_payload, point_id};
use crate::store::records::attempts::{HAS_CHECKPOINT, RETIRED};
use crate::store::{Store, StoreError};

/// Tasks whose attempts are read in one request.
const IDS: usize = 256;

/// The newest run of a task, as its attempt record tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierRun {
    /// Number of the attempt.
    pub number: u32,
    /// How it ended, or that it has not.
    pub status: AttemptStatus,
    /// The claim under which it ran.
    pub claim: Claim,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Hash of what the task asked for; `None` when an older version ran it.
    pub spec: Option<String>,
}

/// Whether a run still has its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// It has.
    Held,
    /// Another client has written the point anew; admission decides whether the run goes on.
    Undecided,
    /// It has lost it.
    Lost,
}

impl Store {
    /// The newest run of each of `tasks` that has left a record.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn earlier_runs(&self, tasks: &[TaskId]) -> Result<HashMap<TaskId, EarlierRun>, StoreError> {
        const FIELDS: &[&str] = &["task_id", "number", "status", "claim", "replica", "finished_at", "spec"];
        let mut newest: HashMap<TaskId, EarlierRun> = HashMap::new();
        for chunk in tasks.chunks(IDS) {
            let ids: Vec<String> = chunk.iter().map(ToString::to_string).collect();
            let filter = Filter::must([Condition::matches("task_id", ids)]);
            let part = Part::Only(FIELDS);
            let points = self.inner.scroll_all("earlier_runs", Collection::Attempts, filter, part, usize::MAX).await?;
            for (task, run) in points.into_iter().filter_map(earlier_run) {
                match newest.get(&task) {
                    Some(known) if known.number >= run.number => {}
                    _ => drop(newest.insert(task, run)),
                }
            }
        }
        Ok(newest)
    }

    /// Makes the next run of `task` begin at the beginning: the checkpoints of its attempts are kept for people, and no run
    /// goes on from them.
    ///
    /// # Errors
    /// A failure of the store; calling again is safe.
    pub async fn retire_attempts(&self, task: TaskId) -> Result<(), StoreError> {
        let filter = Filter::must([Condition::matches("task_id", task.to_string())]);
        let patch = [(HAS_CHECKPOINT.to_owned(), json!(false)), (RETIRED.to_owned(), json!(true))];
        let operation = set_payload(patch.into_iter().collect(), filter);
        self.inner.update_batch("retire_attempts", Collection::Attempts, vec![operation]).await
    }

    /// Whether the run of `task` under the claim `token` still has it.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn holding(&self, task: TaskId, token: &str) -> Result<Holding, StoreError> {
        let part = Part::Only(&["claim", "status", ADMITTED]);
        let mut points = self.inner.get("holding", Collection::Tasks, vec![point_id(task)], part).await?;
        let Some(payload) = points.pop().map(|point| from_payload(point.payload)) else { return Ok(Holding::Lost) };
        let is = |key: &str, text: &str| payload.get(key).and_then(Value::as_str) == Some(text);
        Ok(match payload.get(ADMITTED) {
            Some(Value::Bool(true)) if is("claim", token) && is("status", TaskStatus::Running.as_str()) => {
                Holding::Held
            }
            // It was made pending while it runs, and is handed back to admission for that.
            Some(Value::Bool(true)) if is("claim", token) && is("status", TaskStatus::Pending.as_str()) => {
                Holding::Undecided
            }
            Some(Value::Bool(true)) => Holding::Lost,
            _ => Holding::Undecided,
        })
    }
}

fn earlier_run(point: RetrievedPoint) -> Option<(TaskId, EarlierRun)> {
    let payload = from_payload(point.payload);
    let text = |key: &str| Some(payload.get(key)?.as_str()?.to_owned());
    let task: TaskId = match payload.get("task_id")? {
        Value::String(text) => text.parse().ok()?,
        other => TaskId::Number(other.as_u64()?),
    };
    let run = EarlierRun {
        number: u32::try_from(number::count_of(payload.get("number")?)?).unwrap_or(u32::MAX),
        status: serde_json::from_value(payload.get("status")?.clone()).ok()?,
        claim: Claim { token: text("claim")?, owner: text("replica")? },
        finished_at: payload.get("finished_at").and_then(Timestamp::of_stored),
        spec: text("spec"),
    };
    Some((task, run))
}
