//! What a step did and spent, for people: its times, its tool calls, and its share of the model.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Machine;
use crate::domain::attempt::MadeCall;
use crate::domain::conversation::Usage;
use crate::domain::json::Size;
use crate::domain::number;
use crate::domain::time::Timestamp;
use crate::domain::tool::{ToolCall, ToolResult};

/// Most calls of one step that are kept; further ones are counted only.
const MAX_CALLS: usize = 200;
/// Longest arguments of a call that are kept, in bytes of JSON.
const MAX_ARGUMENTS: usize = 2_048;

/// The account of a step. Nothing is decided by it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct StepAccount {
    /// When its last try began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) finished_at: Option<Timestamp>,
    /// Its tool calls, the first [`MAX_CALLS`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) calls: Vec<MadeCall>,
    /// Calls beyond those.
    #[serde(deserialize_with = "number::count")]
    pub(super) more_calls: u32,
    /// Model calls.
    #[serde(deserialize_with = "number::count")]
    pub(super) model_calls: u32,
    /// Tokens of these.
    pub(super) usage: Usage,
    /// Their cost in US dollars.
    #[serde(deserialize_with = "number::amount")]
    pub(super) cost_usd: f64,
}

impl StepAccount {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn called(&mut self, call: &ToolCall, arguments: bool, at: Option<Timestamp>) {
        if self.calls.len() >= MAX_CALLS {
            self.more_calls = self.more_calls.saturating_add(1);
            return;
        }
        let is_short = || Size::of(&call.arguments).text <= MAX_ARGUMENTS;
        self.calls.push(MadeCall {
            id: call.id.clone(),
            tool: call.tool.clone(),
            arguments: (arguments && is_short()).then(|| call.arguments.clone()),
            started_at: at,
            finished_at: None,
            error: None,
        });
    }

    fn returned(&mut self, id: &str, result: &ToolResult, at: Option<Timestamp>) {
        let is_open = |call: &&mut MadeCall| call.id == id && call.finished_at.is_none() && call.error.is_none();
        let Some(call) = self.calls.iter_mut().rev().find(is_open) else { return };
        call.finished_at = at;
        call.error = result.as_ref().err().map(ToString::to_string);
    }
}

impl Machine {
    /// Tells the machine the time, which it writes into the records of steps and calls.
    pub const fn set_time(&mut self, now: Timestamp) {
        self.now = Some(now);
    }

    pub(super) fn account_start(&mut self, index: usize) {
        let account = &mut self.state.steps[index].account;
        (account.started_at, account.finished_at) = (self.now, None);
    }

    pub(super) fn account_end(&mut self, index: usize) {
        self.state.steps[index].account.finished_at = self.now;
    }

    /// Takes down the calls that are about to be made. The plan holds the arguments of a tool step.
    pub(super) fn account_calls(&mut self, calls: &[ToolCall]) {
        for call in calls {
            if let Some(step) = self.state.steps.iter_mut().find(|step| step.plan.id == call.step) {
                let is_of_model = step.plan.tool.is_none();
                step.account.called(call, is_of_model, self.now);
            }
        }
    }

    pub(super) fn account_result(&mut self, id: &str, result: &ToolResult) {
        for step in &mut self.state.steps {
            step.account.returned(id, result, self.now);
        }
    }

    pub(super) fn account_model(&mut self, index: usize, calls: u32, usage: Usage, cost_usd: f64) {
        let account = &mut self.state.steps[index].account;
        account.model_calls = account.model_calls.saturating_add(calls);
        account.usage += usage;
        account.cost_usd = number::sum(account.cost_usd, cost_usd);
    }
}

/// Arguments of a step that say anything.
pub(super) fn given(arguments: Value) -> Option<Value> {
    let says_nothing = arguments.is_null() || arguments.as_object().is_some_and(serde_json::Map::is_empty);
    (!says_nothing).then_some(arguments)
}
