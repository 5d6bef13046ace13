//! The graph of steps: which steps can start, which are blocked, and what follows when no step is left to run.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::consent::Consent;
use super::order_phase::OrderPhase;
use super::orders::begun;
use super::state::{CallStatus, OpenQuestion, Phase, Status, Step, as_known};
use super::{Action, Machine, plan_check, statement};
use crate::domain::event::{EventKind, Level};
use crate::domain::failure::{BudgetLimit, Failure, FailureClass};
use crate::domain::files::FILES;
use crate::domain::json::Size;
use crate::domain::plan::{MAX_EXPANDED_MEMORY, resolve};
use crate::domain::tool::{ToolCall, ToolResult};

/// Tries of a tool step, the first included, that follow each other at once after retryable failures.
const TRIES: u32 = 3;
/// Memory of the arguments of the tool calls in flight, in bytes, from which on no further call starts.
const MAX_ARGUMENTS_IN_FLIGHT: usize = MAX_EXPANDED_MEMORY;
/// Bytes of JSON at which a request for approval takes no further call, and most bytes of a single call that needs
/// approval: the whole request is stored with its task.
const MAX_ASKED_BYTES: usize = 512 * 1024;
/// Most bytes of JSON of the outputs in a result, in each of its two parts.
const MAX_RESULT_BYTES: usize = 1024 * 1024;

impl Machine {
    /// The next action for the steps; `None` when the phase or the steps have changed.
    pub(super) fn next_of_steps(&mut self) -> Option<Action> {
        self.take_answer_over();
        if self.state.ended.is_some() {
            return None;
        }
        self.start_and_block();
        if self.state.stopping.is_some() {
            return None;
        }
        let loads = self.take_loads();
        if !loads.is_empty() {
            return Some(Action::Load(loads));
        }
        if self.read_lists() {
            return None;
        }
        let mut calls = self.take_step_calls();
        calls.extend(self.take_act_calls());
        if !calls.is_empty() {
            self.account_calls(&calls);
            return Some(Action::CallTools(calls));
        }
        let orders = self.take_orders();
        if !orders.is_empty() {
            return Some(Action::Order(orders));
        }
        if let Some(call) = self.take_turn() {
            return Some(Action::CallModel(Box::new(call)));
        }
        if self.wants_tree() {
            return Some(Action::ReadTree);
        }
        if self.state.stopping.is_some() {
            return None;
        }
        if self.state.is_busy() || self.loads.is_busy() {
            return Some(Action::Wait);
        }
        let held_back = self.held_back();
        if !held_back.is_empty() {
            return Some(Action::AwaitApproval(held_back));
        }
        if let Some(awaited) = self.awaited() {
            return Some(Action::AwaitTasks(awaited));
        }
        // Otherwise a step failed while its call was prepared, and others are blocked by it or continue without it.
        if self.state.steps.iter().all(Step::has_ended) {
            self.settle();
        } else if self.is_stuck() && !self.forget_earlier_answer() {
            self.stop(Failure::invalid("the checkpoint is damaged: its steps wait for each other"));
        }
        None
    }

    /// Whether the remaining steps wait for each other, which only a checkpoint can cause.
    fn is_stuck(&self) -> bool {
        let can_move = |index: usize| match self.state.steps[index].status {
            Status::Pending => !matches!(self.readiness(index), Readiness::Waits) && !self.waits_for_tools(index),
            _ => !self.state.steps[index].has_ended(),
        };
        !(0..self.state.steps.len()).any(can_move)
    }

    /// Starts every step whose dependencies are done, and blocks the steps that depend on a failed one.
    fn start_and_block(&mut self) {
        loop {
            let mut changed = false;
            for index in 0..self.state.steps.len() {
                if self.state.steps[index].status != Status::Pending || self.waits_for_tools(index) {
                    continue;
                }
                match self.readiness(index) {
                    Readiness::Waits => continue,
                    Readiness::Ready => self.start(index),
                    Readiness::Blocked(by) => self.block(index, by),
                }
                if self.state.stopping.is_some() {
                    return;
                }
                changed = true;
            }
            if !changed {
                return;
            }
        }
    }

