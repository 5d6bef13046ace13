//! What the machine asks its driver for.

use serde_json::Value;

use crate::domain::conversation::{ModelRequest, Usage};
use crate::domain::delegation::{Awaited, StepOrder};
use crate::domain::failure::Failure;
use crate::domain::tool::ToolCall;

/// The next action of the driver.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Call the model and report with [`Machine::model_answered`](super::Machine::model_answered).
    CallModel(Box<ModelCall>),
    /// Call these tools at the same time and report each with [`Machine::tool_returned`](super::Machine::tool_returned).
    CallTools(Vec<ToolCall>),
    /// Read these outputs back and report each with [`Machine::loaded`](super::Machine::loaded).
    Load(Vec<Load>),
    /// Read what the tree has spent and report with [`Machine::set_tree`](super::Machine::set_tree): a model call is about to be made.
    ReadTree,
    /// Have these steps carried out by other agents, or look what has become of that, and report each with
    /// [`Machine::order_returned`](super::Machine::order_returned).
    Order(Vec<StepOrder>),
    /// Wait for a call in flight to return.
    Wait,
    /// The run ends here and continues from its state once a person has decided on these calls.
    AwaitApproval(Vec<ToolCall>),
    /// The run ends here and continues from its state once one of these tasks has ended.
    AwaitTasks(Awaited),
    /// The run has ended.
    Done(Result<Value, Failure>),
}

/// An output that became an artifact, or a file of the task, which must be read because a step refers to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The step whose output it is; `files.NAME` for a file.
    pub step: String,
    /// Name of the artifact, which belongs to the task of the run.
    pub artifact: String,
    /// Whether it is a file, whose text is wanted, and no output.
    pub is_file: bool,
}

/// A call of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelCall {
    /// Id of the call within the run.
    pub id: String,
    /// The question.
    pub request: ModelRequest,
}

/// A model call that failed for good, with what it cost.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFailed {
    /// Why.
    pub failure: Failure,
    /// Requests that a model answered before the last one, because what it said could not be used.
    pub repairs: u32,
    /// Tokens spent.
    pub usage: Usage,
    /// Cost in US dollars.
    pub cost_usd: f64,
    /// Whether the model answered, but not usably.
    pub was_answered: bool,
    /// The answer, when it was plain text.
    pub said: Option<String>,
}
