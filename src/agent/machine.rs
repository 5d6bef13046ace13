//! The agent as a serialisable machine without I/O.
//!
//! It decides which calls come next; its driver makes the calls and feeds their results back. It owns the plan, the
//! state of each step, the limits and the spending, and knows no clock, store, model client or tool.
//!
//! A run goes through these phases:
//!
//! 1. *plan*: a structured call; skipped when the task carries a plan, or earlier runs made one ([`reuse`]). Answers that are no valid plan go back to the
//!    model with what is wrong; after [`MAX_QUESTION_TRIES`] of them one instruction step for the whole goal takes the place of a plan;
//! 2. *steps*, as parallel as their dependencies allow; steps that depend on a failed one are blocked, not run;
//! 3. *replan* after failures, at most `max_replans` times; done steps stay done and keep their outputs;
//! 4. *answer*: a structured call that declares success or failure with a reason. Plain text in its place is the answer
//!    when all steps are done, and is marked as not confirmed.
//!
//! A plan that comes with the task and has no instruction steps needs no model. Its result is `{"steps": {id:
//! output}, "output": …}`, where `output` is that of the last step, or `{id: output}` of all steps that no other step
//! depends on when there are several. With a model the result is `{"output": …, "reason": …}`, and `"confirmed":
//! false` when the model did not confirm that the goal was reached.
//!
//! Retryable failures (transient, rate limited, timeout, unavailable) are tried again at once only for calls that can
//! be repeated safely. When every remaining failure is retryable, the run fails with one of them instead of being
//! replanned: the task is retried after a delay and continues here, with its done steps. On the last attempt there is
//! no such retry, so the machine replans then. When a model call fails because the model is unusable, the run ends at
//! once with that failure, without a new plan and at no charge, and continues later with the same question.
//!
//! No model call starts that might exceed the limits of tokens and cost together with the calls under way: see
//! [`reservation`].
//!
//! Calls that a person must approve are held back ([`consent`]) while everything else continues. When nothing else is
//! left to do, the machine requests the approvals; a run that continues later makes the approved calls, and takes a
//! denial as the failure of the call.
//!
//! A step that needs a capability which the agent lacks becomes a task for another agent ([`orders`]). When nothing else is
//! left to do, the run ends, and a later one takes the output of that task as the output of the step.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::domain::budget::Spent;
use crate::domain::conversation::ModelReply;
use crate::domain::event::{EventKind, Level};
use crate::domain::failure::{BudgetLimit, Failure};
use crate::domain::files::TaskFile;
use crate::domain::number;
use crate::domain::plan::Plan;
use crate::domain::time::Timestamp;
use crate::domain::tool::{ToolCall, ToolResult, ToolSpec};

mod account;
mod act;
mod act_state;
mod action;
mod consent;
mod earlier_results;
mod elements;
mod grounding;
mod loads;
mod model_question;
mod order_phase;
mod orders;
mod parts;
mod plan_check;
mod policy;
mod progress;
mod prompts;
mod reservation;
mod resuming;
mod reuse;
mod reused_plan;
mod run_record;
mod schema;
mod setup;
mod shortlist;
mod state;
mod statement;
mod step_records;
mod steps;
#[cfg(test)]
mod tests;
mod tree;
mod turns;
mod wire_arguments;

pub use action::{Action, Load, ModelCall, ModelFailed};
use loads::LoadedOutputs;
pub use loads::MAX_LOADED_BYTES;
pub use reused_plan::{EarlierOutputs, ReusedPlan};
pub use setup::Setup;
pub use state::RunClock;
use state::{OpenQuestion, Phase, State, Step, VERSION};
pub use step_records::steps_of;
use tree::TreeState;

/// Age of the time that the model is told, in milliseconds, from which on a run that continues tells it a new one.
const MAX_CLOCK_AGE_MS: u64 = 10 * 60_000;
/// Most tries at a plan or an answer. After that many unusable ones the machine falls back.
pub const MAX_QUESTION_TRIES: usize = 2;

/// Instruction of the step that takes the place of a plan when no plan could be used.
const WHOLE_GOAL: &str = "Reach the goal.";

/// A result for a call that is not in flight: a fault of the driver.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("call {0:?} is not in flight")]
pub struct NotInFlight(pub String);

/// A serialised machine that cannot be continued.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCheckpoint {
    /// Written by a program that serialises differently.
    #[error("the checkpoint has version {0}, this program reads version {VERSION}")]
    Version(u64),
    /// No machine at all.
    #[error("the checkpoint cannot be read: {0}")]
    Malformed(String),
}

/// An event of the run, for its history.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// What happened.
    pub kind: EventKind,
    /// How much attention it deserves.
    pub level: Level,
    /// The same in a sentence.
    pub message: String,
    /// Details.
    pub data: BTreeMap<&'static str, Value>,
}

