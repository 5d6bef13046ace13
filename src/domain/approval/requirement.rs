//! Whether a task or a step of a plan needs the approval of a person: a file without imports, so that plans and tasks can name it.

use serde::{Deserialize, Serialize};

/// Whether a person must approve first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalRequirement {
    /// No.
    #[default]
    None,
    /// Yes.
    Required,
}

impl ApprovalRequirement {
    /// Whether no approval is required.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}
