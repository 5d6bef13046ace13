//! Hashes of what a task does: approvals and attempts are bound to them, so that they do not count for a task that another
//! client changed.

use serde_json::Value;

use super::Task;
use crate::domain::approval::{Approval, ApprovalOutcome, ApprovalPolicy, Subject, canonical, hash};
use crate::domain::time::Timestamp;

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
    let plan = serde_json::to_value(&task.spec.plan).unwrap_or(Value::Null);
    let rights = serde_json::json!({
        "agent": task.spec.agent,
        "capabilities": task.spec.capabilities,
        "depends_on": task.spec.depends_on,
        "on_dependency_failure": task.spec.on_dependency_failure,
        "handover": task.spec.lineage.handover,
        "parent": task.spec.parent,
        "rights": task.spec.lineage.rights,
        "root": task.spec.lineage.root,
        "schedule_id": task.spec.schedule_id,
        "timeout_s": task.spec.timeout_s,
        "user": task.spec.user,
    });
    let (context, rights) = (canonical(&Value::Object(task.spec.context.clone())), canonical(&rights));
    hash(&["run", &task.id.to_string(), &task.spec.goal, &canonical(&plan), &context, &rights])
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