    fn readiness(&self, index: usize) -> Readiness {
        let mut waits = false;
        for dependency in self.state.steps[index].plan.dependencies() {
            match self.state.step(dependency).map(|step| &step.status) {
                Some(Status::Done { .. }) => {}
                // The files of the task are there.
                None if dependency == FILES => {}
                Some(Status::Failed { .. }) | None => return Readiness::Blocked(dependency.to_owned()),
                Some(Status::Blocked { by }) => return Readiness::Blocked(by.clone()),
                Some(
                    Status::Pending | Status::Listing | Status::Calling { .. } | Status::Acting(_) | Status::Ordered(_),
                ) => waits = true,
            }
        }
        if waits || self.waits_for_siblings(index) { Readiness::Waits } else { Readiness::Ready }
    }

    fn start(&mut self, index: usize) {
        let max = self.setup.budget.max_steps;
        if self.state.spent.steps >= max && !self.state.steps[index].counted {
            self.stop(Failure::over_budget(
                BudgetLimit::Steps,
                format!("max_steps of {max} reached: raise it in the budget of the agent, or split the task"),
            ));
            return;
        }
        if let Some(failure) = self.setup.budget.out_of_time(&self.state.spent) {
            self.stop(failure);
            return;
        }
        if self.gather(index) {
            return;
        }
        let is_for_another = self.is_for_another(&self.state.steps[index]);
        let provenance = self.provenance_of(index);
        let step = &mut self.state.steps[index];
        if !std::mem::replace(&mut step.counted, true) {
            self.state.spent.steps = self.state.spent.steps.saturating_add(1);
        }
        step.status = if is_for_another { Status::Ordered(OrderPhase::Due) } else { begun(&step.plan, provenance) };
        let id = step.plan.id.clone();
        let data = [("step", json!(id)), ("kind", json!(step.kind())), ("tool", json!(step.plan.tool))];
        self.account_start(index);
        self.note(EventKind::StepStarted, Level::Info, format!("step {id} started"), &data);
    }

    fn block(&mut self, index: usize, by: String) {
        let id = self.state.steps[index].plan.id.clone();
        let message = format!("step {id} is not run, because {by} failed");
        self.note(EventKind::StepBlocked, Level::Warn, message, &[("step", json!(id)), ("by", json!(by))]);
        self.state.steps[index].status = Status::Blocked { by };
    }

    pub(super) fn finish(&mut self, index: usize, output: Value) {
        self.note_origin(index);
        let step = &mut self.state.steps[index];
        step.status = Status::Done { output };
        let id = step.plan.id.clone();
        let data = [("step", json!(id)), ("kind", json!(step.kind()))];
        self.account_end(index);
        self.note(EventKind::StepFinished, Level::Info, format!("step {id} finished"), &data);
    }

    pub(super) fn fail(&mut self, index: usize, failure: Failure) {
        self.note_origin(index);
        let step = &mut self.state.steps[index];
        let id = step.plan.id.clone();
        let failure = failure.in_step(&id);
        let data = [("step", json!(id)), ("kind", json!(step.kind())), ("class", json!(failure.class))];
        let message = format!("step {id} failed: {failure}");
        let act = match std::mem::replace(&mut step.status, Status::Pending) {
            Status::Acting(act) => Some(act),
            _ => None,
        };
        step.status = Status::Failed { failure, act };
        self.account_end(index);
        self.note(EventKind::StepFailed, Level::Warn, message, &data);
    }

    /// The calls of the tool steps that are due, marked as started.
    fn take_step_calls(&mut self) -> Vec<ToolCall> {
        let mut calls = Vec::new();
        for index in 0..self.state.steps.len() {
            let step = &self.state.steps[index];
            let (Status::Calling { started: false, tries }, Some(tool)) = (&step.status, &step.plan.tool) else {
                continue;
            };
            let (tries, tool) = (*tries, tool.clone());
            if self.arguments.values().sum::<usize>() >= MAX_ARGUMENTS_IN_FLIGHT {
                break;
            }
            if self.waits_for_load(index) {
                continue;
            }
            if self.tool(&tool).is_none() {
                let known = self.tool_names().join(", ");
                self.fail(index, Failure::invalid(format!("unknown tool {tool:?}; known are: {known}")));
                continue;
            }
            match self.call_of(index, &tool) {
                Err(failure) => self.fail(index, failure),
                Ok(call) => match self.consent(index, &call, &self.provenance_of(index)) {
                    Consent::Open => {
                        if let Err(failure) = check_question(&call) {
                            self.fail(index, failure);
                        }
                    }
                    Consent::Refused(failure) => self.fail(index, failure),
                    Consent::Given => {
                        let gives_links = self.note_request(index, &call, &self.provenance_of(index));
                        let step = &mut self.state.steps[index];
                        step.gives_links = gives_links;
                        step.status = Status::Calling { started: true, tries };
                        self.arguments.insert(call.id.clone(), Size::of(&call.arguments).memory);
                        calls.push(call);
                    }
                },
            }
        }
        calls
    }

