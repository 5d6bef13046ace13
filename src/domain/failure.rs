//! Failures: their class, which decides about retries, and their message.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::number;

/// The class of a failure. It alone decides whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The network, a busy server, or a lost connection. The next try will probably succeed.
    Transient,
    /// The server answered that the rate limit is reached.
    RateLimited,
    /// A time limit ran out.
    Timeout,
    /// The model cannot be used now by any task: its endpoint is down, refuses the key, or is not configured. The
    /// task is not at fault, so the failure costs it no attempt.
    Unavailable,
    /// The input is wrong: bad arguments, an invalid plan, an unreadable task.
    Invalid,
    /// The server refused for good, or the agent declared that the goal cannot be reached.
    Permanent,
    /// A budget of the agent ran out: steps, model calls, tokens, cost or time.
    BudgetExceeded,
    /// The process that ran the task ended without recording an outcome.
    Crashed,
    /// A person or a program cancelled the task.
    Cancelled,
}

impl FailureClass {
    /// Every class, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::Transient,
        Self::RateLimited,
        Self::Timeout,
        Self::Unavailable,
        Self::Invalid,
        Self::Permanent,
        Self::BudgetExceeded,
        Self::Crashed,
        Self::Cancelled,
    ];

    /// Whether another attempt of the same input may end differently.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Transient | Self::RateLimited | Self::Timeout | Self::Unavailable | Self::Crashed)
    }

    /// The class as it is stored and used as a metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::RateLimited => "rate_limited",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Invalid => "invalid",
            Self::Permanent => "permanent",
            Self::BudgetExceeded => "budget_exceeded",
            Self::Crashed => "crashed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A limit of a budget that can end a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetLimit {
    /// Steps started.
    Steps,
    /// Calls to the model.
    ModelCalls,
    /// Prompt and completion tokens together.
    Tokens,
    /// Cost.
    Cost,
    /// Model turns within one step.
    Turns,
    /// Time at work.
    Time,
    /// What a task and all its descendants may spend together.
    Tree,
}

impl BudgetLimit {
    /// The limit as it is stored and used as a metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::ModelCalls => "model_calls",
            Self::Tokens => "tokens",
            Self::Cost => "cost",
            Self::Turns => "turns",
            Self::Time => "time",
            Self::Tree => "tree",
        }
    }
}

/// Longest wait that a server may ask for: a day, in milliseconds.
pub const MAX_RETRY_AFTER_MS: u64 = 86_400_000;

/// Reads a wait, cut to [`MAX_RETRY_AFTER_MS`].
fn wait<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let ms: Option<u64> = number::optional_count(deserializer)?;
    Ok(ms.map(|ms| ms.min(MAX_RETRY_AFTER_MS)))
}

/// A failure of a tool call, a model call, a step or a task. It holds no secret, because it is stored, shown to
/// people and sent to the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error, utoipa::ToSchema)]
#[error("{class}: {message}")]
pub struct Failure {
    /// What kind of failure it is.
    pub class: FailureClass,
    /// What happened, to what input, and the way out. Lower case, no full stop.
    pub message: String,
    /// Time to wait before the next try, in milliseconds, when the server asked for it or an earlier try would surely
    /// fail.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "wait")]
    pub retry_after_ms: Option<u64>,
    /// The step it happened in, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Which limit was reached, where the class is `budget_exceeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetLimit>,
    /// Whether the message quotes what came from outside, such as the answer of a server.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_quoting: bool,
}

impl Failure {
    /// A failure of `class` that says `message`.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), retry_after_ms: None, step: None, budget: None, is_quoting: false }
    }

    /// A failure of class [`FailureClass::Transient`].
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Transient, message)
    }

    /// A failure of class [`FailureClass::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Invalid, message)
    }

    /// A failure of class [`FailureClass::Permanent`].
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Permanent, message)
    }

    /// A failure of class [`FailureClass::Timeout`].
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Timeout, message)
    }

    /// A failure of class [`FailureClass::Unavailable`].
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Unavailable, message)
    }

    /// A failure of class [`FailureClass::BudgetExceeded`]: `limit` was reached.
    pub fn over_budget(limit: BudgetLimit, message: impl Into<String>) -> Self {
        Self { budget: Some(limit), ..Self::new(FailureClass::BudgetExceeded, message) }
    }

    /// The same failure, with the step that it happened in.
    #[must_use]
    pub fn in_step(mut self, step: impl Into<String>) -> Self {
        self.step = Some(step.into());
        self
    }

    /// The same failure, whose message quotes what came from outside.
    #[must_use]
    pub const fn quoting(mut self) -> Self {
        self.is_quoting = true;
        self
    }

    /// The same failure with the wait that the server asked for, at most [`MAX_RETRY_AFTER_MS`].
    #[must_use]
    pub fn retry_after(mut self, ms: Option<u64>) -> Self {
        self.retry_after_ms = ms.map(|ms| ms.min(MAX_RETRY_AFTER_MS));
        self
    }
}
