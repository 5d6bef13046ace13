//! Approvals: calls and tasks that wait for the decision of a person. An approval is bound to the exact call, so that
//! another call, or the same call with other arguments, needs another approval.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::failure::Failure;
use super::time::Timestamp;
use super::tool::ToolCall;

pub mod requirement;

pub use requirement::ApprovalRequirement;

/// Section `[approvals]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalPolicy {
    /// How long a person may take to decide, in seconds; 0 for any time.
    pub expire_s: u64,
}

impl Default for ApprovalPolicy {
    fn default() -> Self {
        Self { expire_s: 86_400 }
    }
}

impl ApprovalPolicy {
    /// When the time to decide on an approval that is requested at `now` runs out; `None` for never.
    pub(super) fn expiry(&self, now: Timestamp) -> Option<Timestamp> {
        let ms = i64::try_from(self.expire_s.saturating_mul(1_000)).unwrap_or(i64::MAX);
        (self.expire_s > 0).then(|| now.plus_millis(ms))
    }
}

/// Subject of an approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Subject {
    /// Whether the task runs at all.
    Task,
    /// Whether a tool is called.
    Call {
        /// Id of the call within the run.
        id: String,
        /// The step that makes it.
        step: String,
        /// The tool.
        tool: String,
        /// The arguments as JSON text, fields in alphabetical order: exactly the text that the hash covers.
        arguments: String,
        /// Fields of a newer version, which stay.
        #[serde(flatten)]
        extra: Map<String, Value>,
    },
}

/// How an approval was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalOutcome {
    /// A person approved.
    Approved,
    /// A person denied.
    Denied,
    /// The time to decide ran out. The call or task is refused.
    Expired,
}

impl ApprovalOutcome {
    /// The outcome as it is stored and used as a metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for ApprovalOutcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The decision of a person about an approval, or its expiry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalDecision {
    /// What was decided.
    pub verdict: ApprovalOutcome,
    /// Name that the person gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When.
    pub at: Timestamp,
    /// Fields of a newer version, which stay.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A request for approval, with the decision once there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Hash of the call or task that the decision is bound to, hexadecimal.
    pub hash: String,
    /// The call or task to approve.
    pub subject: Subject,
    /// Why it is requested, when the agent and the plan do not demand it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the approval was requested.
    #[serde(rename = "asked_at")]
    pub requested_at: Timestamp,
    /// When the time to decide runs out; `None` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<ApprovalDecision>,
    /// Fields of a newer version, which stay.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A call that a person must approve, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct ApprovalRequest {
    /// The call.
    pub call: ToolCall,
    /// What its arguments depend on; `None` when its agent or its plan demands the approval.
    pub reason: Option<String>,
}

/// A decision of a person about several approvals of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Hashes of the approvals.
    pub hashes: Vec<String>,
    /// Name that the person gave.
    pub by: Option<String>,
    /// Why.
    pub note: Option<String>,
}

impl Approval {
    /// An open approval.
    #[must_use]
    pub fn new(
        hash: impl Into<String>,
        subject: Subject,
        requested_at: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> Self {
        Self { hash: hash.into(), subject, reason: None, requested_at, expires_at, decision: None, extra: Map::new() }
    }

    /// An open approval for making `call`.
    #[must_use]
    pub fn of_call(call: &ToolCall, policy: &ApprovalPolicy, now: Timestamp) -> Self {
        let subject = Subject::Call {
            id: call.id.clone(),
            step: call.step.clone(),
            tool: call.tool.clone(),
            arguments: canonical(&call.arguments),
            extra: Map::new(),
        };
        Self::new(call_hash(call), subject, now, policy.expiry(now))
    }

    /// An open approval for what `request` asks.
    #[must_use]
    pub fn of_request(request: ApprovalRequest, policy: &ApprovalPolicy, now: Timestamp) -> Self {
        Self { reason: request.reason, ..Self::of_call(&request.call, policy, now) }
    }

    /// A short description of the call or task to approve, for people.
    #[must_use]
    pub fn title(&self) -> String {
        match &self.subject {
            Subject::Task => "running the task".to_owned(),
            Subject::Call { step, tool, .. } => match &self.reason {
                Some(reason) => format!("{tool} (step {step}), because {reason}"),
                None => format!("{tool} (step {step})"),
            },
        }
    }

    /// Whether the approval is undecided.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.decision.is_none()
    }

