//! The account of the tree that a run spends from, and its handovers to children.

use super::Machine;
use super::state::Step;
use crate::domain::handover::{HandoverDraft, hand_over};
use crate::domain::tool::ToolCall;
use crate::domain::tree::TreeAccount;

/// What the machine knows of the account of its tree.
#[derive(Clone, Debug)]
pub(super) enum TreeState {
    /// The task is alone in its tree: only its own budget applies.
    Alone,
    /// It must be read before the next model call.
    Unread {
        /// Whether a model call waits for it.
        is_wanted: bool,
    },
    /// The account as it was last read.
    Read(Box<TreeAccount>),
}

impl TreeState {
    pub(super) fn known(&self) -> Option<&TreeAccount> {
        match self {
            Self::Read(account) => Some(account),
            Self::Alone | Self::Unread { .. } => None,
        }
    }
}

impl Machine {
    /// Marks the account as outdated, because other tasks spend from it: it is read before the next model call
    /// ([`Action::ReadTree`](super::Action::ReadTree)).
    pub fn forget_tree(&mut self) {
        self.tree = TreeState::Unread { is_wanted: false };
    }

    /// Supplies the account of the tree: no model call starts beyond its limits.
    pub fn set_tree(&mut self, account: TreeAccount) {
        self.tree = TreeState::Read(Box::new(account));
    }

    /// Whether a model call waits for the account of the tree.
    pub(super) const fn wants_tree(&self) -> bool {
        matches!(self.tree, TreeState::Unread { is_wanted: true })
    }

    /// Goal and plan of the task that `call` creates, with references in place of the outputs that a step of the plan
    /// inserts. `None` for calls of the model, which writes their texts itself.
    #[must_use]
    pub fn handed_over(&self, call: &ToolCall) -> Option<HandoverDraft> {
        let is_this = |step: &&Step| step.plan.tool.is_some() && step.call_id(1) == call.id;
        let step = self.state.steps.iter().find(is_this)?;
        // The call was built from the same references.
        hand_over(&step.plan.arguments, &self.targets()).ok().flatten()
    }
}