/// A run. Call [`Machine::next_action`] until it says wait or done, feed a result back, and again.
#[derive(Clone, Debug)]
pub struct Machine {
    setup: Setup,
    state: State,
    loads: LoadedOutputs,
    /// Files of the task, as its context names them.
    files: Vec<TaskFile>,
    /// Targets of references to the results of other tasks; `None` when the task has no dependencies.
    deps: Option<Value>,
    /// Memory that the arguments of the tool calls in flight take, by the id of the call.
    arguments: BTreeMap<String, usize>,
    notes: Vec<Note>,
    /// Whether the last plan that was made could be used; `None` when none was made.
    planned: Option<bool>,
    /// Working time at which each model call in flight started, in milliseconds, by call id.
    call_started_ms: BTreeMap<String, u64>,
    /// Result of the run before, while its answer may be taken over.
    earlier_answer: Option<Value>,
    /// Whether the endpoint of the model failed in this process.
    endpoint_failed: bool,
    /// What is known of the account of the tree, when the tree has more than one task.
    tree: TreeState,
    /// The time, for the records of steps; `None` when it was not told.
    now: Option<Timestamp>,
}

impl Machine {
    /// Starts a run.
    ///
    /// # Errors
    /// A [`Failure`] when it cannot begin: the plan of the task is invalid or larger than the budget, or it needs a model
    /// and there is none.
    pub fn new(setup: Setup) -> Result<Self, Failure> {
        let mut machine = Self::with(setup, State::new(Phase::Planning(OpenQuestion::default())));
        machine.set_clock();
        if machine.needs_model() {
            machine.check_model()?;
        }
        if let Some(plan) = machine.setup.plan.clone() {
            plan.validate(&machine.tool_names()).map_err(|error| Failure::invalid(error.to_string()))?;
            machine.check_size(plan.steps.len()).map_err(|why| Failure::over_budget(BudgetLimit::Steps, why))?;
            machine.state.answer = plan.answer;
            machine.state.steps = plan.steps.into_iter().map(|step| Step::new(step, 0)).collect();
            machine.state.phase = Phase::Steps;
        } else if machine.setup.turns {
            machine.work_in_turns();
        } else {
            machine.begin_with_reused();
        }
        machine.state.turns = machine.setup.turns;
        Ok(machine)
    }

    /// Continues a run from the value of [`Machine::state`].
    ///
    /// Done steps stay done. Failed and blocked steps are tried again after a retryable failure, and all of them when
    /// the task was requeued after it had failed for good. A tool call in flight is made again when it can be
    /// repeated safely; otherwise its step fails with an unknown outcome. A model call in flight is made again.
    ///
    /// # Errors
    /// [`InvalidCheckpoint`] when there is nothing to go on from.
    pub fn resume(setup: Setup, state: &Value) -> Result<Self, InvalidCheckpoint> {
        match state.get("version").and_then(Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            Some(version) => return Err(InvalidCheckpoint::Version(version)),
            None => return Err(InvalidCheckpoint::Malformed("it has no version".to_owned())),
        }
        let state = serde::Deserialize::deserialize(state)
            .map_err(|error: serde_json::Error| InvalidCheckpoint::Malformed(error.to_string()))?;
        let mut machine = Self::with(setup, state);
        machine.set_clock();
        machine.prepare_to_resume();
        Ok(machine)
    }

    fn with(setup: Setup, state: State) -> Self {
        let deps = (!setup.dependencies.is_empty()).then(|| Value::Object(setup.dependencies.clone()));
        Self {
            files: TaskFile::named_in(&setup.context),
            setup,
            state,
            loads: LoadedOutputs::default(),
            deps,
            arguments: BTreeMap::new(),
            notes: Vec::new(),
            planned: None,
            call_started_ms: BTreeMap::new(),
            earlier_answer: None,
            endpoint_failed: false,
            tree: TreeState::Alone,
            now: None,
        }
    }

    /// Makes the whole goal the only step, which answers.
    fn work_in_turns(&mut self) {
        let step = self.whole_goal_step();
        self.state.answer = Some(step.id.clone());
        self.state.steps = vec![Step::new(step, 0)];
        self.state.phase = Phase::Steps;
    }

    /// Tells the model the time of the setup, unless the run has told it one of late.
    fn set_clock(&mut self) {
        let Some(now) = &self.setup.clock else { return };
        let is_recent = |clock: &RunClock| now.at.millis_since(clock.at) < MAX_CLOCK_AGE_MS;
        if !self.state.clock.as_ref().is_some_and(is_recent) {
            self.state.clock = Some(now.clone());
        }
    }

    /// The state that another process needs to continue the run.
    ///
    /// # Errors
    /// Only when a value has no JSON form, which none of those that come from JSON lacks.
    pub fn state(&self) -> Result<Value, serde_json::Error> {
        serde_json::to_value(&self.state)
    }

    /// Returns the next action. Calls in it count as in flight from here on.
    pub fn next_action(&mut self) -> Action {
        loop {
            if let Some(outcome) = &self.state.ended {
                return Action::Done(outcome.clone());
            }
            if let Some(failure) = self.state.stopping.clone() {
                if self.state.is_busy() {
                    return Action::Wait;
                }
                self.end(Err(failure));
                continue;
            }
            let action = match &self.state.phase {
                Phase::Steps => self.next_of_steps(),
                _ => self.next_question(),
            };
            if let Some(action) = action {
                if let Action::CallModel(call) = &action {
                    self.call_started_ms.insert(call.id.clone(), self.state.spent.active_ms);
                }
                return action;
            }
        }
    }

