//! Where a task stands.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// Waits for other tasks; the scheduler moves it on.
    Waiting,
    /// Ready to be claimed once `run_at` has come.
    Pending,
    /// Claimed by a replica, which alone moves it on; rescued when that replica dies.
    Running,
    /// Waits for a person.
    AwaitingApproval,
    /// Ended well. Terminal.
    Completed,
    /// Ended badly and is in the dead letters. Terminal until requeued.
    Failed,
    /// Stopped by somebody. Terminal until requeued.
    Cancelled,
    /// A task it depends on ended badly. Terminal until requeued.
    Blocked,
    /// A firing that was missed or would have overlapped. Terminal.
    Skipped,
}

impl TaskStatus {
    /// Every status, in the order of a life.
    pub const ALL: [Self; 9] = [
        Self::Waiting,
        Self::Pending,
        Self::Running,
        Self::AwaitingApproval,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Blocked,
        Self::Skipped,
    ];

    /// The status as it is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Pending => "pending",
            Self::Running => "running",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Blocked => "blocked",
            Self::Skipped => "skipped",
        }
    }

    /// Whether nothing more happens to the task by itself.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::Blocked | Self::Skipped)
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Text that names no status.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is not a status: use waiting, pending, running, awaiting_approval, completed, failed, cancelled, blocked or skipped"
)]
pub struct InvalidStatus(pub String);

impl FromStr for TaskStatus {
    type Err = InvalidStatus;

    /// Reads a status in any case, and the words other task systems use for it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = text.trim().to_ascii_lowercase().replace(['-', ' '], "_");
        if let Some(status) = Self::ALL.into_iter().find(|status| status.as_str() == word) {
            return Ok(status);
        }
        match word.as_str() {
            "queued" | "scheduled" | "new" | "todo" | "open" => Ok(Self::Pending),
            "working" | "in_progress" => Ok(Self::Running),
            "done" | "success" | "succeeded" => Ok(Self::Completed),
            "error" => Ok(Self::Failed),
            "canceled" => Ok(Self::Cancelled),
            _ => Err(InvalidStatus(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_systems_are_understood() {
        for (text, status) in [
            ("PENDING", TaskStatus::Pending),
            (" In-Progress ", TaskStatus::Running),
            ("working", TaskStatus::Running),
            ("Done", TaskStatus::Completed),
            ("awaiting approval", TaskStatus::AwaitingApproval),
        ] {
            assert_eq!(text.parse(), Ok(status));
        }
        assert_eq!("whatever".parse::<TaskStatus>(), Err(InvalidStatus("whatever".into())));
    }
}
