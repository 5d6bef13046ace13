//! An order: what a caller wants done, before it is a task. The API, the command line, the templates of schedules, the tool
//! `create_task` and the points of other clients all become a [`TaskSpec`], and [`TaskSpec::validate`] judges them all.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::{DEFAULT_MAX_ATTEMPTS, DEFAULT_PRIORITY, DEFAULT_TIMEOUT_S, SpecLimits, Task, TaskState, TaskStatus};
use crate::domain::approval::{Approval, ApprovalPolicy, ApprovalRequirement};
use crate::domain::dependency::OnDependencyFailure;
use crate::domain::id::TaskId;
use crate::domain::json::{Size, is_deeper};
use crate::domain::plan::Plan;
use crate::domain::time::Timestamp;
use crate::domain::tree::Lineage;
use crate::domain::unique::UniqueFor;

/// Head start in milliseconds that each level of priority is worth in the order of due tasks.
const HEAD_START_MS: i64 = 60_000;

/// What a caller orders.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskSpec {
    /// What the agent shall achieve.
    pub goal: String,
    /// When it becomes due. A retry, a postponement, a snooze and a requeue of the task move it: the task is due at one time,
    /// and the one that was ordered first is not kept.
    pub run_at: Timestamp,
    /// 0 (can wait) to 10 (urgent). A person may change it until the task begins.
    pub priority: u8,
    /// Agent it must go to; any capable one otherwise.
    pub agent: Option<String>,
    /// What its agent must be able to do.
    pub capabilities: Vec<String>,
    /// Tasks that must have ended before it becomes pending.
    pub depends_on: Vec<TaskId>,
    /// What it does when one of those ends otherwise than completed.
    pub on_dependency_failure: OnDependencyFailure,
    /// Task that it is a part of.
    pub parent: Option<TaskId>,
    /// The tree it belongs to, and what that allows it.
    pub lineage: Lineage,
    /// Key that keeps out others with the same.
    pub unique_key: Option<String>,
    /// How long the key must be free for the task to be inserted.
    pub unique_for: UniqueFor,
    /// Whose share of the capacity it takes, e.g. a customer; limits may apply to it.
    pub concurrency_key: Option<String>,
    /// Schedule whose firing it is.
    pub schedule_id: Option<String>,
    /// Attempts it may have.
    pub max_attempts: u32,
    /// Time limit of one attempt, in seconds.
    pub timeout_s: u64,
    /// Plan to carry out; a model makes one when it is absent.
    pub plan: Option<Plan>,
    /// Data for the agent.
    pub context: Map<String, Value>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// On whose behalf it runs.
    pub user: Option<String>,
    /// Whether a person must agree before it runs. A stored task says so by its request for that approval.
    pub approval: ApprovalRequirement,
}

impl TaskSpec {
    /// An order of `goal`, due at `run_at`, with defaults everywhere else.
    #[must_use]
    pub fn new(goal: impl Into<String>, run_at: Timestamp) -> Self {
        Self {
            goal: goal.into(),
            run_at,
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
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            timeout_s: DEFAULT_TIMEOUT_S,
            plan: None,
            context: Map::new(),
            tags: Vec::new(),
            user: None,
            approval: ApprovalRequirement::None,
        }
    }

    /// Whether the order keeps `limits`.
    ///
    /// # Errors
    /// Everything that exceeds them.
    pub fn validate(&self, limits: &SpecLimits) -> Result<(), InvalidSpec> {
        // A new field joins one of two groups: those that have a limit, or those that any value of their type fits.
        let Self {
            goal,
            priority,
            max_attempts,
            timeout_s,
            agent,
            unique_key,
            concurrency_key,
            user,
            capabilities,
            tags,
            depends_on,
            plan,
            context,
            run_at: _,
            on_dependency_failure: _,
            parent: _,
            lineage: _,
            unique_for: _,
            schedule_id: _,
            approval: _,
        } = self;
        let mut faults = Vec::new();
        faults.extend(goal_fault(goal, &limits.goal_chars));
        faults.extend(limits.priority_fault(*priority));
        faults.extend(number_fault("max_attempts", max_attempts, &limits.max_attempts, ""));
        faults.extend(number_fault("timeout_s", timeout_s, &limits.timeout_s, " (30 days)"));
        faults.extend(count_fault("tags", tags.len(), limits.max_tags));
        faults.extend(count_fault("capabilities", capabilities.len(), limits.max_capabilities));
        faults.extend(count_fault("depends_on", depends_on.len(), limits.max_dependencies));
        let names = [
            ("agent", agent, &limits.name_chars),
            ("unique_key", unique_key, &limits.unique_key_chars),
            ("concurrency_key", concurrency_key, &limits.name_chars),
            ("user", user, &limits.name_chars),
        ];
        faults.extend(names.into_iter().filter_map(|(field, name, chars)| name_fault(field, name.as_deref()?, chars)));
        let words = [("capabilities", capabilities), ("tags", tags)];
        for (field, words) in words {
            faults.extend(words.iter().filter_map(|word| name_fault(field, word, &limits.name_chars)));
        }
        if let Some(Err(error)) = plan.as_ref().map(Plan::check_size) {
            faults.push(SpecFault { field: "plan", message: error.to_string() });
        }
        faults.extend(context_fault(context, limits));
        if faults.is_empty() { Ok(()) } else { Err(InvalidSpec(faults)) }
    }