    /// Takes the answer to a model call.
    ///
    /// # Errors
    /// [`NotInFlight`] when the call was not made; nothing changes.
    pub fn model_answered(&mut self, id: &str, reply: Result<ModelReply, ModelFailed>) -> Result<(), NotInFlight> {
        let (usage, cost_usd) = match &reply {
            Ok(reply) => (reply.usage, reply.cost_usd),
            Err(failed) => (failed.usage, failed.cost_usd),
        };
        let was_away = matches!(&reply, Err(failed) if failed.was_away());
        self.endpoint_failed |= matches!(&reply, Err(failed) if !failed.was_answered);
        if let Ok(reply) = &reply {
            self.keep_data_left_out(reply.data_left_out);
        }
        let acting = self.acting(id);
        if !self.take_answer(id, reply) {
            return Err(NotInFlight(id.to_owned()));
        }
        if let Some(index) = acting.filter(|_| !was_away) {
            self.account_model(index, usage, cost_usd);
        }
        let call_started_ms = self.call_started_ms.remove(id);
        let State { spent, costliest, reserved, .. } = &mut self.state;
        reserved.remove(id);
        // A call during an outage of the model costs the task nothing, however often it is repeated.
        if was_away {
            spent.active_ms = spent.active_ms.min(call_started_ms.unwrap_or(u64::MAX));
        } else {
            spent.model_calls = spent.model_calls.saturating_add(1);
        }
        spent.usage += usage;
        spent.cost_usd = number::sum(spent.cost_usd, cost_usd);
        costliest.tokens = costliest.tokens.max(usage.total());
        costliest.cost_usd = costliest.cost_usd.max(cost_usd);
        Ok(())
    }

    fn take_answer(&mut self, id: &str, reply: Result<ModelReply, ModelFailed>) -> bool {
        if self.question_in_flight().as_deref() == Some(id) {
            self.question_answered(reply);
            return true;
        }
        let Some(index) = self.acting(id) else { return false };
        self.turn_answered(index, reply.map_err(|failed| failed.failure));
        true
    }

    /// Takes the result of a tool call.
    ///
    /// # Errors
    /// [`NotInFlight`] when the call was not made; nothing changes.
    pub fn tool_returned(&mut self, id: &str, result: &ToolResult) -> Result<(), NotInFlight> {
        self.arguments.remove(id);
        self.account_result(id, result);
        if self.step_tool_returned(id, result) || self.act_tool_returned(id, result) {
            return Ok(());
        }
        Err(NotInFlight(id.to_owned()))
    }

    /// Whether a checkpoint that says that `call` has started must be durable before the call is made.
    #[must_use]
    pub fn must_be_recorded(&self, call: &ToolCall) -> bool {
        self.tool(&call.tool).is_none_or(|tool| !tool.is_repeatable(&call.arguments))
    }

    /// Adds working time, in milliseconds.
    pub const fn time_passed(&mut self, ms: u64) {
        self.state.spent.active_ms = self.state.spent.active_ms.saturating_add(ms);
    }

    /// What was spent, earlier attempts included.
    #[must_use]
    pub const fn spent(&self) -> &Spent {
        &self.state.spent
    }

    /// Takes the notes since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    fn note(&mut self, kind: EventKind, level: Level, message: String, data: &[(&'static str, Value)]) {
        self.notes.push(Note { kind, level, message, data: data.iter().cloned().collect() });
    }

    fn end(&mut self, outcome: Result<Value, Failure>) {
        self.state.ended = Some(outcome);
    }

    /// Ends the run once nothing is in flight; the first failure counts.
    fn stop(&mut self, failure: Failure) {
        self.state.stopping.get_or_insert(failure);
    }

    fn tool(&self, name: &str) -> Option<&ToolSpec> {
        self.setup.tools.iter().map(Arc::as_ref).find(|tool| tool.name == name)
    }

    fn tool_names(&self) -> Vec<&str> {
        self.setup.tools.iter().map(|tool| tool.name.as_str()).collect()
    }

    /// Whether this run may need a model: it has no plan of its own, or a plan with instruction steps.
    fn needs_model(&self) -> bool {
        self.setup.plan.as_ref().is_none_or(Plan::needs_judgement)
    }

    fn check_model(&self) -> Result<(), Failure> {
        if !self.setup.has_model {
            return Err(Failure::unavailable(
                "no model is configured: set model.base_url or model.api_key, or give the task a plan of tool steps",
            ));
        }
        Ok(())
    }

    /// Whether `steps` more steps fit into the budget.
    fn check_size(&self, steps: usize) -> Result<(), String> {
        let max = self.setup.budget.max_steps;
        let left = max.saturating_sub(self.state.spent.steps);
        if steps > usize::try_from(left).unwrap_or(usize::MAX) {
            return Err(format!("the plan has {steps} steps, but only {left} of max_steps {max} are left"));
        }
        Ok(())
    }
}