    /// The call of a tool step, with every reference replaced, and JSON as its text where the tool wants text.
    ///
    /// # Errors
    /// A reference that points at nothing, or references that grow to more than a call may have.
    fn call_of(&self, index: usize, tool: &str) -> Result<ToolCall, Failure> {
        let step = &self.state.steps[index];
        let mut arguments = match &step.plan.arguments {
            Value::Null => Value::Object(Map::new()),
            arguments => {
                resolve(arguments, &self.targets()).map_err(|unresolved| Failure::invalid(unresolved.to_string()))?
            }
        };
        if let Some(tool) = self.tool(tool) {
            plan_check::stringify_for(&mut arguments, &tool.parameters);
        }
        Ok(ToolCall { id: step.call_id(1), step: step.plan.id.clone(), tool: tool.to_owned(), arguments })
    }

    /// The calls that need approval: as many as fit into one request. The others follow once these are decided.
    fn held_back(&self) -> Vec<ToolCall> {
        let mut calls: Vec<ToolCall> = Vec::new();
        let mut bytes = 0;
        for (index, step) in self.state.steps.iter().enumerate() {
            if bytes > MAX_ASKED_BYTES {
                break;
            }
            let before = calls.len();
            match (&step.status, &step.plan.tool) {
                // A call whose references point at nothing has failed before.
                (Status::Calling { started: false, .. }, Some(tool)) if !self.has_unread(index) => {
                    calls.extend(self.call_of(index, tool));
                }
                (Status::Acting(act), _) => {
                    let queued = act.calls.iter().filter(|call| call.status == CallStatus::Queued);
                    calls.extend(queued.map(|call| call.of_step(&step.plan.id)));
                }
                _ => {}
            }
            bytes += calls[before..].iter().map(|call| Size::of(&call.arguments).text).sum::<usize>();
        }
        calls
    }

    /// Takes the result of the call of a tool step; `false` when `id` is none.
    pub(super) fn step_tool_returned(&mut self, id: &str, result: &ToolResult) -> bool {
        let in_flight =
            |step: &Step| matches!(step.status, Status::Calling { started: true, .. }) && step.call_id(1) == id;
        let Some(index) = self.state.steps.iter().position(in_flight) else { return false };
        let tries = match self.state.steps[index].status {
            Status::Calling { tries, .. } => tries.saturating_add(1),
            _ => 1,
        };
        self.note_source(index, result);
        match result {
            Ok(output) => self.finish(index, output.clone()),
            Err(failure) if tries < TRIES && self.can_repeat_at_once(index, failure) => {
                self.state.steps[index].status = Status::Calling { started: false, tries };
            }
            Err(failure) => {
                let tool = self.state.steps[index].plan.tool.as_deref().unwrap_or_default();
                let failure = as_known(failure, tool, self.is_repeatable(index));
                self.fail(index, failure);
            }
        }
        true
    }

    /// Whether a failed call is worth an immediate repetition, and harmless if the first one took effect.
    fn can_repeat_at_once(&self, index: usize, failure: &Failure) -> bool {
        matches!(failure.class, FailureClass::Transient | FailureClass::Timeout) && self.is_repeatable(index)
    }

    pub(super) fn is_repeatable(&self, index: usize) -> bool {
        let step = &self.state.steps[index].plan;
        // Only `method` matters. A reference to an output that is not loaded stays unresolved, because the call must
        // not look like one without a method.
        let method = step.arguments.get("method");
        let method = method.map(|method| resolve(method, &self.targets()).unwrap_or_else(|_| method.clone()));
        let arguments = Value::Object(method.map(|method| ("method".to_owned(), method)).into_iter().collect());
        step.tool.as_deref().and_then(|tool| self.tool(tool)).is_some_and(|tool| tool.is_repeatable(&arguments))
    }

    pub(super) fn can_replan(&self) -> bool {
        self.needs_model() && !self.takes_turns() && self.state.spent.replans < self.setup.budget.max_replans
    }