    /// The new task that carries out this order, inserted at `now`: it waits for a person when it must be approved, else for
    /// the tasks it depends on, else for its time. `approvals` says how long the person may take.
    #[must_use]
    pub fn into_task(self, id: TaskId, approvals: &ApprovalPolicy, now: Timestamp) -> Task {
        let status = match (self.approval, self.depends_on.is_empty()) {
            (ApprovalRequirement::Required, _) => TaskStatus::AwaitingApproval,
            (ApprovalRequirement::None, true) => TaskStatus::Pending,
            (ApprovalRequirement::None, false) => TaskStatus::Waiting,
        };
        let mut task = Task { id, spec: self, state: TaskState::new(status, now) };
        if task.spec.approval == ApprovalRequirement::Required {
            task.state.approvals = vec![Approval::of_task(&task, approvals, now)];
        }
        task
    }

    /// Whether there is nothing to run: the plan has no steps. Such a task completes as soon as it is claimed, e.g. once
    /// all that it depends on is done, and leaves no trace but its own times and result.
    #[must_use]
    pub fn is_milestone(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.steps.is_empty())
    }

    /// Whether a run asks a model: there is no plan, or one that needs judgement.
    #[must_use]
    pub fn needs_model(&self) -> bool {
        self.plan.as_ref().is_none_or(Plan::needs_judgement)
    }

    /// Place in the order of due tasks, in milliseconds: `run_at` minus a head start of a minute for each
    /// level of priority. Urgent tasks go first, and old ones still advance past newer urgent ones.
    #[must_use]
    pub fn rank(&self) -> i64 {
        self.run_at.as_millis().saturating_sub(i64::from(self.priority) * HEAD_START_MS)
    }
}

/// One limit that an order exceeds: the field, its value or length, the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecFault {
    /// The field of the order.
    pub field: &'static str,
    message: String,
}

impl Display for SpecFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

/// Every limit that an order exceeds; at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct InvalidSpec(pub Vec<SpecFault>);

impl InvalidSpec {
    /// A sentence for each fault.
    pub fn messages(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(ToString::to_string)
    }
}

impl SpecLimits {
    /// What is wrong with this priority; nothing when the limits allow it.
    #[must_use]
    pub fn priority_fault(&self, priority: u8) -> Option<SpecFault> {
        number_fault("priority", &priority, &self.priority, "")
    }
}

/// What is wrong with a goal of this length; a blank one has none.
fn goal_fault(goal: &str, allowed: &RangeInclusive<usize>) -> Option<SpecFault> {
    let is_blank = goal.trim().is_empty();
    // Bytes bound characters from above and below, so that only very short and very long texts are counted.
    if !is_blank && goal.len() >= allowed.start() * 4 && goal.len() <= *allowed.end() {
        return None;
    }
    let length = if is_blank { 0 } else { goal.chars().count() };
    let (least, most) = (allowed.start(), allowed.end());
    let message = || format!("the goal has {length} characters: use {least} to {most}");
    (!allowed.contains(&length)).then(|| SpecFault { field: "goal", message: message() })
}

fn number_fault<T>(field: &'static str, value: &T, allowed: &RangeInclusive<T>, note: &str) -> Option<SpecFault>
where
    T: PartialOrd + Display,
{
    let (least, most) = (allowed.start(), allowed.end());
    let message = || format!("{field} {value} is out of range: use {least} to {most}{note}");
    (!allowed.contains(value)).then(|| SpecFault { field, message: message() })
}

fn count_fault(field: &'static str, count: usize, most: usize) -> Option<SpecFault> {
    let message = || format!("{field} has {count} entries; the most is {most}");
    (count > most).then(|| SpecFault { field, message: message() })
}

fn name_fault(field: &'static str, name: &str, allowed: &RangeInclusive<usize>) -> Option<SpecFault> {
    let length = name.chars().count();
    let is_blank = name.trim().is_empty();
    let note = if is_blank && length > 0 { ", all of them blank" } else { "" };
    let (least, most) = (allowed.start(), allowed.end());
    let message = || format!("{field}: a text of {length} characters{note}; use {least} to {most}");
    (is_blank || !allowed.contains(&length)).then(|| SpecFault { field, message: message() })
}

fn context_fault(context: &Map<String, Value>, limits: &SpecLimits) -> Option<SpecFault> {
    let levels = limits.max_context_levels;
    let fault = |message| Some(SpecFault { field: "context", message });
    if context.values().any(|value| is_deeper(value, levels)) {
        return fault(format!("context is nested deeper than {levels} levels"));
    }
    let size = context.iter().fold(Size::default(), |sum, (key, value)| sum + Size::of_key(key) + Size::of(value));
    let (bytes, memory) = (limits.max_context_bytes, limits.max_context_memory);
    if size.text > bytes {
        return fault(format!("context has {} bytes: use at most {bytes}", size.text));
    }
    if size.memory > memory {
        return fault(format!("the values in context take {} bytes of memory: use at most {memory}", size.memory));
    }
    None
}

#[cfg(test)]
mod tests;
