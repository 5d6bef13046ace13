//! Approvals in answers of the API: questions to people, and their answers.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::approval::{Approval, ApprovalOutcome, Subject};
use crate::domain::id::TaskId;
use crate::domain::task::Task;
use crate::domain::time::Timestamp;

/// A question to a person.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Approval)]
pub struct ApprovalView {
    /// Hash of what is asked; an answer names it, and any other call has another hash.
    pub hash: String,
    /// `task`: whether it runs at all; `call`: whether a tool is called.
    pub kind: String,
    /// Step that makes the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Tool that is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Arguments of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
    /// Why a person is asked, when the agent and the plan do not demand it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the question was asked.
    pub asked_at: String,
    /// When it counts as denied if no person decides before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// The decision; absent while the question is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<ApprovalOutcome>,
    /// Name that the person who decided gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Note of the person who decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When the person decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<String>,
}

impl From<&Approval> for ApprovalView {
    fn from(approval: &Approval) -> Self {
        let (kind, step, tool, arguments) = match &approval.subject {
            Subject::Task => ("task", None, None, None),
            Subject::Call { step, tool, arguments, .. } => {
                ("call", Some(step.clone()), Some(tool.clone()), serde_json::from_str(arguments).ok())
            }
        };
        let decision = approval.decision.as_ref();
        Self {
            hash: approval.hash.clone(),
            kind: kind.to_owned(),
            step,
            tool,
            arguments,
            reason: approval.reason.clone(),
            asked_at: approval.requested_at.to_rfc3339(),
            expires_at: approval.expires_at.map(Timestamp::to_rfc3339),
            verdict: decision.map(|decision| decision.verdict),
            by: decision.and_then(|decision| decision.by.clone()),
            note: decision.and_then(|decision| decision.note.clone()),
            decided_at: decision.map(|decision| decision.at.to_rfc3339()),
        }
    }
}

/// A question that waits for an answer.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OpenApproval {
    /// The task that asks.
    pub task_id: TaskId,
    /// Goal of the task.
    pub goal: String,
    /// Agent that must run the task.
    pub agent: Option<String>,
    /// User on whose behalf the task runs.
    pub user: Option<String>,
    /// The question.
    #[serde(flatten)]
    pub approval: ApprovalView,
}

impl OpenApproval {
    /// The open questions of `task`.
    pub(in crate::api) fn list(task: &Task) -> Vec<Self> {
        let open = |approval: &Approval| Self {
            task_id: task.id,
            goal: task.spec.goal.clone(),
            agent: task.spec.agent.clone(),
            user: task.spec.user.clone(),
            approval: approval.into(),
        };
        task.state.approvals.iter().filter(|approval| approval.is_open()).map(open).collect()
    }
}