    /// Every step has ended: moves to the answer, replans, or ends the run.
    fn settle(&mut self) {
        let failures = self.state.failures();
        if failures.is_empty() {
            if let Some((result, ungrounded)) = self.answer_of_step() {
                self.end_with(result, &ungrounded);
            } else if self.needs_model() {
                self.state.phase = Phase::Answering(OpenQuestion::default());
            } else {
                let result = self.aggregate();
                self.end(Ok(result));
            }
            return;
        }
        if self.runs_reused_plan() {
            self.replace_reused_plan();
            return;
        }
        let may_pass = failures.iter().all(|failure| failure.class.is_retryable());
        if self.can_replan() && (self.setup.last_attempt || !may_pass) {
            self.state.spent.replans = self.state.spent.replans.saturating_add(1);
            self.state.phase = Phase::Replanning(OpenQuestion::default());
            return;
        }
        self.end(Err(weightiest(failures)));
    }

    /// The result, when the plan names the step that answers. What an instruction step says is the result only when it
    /// does not read like a failure or a question; otherwise the model is asked how the run ended. With it comes what of it
    /// stands in no output.
    fn answer_of_step(&self) -> Option<(Value, Vec<String>)> {
        let step = self.state.step(self.state.answer.as_deref()?)?;
        let output = step.output()?;
        let is_result = match output {
            // An object or a list without anything in it says nothing.
            Value::Null => false,
            Value::Object(fields) if fields.is_empty() => false,
            Value::Array(items) if items.is_empty() => false,
            // The model has declared the outcome itself.
            _ if self.takes_turns() => step.plan.tool.is_none(),
            // A person wants more than the answer of a tool.
            _ if step.plan.tool.is_some() => false,
            Value::String(text) => statement::stated(text).is_some(),
            value => statement::failure_within(value).is_none(),
        };
        let result = match &step.unconfirmed {
            Some(why) => json!({"output": output, "reason": why, "confirmed": false}),
            None => json!({"output": output, "reason": format!("step {} answers the goal", step.plan.id)}),
        };
        is_result.then(|| (result, step.ungrounded.clone()))
    }

    /// The outputs of all steps as one result; see the module's description. An output that does not fit is replaced
    /// by its size, never cut: a half could be mistaken for the whole.
    fn aggregate(&self) -> Value {
        let steps = &self.state.steps;
        let needed: HashSet<&str> = steps.iter().flat_map(|step| step.plan.dependencies()).collect();
        let within = |is_part: &dyn Fn(&str) -> bool| {
            let mut left = MAX_RESULT_BYTES;
            let mut part = Map::new();
            for step in steps.iter().filter(|step| is_part(&step.plan.id)) {
                let Some(output) = step.output() else { continue };
                let bytes = Size::of(output).text;
                let fits = bytes <= left;
                left -= if fits { bytes } else { 0 };
                let shown = if fits { output.clone() } else { json!({"too_large": {"bytes": bytes}}) };
                part.insert(step.plan.id.clone(), shown);
            }
            part
        };
        let outputs = within(&|_| true);
        let last = within(&|id| !needed.contains(id));
        let named = self.state.answer.as_deref().and_then(|answer| outputs.get(answer)).cloned();
        let output = if named.is_some() {
            named
        } else if last.len() == 1 {
            last.into_values().next()
        } else {
            Some(Value::Object(last))
        };
        json!({"steps": outputs, "output": output})
    }
}

enum Readiness {
    Waits,
    Ready,
    Blocked(String),
}

/// Checks that `call` is small enough for a request for approval.
///
/// # Errors
/// A failure that says how long its arguments are.
fn check_question(call: &ToolCall) -> Result<(), Failure> {
    let bytes = Size::of(&call.arguments).text;
    if bytes <= MAX_ASKED_BYTES {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "the arguments of this call of {} have {bytes} bytes, and a person must agree to it; at most {MAX_ASKED_BYTES} are \
         allowed then: make several calls of less each",
        call.tool
    )))
}

/// The failure that ends the run: one that no retry can fix before the others, otherwise the one with the longest
/// wait.
fn weightiest(failures: Vec<Failure>) -> Failure {
    let weight = |failure: &Failure| (!failure.class.is_retryable(), failure.retry_after_ms);
    failures
        .into_iter()
        .reduce(|first, other| if weight(&other) > weight(&first) { other } else { first })
        .unwrap_or_else(|| Failure::permanent("a step failed without a reason"))
}
