//! A task: what shall be done, and how far it is. [`TaskStatus`] says where it stands, [`TaskEvent`] what can happen to it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::approval::Approval;
use super::dependency::OnDependencyFailure;
use super::failure::Failure;
use super::id::TaskId;
use super::outage::Postponement;
use super::plan::Plan;
use super::time::Timestamp;
use super::tree::Lineage;
use super::unique::UniqueFor;

mod filter;
mod limits;
mod spec;
mod status;
mod transition;

pub use filter::{InvalidFilter, TaskFilter};
pub use limits::SpecLimits;
pub use spec::{InvalidSpec, SpecFault, TaskSpec};
pub use status::{InvalidStatus, TaskStatus};
pub use transition::{IllegalTransition, TaskEvent};

/// Priority of a task that names none.
pub const DEFAULT_PRIORITY: u8 = 5;
/// Highest priority.
pub const MAX_PRIORITY: u8 = 10;
/// Attempts of a task that names no number.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 3;
/// Time limit of one attempt, in seconds, of a task that names none.
pub const DEFAULT_TIMEOUT_S: u64 = 600;
/// A task whose process died this often while running it, and that got no further in as many runs, is not run again.
pub const MAX_CRASHES: u32 = 3;

/// Head start in milliseconds that each level of priority is worth in the order of due tasks.
const HEAD_START_MS: i64 = 60_000;

/// The right to carry out a task: given to one replica at a time, and the fence of everything it writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Unique token of the claim; a batch claimed together shares it.
    pub token: String,
    /// Id of the replica that holds it.
    pub owner: String,
}

/// A task: what shall be done, and how far it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Id of the task and of its point.
    pub id: TaskId,
    /// What the agent shall achieve.
    pub goal: String,
    /// Where it stands.
    pub status: TaskStatus,
    /// When it becomes due.
    pub run_at: Timestamp,
    /// 0 (can wait) to 10 (urgent).
    pub priority: u8,
    /// Agent it must go to; any capable one otherwise.
    pub agent: Option<String>,
    /// What its agent must be able to do.
    pub capabilities: Vec<String>,
    /// Tasks that must have ended before it becomes pending.
    pub depends_on: Vec<TaskId>,
    /// What it does when one of those ends otherwise than completed.
    pub on_dependency_failure: OnDependencyFailure,
    /// Task that made it.
    pub parent: Option<TaskId>,
    /// The tree it belongs to, and what that allows it.
    pub lineage: Lineage,
    /// Key that keeps out others with the same.
    pub unique_key: Option<String>,
    /// How long the key had to be free for it to be inserted.
    pub unique_for: UniqueFor,
    /// Whose share of the capacity it takes, e.g. a customer; limits may apply to it.
    pub concurrency_key: Option<String>,
    /// Schedule whose firing it is.
    pub schedule_id: Option<String>,
    /// Attempts that ended in failure and were charged.
    pub attempt: u32,
    /// Attempts it may have.
    pub max_attempts: u32,
    /// Times its process died while running it.
    pub crashes: u32,
    /// Runs that ended uncharged: handed back unfinished, or cancelled; once it was requeued, all its runs before that too.
    pub releases: u32,
    /// Time limit of one attempt, in seconds.
    pub timeout_s: u64,
    /// Plan to carry out; made by a model when absent.
    pub plan: Option<Plan>,
    /// Data for the agent.
    pub context: Map<String, Value>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// On whose behalf it runs.
    pub user: Option<String>,
    /// Who runs it; only while running.
    pub claim: Option<Claim>,
    /// When it was inserted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it reached a terminal status.
    pub finished_at: Option<Timestamp>,
    /// What came of it.
    pub result: Option<Value>,
    /// The last failure; cleared when it completes.
    pub error: Option<Failure>,
    /// Why it waits for its model; cleared when it goes on.
    pub postponed: Option<Postponement>,
    /// Somebody asked to stop it while it was running.
    pub cancel_requested: bool,
    /// What people were asked about it, and what they decided.
    pub approvals: Vec<Approval>,
    /// Fields of the point that qron does not know; kept as they are.
    pub extra: Map<String, Value>,
}

impl Task {
    /// Whether there is nothing to run: its plan has no steps. It completes as soon as it is claimed, e.g. once all that it
    /// depends on is done, and leaves no trace but its own times and result.
    #[must_use]
    pub fn is_milestone(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.steps.is_empty())
    }

    /// Whether its run asks a model: it has no plan of its own, or one that needs judgement.
    #[must_use]
    pub fn needs_model(&self) -> bool {
        self.plan.as_ref().is_none_or(Plan::needs_judgement)
    }

    /// A task for `goal`, due at once, with defaults everywhere else.
    #[must_use]
    pub fn new(id: TaskId, goal: impl Into<String>, now: Timestamp) -> Self {
        Self {
            id,
            goal: goal.into(),
            status: TaskStatus::Pending,
            run_at: now,
            priority: DEFAULT_PRIORITY,
            agent: None,
            capabilities: Vec::new(),
            depends_on: Vec::new(),
            on_dependency_failure: OnDependencyFailure::default(),
            parent: None,
            lineage: Lineage::default(),
            unique_key: None,
            unique_for: UniqueFor::default(),
            concurrency_key: None,
            schedule_id: None,
            attempt: 0,
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            crashes: 0,
            releases: 0,
            timeout_s: DEFAULT_TIMEOUT_S,
            plan: None,
            context: Map::new(),
            tags: Vec::new(),
            user: None,
            claim: None,
            created_at: now,
            updated_at: now,
            finished_at: None,
            result: None,
            error: None,
            postponed: None,
            cancel_requested: false,
            approvals: Vec::new(),
            extra: Map::new(),
        }
    }

    /// Place in the order of due tasks, in milliseconds: `run_at` minus a head start of a minute for each
    /// level of priority. Urgent tasks go first, and old ones still advance past newer urgent ones.
    #[must_use]
    pub fn rank(&self) -> i64 {
        self.run_at.as_millis().saturating_sub(i64::from(self.priority) * HEAD_START_MS)
    }

    /// How often it was started before, charged or not. Zero means that there is no checkpoint to look for.
    #[must_use]
    pub const fn earlier_runs(&self) -> u32 {
        self.attempt.saturating_add(self.crashes).saturating_add(self.releases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Timestamp = Timestamp::from_millis(2_000_000);

    #[test]
    fn urgency_is_a_head_start_not_a_right_of_way() {
        let urgent_now = Task { priority: 10, ..Task::new(TaskId::Number(1), "urgent", LATER) };
        let old = Task { priority: 0, ..Task::new(TaskId::Number(2), "old", LATER.plus_millis(-11 * 60_000)) };
        let recent = Task { priority: 0, ..Task::new(TaskId::Number(3), "recent", LATER.plus_millis(-60_000)) };
        assert!(old.rank() < urgent_now.rank());
        assert!(urgent_now.rank() < recent.rank());
    }
}
