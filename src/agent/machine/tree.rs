//! What a run knows of its tree: the account that it spends from, and what it hands over to the tasks that it makes.

use super::Machine;
use super::state::Step;
use crate::domain::handover::{HandoverDraft, hand_over};
use crate::domain::tool::ToolCall;
use crate::domain::tree::TreeAccount;

/// What the machine knows of the account of its tree.
#[derive(Clone, Debug)]
pub(super) enum TreeState {
    /// The task is alone in its tree: its own budget is all that holds.
    Alone,
    /// It must be read before the next model call.
    Unread {
        /// Whether a model call waits for it.
        is_wanted: bool,
    },
    /// As it was when it was read.
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
    /// Says that others spend from the budget of the tree, so that its account is read before the next model call
    /// ([`Action::ReadTree`](super::Action::ReadTree)), whatever was known of it.
    pub fn forget_tree(&mut self) {
        self.tree = TreeState::Unread { is_wanted: false };
    }

    /// Supplies the account of the tree that the task belongs to: no model call begins over its limits.
    pub fn set_tree(&mut self, account: TreeAccount) {
        self.tree = TreeState::Read(Box::new(account));
    }

    /// Whether a model call waits for the account of the tree.
    pub(super) const fn wants_tree(&self) -> bool {
        matches!(self.tree, TreeState::Unread { is_wanted: true })
    }

    /// Goal and plan of the task that `call` makes, with references in place of the outputs that a step of the plan puts into
    /// them. `None` for calls that the model makes itself: their words are its own.
    #[must_use]
    pub fn handed_over(&self, call: &ToolCall) -> Option<HandoverDraft> {
        let is_this = |step: &&Step| step.plan.tool.is_some() && step.call_id(1) == call.id;
        let step = self.state.steps.iter().find(is_this)?;
        // The call was made of the same references.
        hand_over(&step.plan.arguments, &self.targets()).ok().flatten()
    }
}
