//! Hashes of what a task does: approvals and attempts are bound to them, so that they do not count for a task that another
//! client changed.

use serde_json::Value;

use super::{Task, TaskSpec};
use crate::domain::approval::{Approval, ApprovalOutcome, ApprovalPolicy, Subject, canonical, hash};
use crate::domain::time::Timestamp;
use crate::domain::tree::Lineage;

impl Approval {
    /// An open approval for running `task`.
    #[must_use]
    pub fn of_task(task: &Task, policy: &ApprovalPolicy, now: Timestamp) -> Self {
        Self::new(question_hash(task), Subject::Task, now, policy.expiry(now))
    }
}

/// Hash that an approval of running `task` is bound to, hexadecimal: of everything that decides what runs. The id is
/// part of it, so that a copy of the task needs its own approval. The due time and the number of attempts are not.
#[must_use]
pub fn question_hash(task: &Task) -> String {
    // A new field joins one of two groups: those that decide what runs, or those that decide when, how often and where the
    // task is listed.
    let TaskSpec {
        goal,
        agent,
        capabilities,
        depends_on,
        on_dependency_failure,
        parent,
        // The generation only counts against a limit; the places of the tree bound the tasks that it could allow.
        lineage: Lineage { root, rights: allowed, handover, step, generation: _ },
        schedule_id,
        timeout_s,
        plan,
        context,
        user,
        run_at: _,
        priority: _,
        unique_key: _,
        unique_for: _,
        concurrency_key: _,
        max_attempts: _,
        tags: _,
        approval: _,
    } = &task.spec;
    let plan = serde_json::to_value(plan).unwrap_or(Value::Null);
    let mut rights = serde_json::json!({
        "agent": agent,
        "capabilities": capabilities,
        "depends_on": depends_on,
        "on_dependency_failure": on_dependency_failure,
        "handover": handover,
        "parent": parent,
        "rights": allowed,
        "root": root,
        "schedule_id": schedule_id,
        "timeout_s": timeout_s,
        "user": user,
    });
    // Only where there is one, so that approvals of an older version hold.
    if let Some(step) = step {
        rights["step"] = serde_json::json!(step);
    }
    let (context, rights) = (canonical(&Value::Object(context.clone())), canonical(&rights));
    hash(&["run", &task.id.to_string(), goal, &canonical(&plan), &context, &rights])
}

/// Binds the open approval of running `task` to the task as it is now, because another client may have changed the
/// task since the approval was requested. A decision that names the old hash then decides nothing.
pub fn rebind_open_question(task: &mut Task) {
    if task.state.approvals.iter().any(|approval| approval.subject == Subject::Task && approval.is_open()) {
        let hash = question_hash(task);
        let questions = task.state.approvals.iter_mut().filter(|approval| approval.subject == Subject::Task);
        for question in questions.filter(|question| question.is_open()) {
            question.hash.clone_from(&hash);
        }
    }
}

/// Whether `task` must wait for an approval: one was requested, and none that was given matches the task as it is
/// now.
#[must_use]
pub fn is_unapproved(task: &Task) -> bool {
    let mut questions = task.state.approvals.iter().filter(|approval| approval.subject == Subject::Task).peekable();
    if questions.peek().is_none() {
        return false;
    }
    let hash = question_hash(task);
    !questions.any(|question| {
        let is_approved =
            question.decision.as_ref().is_some_and(|decision| decision.verdict == ApprovalOutcome::Approved);
        is_approved && question.hash == hash
    })
}

/// Hash of the goal, plan, context and handed-over values of `task`, hexadecimal. Two runs have the same work when
/// their hashes are equal.
#[must_use]
pub fn task_hash(task: &Task) -> String {
    let plan = serde_json::to_value(&task.spec.plan).unwrap_or(Value::Null);
    let context = canonical(&Value::Object(task.spec.context.clone()));
    let plan = canonical(&plan);
    let Some(handover) = &task.spec.lineage.handover else { return hash(&["task", &task.spec.goal, &plan, &context]) };
    let values = canonical(&Value::Object(handover.values.clone()));
    hash(&["task", &task.spec.goal, &plan, &context, handover.goal.as_deref().unwrap_or_default(), &values])
}

#[cfg(test)]
mod tests;
