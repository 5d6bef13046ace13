//! What a run knows of its tree: the account that it spends from, and what it hands over to the tasks that it makes.

use super::Machine;
use super::state::Step;
use crate::domain::handover::{HandedOver, hand_over};
use crate::domain::tool::ToolCall;
use crate::domain::tree::TreeAccount;

impl Machine {
    /// Supplies the account of the tree that the task belongs to: no model call begins over its limits.
    pub fn set_tree(&mut self, account: TreeAccount) {
        self.tree = Some(account);
    }

    /// Whether the run may yet ask a model.
    #[must_use]
    pub fn may_ask(&self) -> bool {
        self.state.ended.is_none() && self.asks_model()
    }

    /// Goal and plan of the task that `call` makes, with references in place of the outputs that a step of the plan puts into
    /// them. `None` for calls that the model makes itself: their words are its own.
    #[must_use]
    pub fn handed_over(&self, call: &ToolCall) -> Option<HandedOver> {
        let is_this = |step: &&Step| step.plan.tool.is_some() && step.call_id(1) == call.id;
        let step = self.state.steps.iter().find(is_this)?;
        // The call was made of the same references.
        hand_over(&step.plan.arguments, &self.targets()).ok().flatten()
    }
}