    /// Whether the time to decide has run out at `now`.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expiry| expiry <= now)
    }

    /// Why it was refused; `None` while it is open or when it was approved.
    #[must_use]
    pub fn refusal(&self) -> Option<Failure> {
        let decision = self.decision.as_ref().filter(|decision| decision.verdict != ApprovalOutcome::Approved)?;
        let what = match &self.subject {
            Subject::Task => "the task".to_owned(),
            Subject::Call { tool, .. } => format!("this call of {tool}"),
        };
        let by = decision.by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
        let why = decision.note.as_deref().map(|note| format!(": {note}")).unwrap_or_default();
        let cause = self.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        Some(Failure::permanent(match decision.verdict {
            ApprovalOutcome::Expired => {
                format!(
                    "{what} was not approved in time, so it is denied{cause}; requeue the task to request approval again"
                )
            }
            _ => format!("{what} was denied{by}{why}"),
        }))
    }

    /// Opens the approval again, with as much time to decide as before.
    fn again(&mut self, now: Timestamp) {
        let time = self.expires_at.map(|expiry| expiry.as_millis().saturating_sub(self.requested_at.as_millis()));
        self.requested_at = now;
        self.expires_at = time.map(|ms| now.plus_millis(ms));
        self.decision = None;
    }
}

/// Hash that an approval of `call` is bound to.
#[must_use]
pub fn call_hash(call: &ToolCall) -> String {
    hash(&["call", &call.id, &call.tool, &canonical(&call.arguments)])
}

/// Decides the open approvals that `ruling` names; `false` when it names none that can still be decided.
pub(super) fn apply_ruling(
    approvals: &mut [Approval],
    ruling: &Ruling,
    verdict: ApprovalOutcome,
    now: Timestamp,
) -> bool {
    let mut found = false;
    for approval in approvals.iter_mut().filter(|approval| approval.is_open() && !approval.has_expired(now)) {
        if ruling.hashes.contains(&approval.hash) {
            let (by, note) = (ruling.by.clone(), ruling.note.clone());
            approval.decision = Some(ApprovalDecision { verdict, by, note, at: now, extra: Map::new() });
            found = true;
        }
    }
    found
}

/// Expires the open approvals whose time has run out; `false` when there is none.
pub(super) fn expire(approvals: &mut [Approval], now: Timestamp) -> bool {
    let mut found = false;
    for approval in approvals.iter_mut().filter(|approval| approval.is_open() && approval.has_expired(now)) {
        approval.decision = Some(ApprovalDecision {
            verdict: ApprovalOutcome::Expired,
            by: None,
            note: None,
            at: now,
            extra: Map::new(),
        });
        found = true;
    }
    found
}

/// Prepares the approvals of a task for another run from the start: approvals of calls are removed, because the run
/// requests them again; the approval of the task itself is opened again unless it was approved. Returns whether an
/// approval is open.
pub(super) fn start_over(approvals: &mut Vec<Approval>, now: Timestamp) -> bool {
    approvals.retain(|approval| approval.subject == Subject::Task);
    let approved =
        |approval: &Approval| matches!(&approval.decision, Some(d) if d.verdict == ApprovalOutcome::Approved);
    for approval in approvals.iter_mut().filter(|approval| !approved(approval)) {
        approval.again(now);
    }
    approvals.iter().any(Approval::is_open)
}

/// Hash of `parts` in this order, hexadecimal.
pub(super) fn hash(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        // The length keeps two lists of parts with the same concatenation apart.
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    format!("{:x}", digest.finalize())
}

/// JSON with the fields of every object in alphabetical order.
pub(super) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            let inner: Vec<String> = sorted
                .into_iter()
                .map(|(key, field)| format!("{}:{}", Value::from(key.as_str()), canonical(field)))
                .collect();
            format!("{{{}}}", inner.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
