//! What a run is given: by its task, by the configuration, and by the clock.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{ReusedPlan, RunClock};
use crate::domain::approval::Approval;
use crate::domain::budget::{Budget, Price};
use crate::domain::plan::Plan;
use crate::domain::step_origin::StepOrigin;
use crate::domain::tool::ToolSpec;

/// Goal, data and limits of a run. Not serialised: the process that continues a run supplies it again.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the run")]
pub struct Setup {
    /// The goal of the task.
    pub goal: String,
    /// Whether another task made this one. Then it chose the context, which is no word of a person.
    pub is_child: bool,
    /// Where the step came from that this run carries out for another task; `None` for any other run. Then goal and plan are no
    /// words of people either.
    pub step_origin: Option<StepOrigin>,
    /// Data that came with the goal.
    pub context: Map<String, Value>,
    /// Results of the dependencies, by id: `${deps.ID.result}`.
    pub dependencies: Map<String, Value>,
    /// Plan of the task; made by the model when absent.
    pub plan: Option<Plan>,
    /// Plan of earlier runs, with which a run without a plan of its task begins. A model made it.
    pub reused: Option<ReusedPlan>,
    /// Role of the agent in one line.
    pub role: String,
    /// Standing instructions of the agent.
    pub instructions: String,
    /// What the agent can do: a step that needs another capability is for another agent.
    pub capabilities: Vec<String>,
    /// Capabilities that the agent lacks and others have, which a plan of the model may name.
    pub offered: Vec<String>,
    /// Tools that policy allows.
    pub tools: Vec<Arc<ToolSpec>>,
    /// Limits of the run, all attempts together.
    pub budget: Budget,
    /// Model the agent prefers.
    pub model: Option<String>,
    /// Whether the model works in turns, without a plan: the way for small models.
    pub turns: bool,
    /// Whether there is a model at all.
    pub has_model: bool,
    /// Most tokens of one answer of the model.
    pub max_output_tokens: u32,
    /// Most bytes of data that a question to the model has room for; `None` when nothing is known of it.
    pub data_bytes: Option<usize>,
    /// The highest price of a model that may answer.
    pub price: Price,
    /// What earlier runs tell, in the words of the program; shown when a plan is made.
    pub experience: String,
    /// The time that the model is told; `None` for none.
    pub clock: Option<RunClock>,
    /// Whether this is the last attempt of the task.
    pub last_attempt: bool,
    /// Whether tasks may write into folders of people, which others may show to the world.
    pub writes_to_people: bool,
    /// Hosts that the tools may reach; `*` for all.
    pub egress: Vec<String>,
    /// Tools whose calls a person must approve; `*` for all.
    pub needs_approval: Vec<String>,
    /// Approvals of this task, decided or open.
    pub approvals: Vec<Approval>,
}

impl Setup {
    /// Whether a model may have sent something that it composed out of the run that this one belongs to: a task that carries out a
    /// step says so, any other task of a task was itself composed.
    pub(super) fn parent_may_have_sent(&self) -> bool {
        self.step_origin.as_ref().map_or(self.is_child, |origin| origin.has_sent_composed)
    }
}
