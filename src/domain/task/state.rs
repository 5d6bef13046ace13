//! How far the execution of a task is: everything that a caller does not order.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::TaskStatus;
use crate::domain::approval::Approval;
use crate::domain::delegation::Awaited;
use crate::domain::failure::Failure;
use crate::domain::outage::Postponement;
use crate::domain::time::Timestamp;

/// The right to carry out a task: given to one replica at a time, and the fence of everything it writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Unique token of the claim; a batch claimed together shares it.
    pub token: String,
    /// Id of the replica that holds it.
    pub owner: String,
}

/// How far the execution of a task is. The time at which the task is due is in its [`TaskSpec`](super::TaskSpec).
#[derive(Clone, Debug, PartialEq)]
pub struct TaskState {
    /// Where the task stands.
    pub status: TaskStatus,
    /// Attempts that ended in failure and were charged.
    pub attempt: u32,
    /// Times that the process of its replica died while running it.
    pub crashes: u32,
    /// Runs that ended uncharged: handed back unfinished, or cancelled. A requeue adds all earlier runs.
    pub releases: u32,
    /// The claim of the replica that runs it; only while it is running.
    pub claim: Option<Claim>,
    /// When it was inserted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it reached a terminal status.
    pub finished_at: Option<Timestamp>,
    /// Its result.
    pub result: Option<Value>,
    /// The last failure; cleared when it completes.
    pub error: Option<Failure>,
    /// Why it waits for its model; cleared when it goes on.
    pub postponed: Option<Postponement>,
    /// The tasks that carry out steps of it, while it waits for them.
    pub awaits: Option<Awaited>,
    /// Whether a person requested to cancel it while it was running.
    pub cancel_requested: bool,
    /// Whether the task whose step it carries out has stopped it.
    pub withdrawn: bool,
    /// Requests for the approval of a person, with their decisions.
    pub approvals: Vec<Approval>,
    /// Fields of the point that qron does not know; it keeps them as they are.
    pub extra: Map<String, Value>,
}

impl TaskState {
    /// The state of a task inserted at `now`, before anything happened to it.
    #[must_use]
    pub fn new(status: TaskStatus, now: Timestamp) -> Self {
        Self {
            status,
            attempt: 0,
            crashes: 0,
            releases: 0,
            claim: None,
            created_at: now,
            updated_at: now,
            finished_at: None,
            result: None,
            error: None,
            postponed: None,
            awaits: None,
            cancel_requested: false,
            withdrawn: false,
            approvals: Vec::new(),
            extra: Map::new(),
        }
    }

    /// How often the task was started before, charged or not. Zero means that there is no checkpoint to look for.
    #[must_use]
    pub const fn earlier_runs(&self) -> u32 {
        self.attempt.saturating_add(self.crashes).saturating_add(self.releases)
    }
}
