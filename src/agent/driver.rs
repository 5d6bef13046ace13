//! Makes the calls that the machine requests and reports their results to it.
//!
//! Calls run in parallel, each as a task of its own, and end with the driver: dropping its future aborts them. The
//! driver writes a checkpoint after results, one for several results of the same moment, and before any call that
//! must not be made twice. It announces the run before the first model call. Calls that can be repeated start and
//! finish while a checkpoint is being written; only one checkpoint is written at a time, and the run does not end
//! before it is written.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::machine::{Action, Load, Machine, ModelCall, ModelFailed};
use super::tree::Tree;
use super::{Checkpoint, Recorder};
use crate::clock;
use crate::domain::agent::AgentProfile;
use crate::domain::budget::Spent;
use crate::domain::conversation::{ModelReply, Usage};
use crate::domain::delegation::{Awaited, OrderState, StepOrder};
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::task::Task;
use crate::domain::tool::{ToolCall, ToolResult};
use crate::domain::tree::Rights;
use crate::llm::Models;
use crate::telemetry::metrics;
use crate::tools::{ToolContext, Toolbox, create_task};

mod notes;

pub(super) struct Driver<'a> {
    machine: Machine,
    models: Option<Models>,
    tools: Toolbox,
    task: &'a Task,
    profile: Arc<AgentProfile>,
    recorder: &'a dyn Recorder,
    tree: Tree,
    /// Whether the recorder knows of the run.
    is_known: bool,
    calls: JoinSet<CallResult>,
    in_flight: HashMap<Id, InFlightCall>,
    /// When the steps under way were started by this process.
    started: HashMap<String, Instant>,
    /// The time up to which working time is counted.
    counted: Instant,
}

/// A call that is under way, for the case that its task panics.
enum InFlightCall {
    Model { id: String, purpose: &'static str },
    Tool(ToolCall),
    Load { step: String },
    Order { step: String },
}

/// Calls that must wait until something is recorded.
#[derive(Default)]
struct HeldBack {
    /// Tool calls that must not be made twice: the state is recorded before them.
    tools: Vec<ToolCall>,
    /// Steps that become tasks: the state is recorded before, so that a task is made for the steps of one plan only.
    orders: Vec<StepOrder>,
    /// Model calls before which the run must be announced. When other tasks spend from the same budget, all model
    /// calls: what the run has spent is recorded before them.
    models: Vec<ModelCall>,
    /// Whether a model call waits for the account of the tree.
    needs_tree: bool,
}

/// Why the machine has no further action.
enum Halt {
    Ended(Result<Value, Failure>),
    AwaitingApproval(Vec<ToolCall>),
    AwaitingTasks(Awaited),
}

enum CallResult {
    Model(Result<ModelReply, ModelFailed>),
    Tool(ToolResult),
    Loaded(ToolResult),
    Ordered(Result<OrderState, Failure>),
}

/// A checkpoint that is being written.
type PendingCheckpoint<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

/// How the driver ended.
pub(super) enum RunEnd {
    /// The run ended.
    Ended {
        result: Result<Value, Failure>,
        machine: Box<Machine>,
        /// The last state, when it has not been recorded.
        checkpoint: Option<Checkpoint>,
    },
    /// The run waits for a person to decide on calls.
    AwaitingApproval {
        calls: Vec<ToolCall>,
        machine: Box<Machine>,
        /// The last state, when it has not been recorded.
        checkpoint: Option<Checkpoint>,
    },
    /// The run waits for tasks that carry out its steps.
    AwaitingTasks {
        awaited: Awaited,
        machine: Box<Machine>,
        /// The last state, when it has not been recorded.
        checkpoint: Option<Checkpoint>,
    },
    /// The state of the run could not be recorded, so that it had to stop.
    Unrecorded(Failure, Spent),
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        machine: Machine,
        models: Option<Models>,
        tools: Toolbox,
        task: &'a Task,
        profile: &AgentProfile,
        recorder: &'a dyn Recorder,
        tree: Tree,
    ) -> Self {
        Self {
            machine,
            models,
            tools,
            task,
            profile: Arc::new(profile.clone()),
            recorder,
            tree,
            is_known: false,
            calls: JoinSet::new(),
            in_flight: HashMap::new(),
            started: HashMap::new(),
            counted: Instant::now(),
        }
    }

    /// Runs to the end. Dropping the future stops the run.
    pub(super) async fn run(mut self) -> RunEnd {
        match self.drive().await {
            Ok((Halt::Ended(result), checkpoint)) => {
                if let Err(Failure { budget: Some(limit), .. }) = &result {
                    metrics::BUDGET_STOPS.inc([limit.as_str()]);
                }
                RunEnd::Ended { result, machine: Box::new(self.machine), checkpoint }
            }
            Ok((Halt::AwaitingApproval(calls), checkpoint)) => {
                RunEnd::AwaitingApproval { calls, machine: Box::new(self.machine), checkpoint }
            }
            Ok((Halt::AwaitingTasks(awaited), checkpoint)) => {
                RunEnd::AwaitingTasks { awaited, machine: Box::new(self.machine), checkpoint }
            }
            Err(failure) => RunEnd::Unrecorded(failure, self.machine.spent().clone()),
        }
    }

    /// Runs until the machine has no further action; returns the last state when it is not recorded.
    ///
    /// # Errors
    /// Why the state could not be recorded.
    async fn drive(&mut self) -> Result<(Halt, Option<Checkpoint>), Failure> {
        // The state that the run started from is recorded; only results need another checkpoint.
        let mut has_news = false;
        // Whether results are recorded and the machine's reaction to them is not.
        let mut is_behind = false;
        let mut record: Option<PendingCheckpoint<'a>> = None;
        if self.tree.is_shared() {
            self.machine.forget_tree();
        }
        loop {
            self.count_time();
            let (halt, held_back) = self.advance();
            self.record_notes();
            let must_record = !held_back.tools.is_empty() || !held_back.orders.is_empty();
            if (halt.is_some() || must_record)
                && let Some(record) = record.take()
            {
                record.await?;
            }
            if let Some(halt) = halt {
                return Ok((halt, (has_news || is_behind).then(|| self.checkpoint()).transpose()?));
            }
            if must_record {
                self.record()?.await?;
                self.recorder.confirm().await?;
                has_news = false;
                for call in held_back.tools {
                    self.call_tool(call);
                }
                for order in held_back.orders {
                    self.tree.grow();
                    self.machine.forget_tree();
                    self.order(order);
                }
            }
            let counts_for_others = !held_back.models.is_empty() && self.tree.is_shared();
            // Recorded before anything that may take long, because an answer that is paid for must not be lost.
            if counts_for_others || held_back.needs_tree {
                if let Some(record) = record.take() {
                    record.await?;
                }
                if std::mem::take(&mut has_news) {
                    self.record()?.await?;
                    is_behind = held_back.needs_tree;
                }
            }
            if !held_back.models.is_empty() && !self.is_known {
                self.recorder.announce().await?;
                self.is_known = true;
            }
            for call in held_back.models {
                self.call_model(call);
            }
            if held_back.needs_tree {
                self.machine.set_tree(self.tree.account().await?);
                continue;
            }
            if has_news && record.is_none() {
                record = Some(self.record()?);
                has_news = false;
            }
            tokio::select! {
                biased;
                Some(recorded) = finished(&mut record) => {
                    record = None;
                    recorded?;
                }
                first = self.calls.join_next_with_id() => {
                    has_news |= self.take(first.ok_or_else(stalled)?);
                    while let Some(more) = self.calls.try_join_next_with_id() {
                        has_news |= self.take(more);
                    }
                    if self.tree.is_shared() {
                        self.machine.forget_tree();
                    }
                }
            }
        }
    }

    /// Tells the machine how long it has been at work, in whole milliseconds.
    fn count_time(&mut self) {
        let ms = u64::try_from(self.counted.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.counted += Duration::from_millis(ms);
        self.machine.time_passed(ms);
        self.machine.set_time(clock::now());
    }

    /// Takes actions from the machine until it waits or is done. Starts the calls that can be repeated, and returns
    /// the calls before which something must be recorded.
    fn advance(&mut self) -> (Option<Halt>, HeldBack) {
        let mut held_back = HeldBack::default();
        loop {
            match self.machine.next_action() {
                Action::CallModel(call) if self.is_known && !self.tree.is_shared() => self.call_model(*call),
                Action::CallModel(call) => held_back.models.push(*call),
                Action::CallTools(calls) => {
                    for call in calls {
                        if self.machine.must_be_recorded(&call) {
                            held_back.tools.push(call);
                        } else {
                            self.call_tool(call);
                        }
                    }
                }
                Action::Order(orders) => {
                    for order in orders {
                        // One that was placed before is only looked at.
                        if order.work.is_some() { held_back.orders.push(order) } else { self.order(order) }
                    }
                }
                Action::Load(loads) => loads.into_iter().for_each(|load| self.load(load)),
                Action::ReadTree => {
                    held_back.needs_tree = true;
                    return (None, held_back);
                }
                Action::Wait => return (None, held_back),
                Action::AwaitApproval(calls) => return (Some(Halt::AwaitingApproval(calls)), held_back),
                Action::AwaitTasks(awaited) => return (Some(Halt::AwaitingTasks(awaited)), held_back),
                Action::Done(outcome) => return (Some(Halt::Ended(outcome)), held_back),
            }
        }
    }

    /// Begins to record the present state.
    fn record(&mut self) -> Result<PendingCheckpoint<'a>, Failure> {
        self.is_known = true;
        Ok(self.recorder.checkpoint(self.checkpoint()?))
    }

    fn checkpoint(&self) -> Result<Checkpoint, Failure> {
        let state = self
            .machine
            .state()
            .map_err(|error| Failure::permanent(format!("the state of the run has no JSON form: {error}")))?;
        Ok(Checkpoint { state, progress: self.machine.progress(), spent: self.machine.spent().clone() })
    }

    fn call_model(&mut self, call: ModelCall) {
        let ModelCall { id, mut request } = call;
        request.waits_since = self.task.state.postponed.as_ref().map(|wait| wait.since);
        let purpose = request.purpose;
        let models = self.models.clone();
        let ask = async move {
            let Some(models) = models else {
                return CallResult::Model(Err(no_cost(Failure::unavailable("no model is configured"))));
            };
            let reply = models.complete(&request).await.map_err(|error| ModelFailed {
                failure: error.failure,
                repairs: error.repairs,
                usage: error.usage,
                cost_usd: error.cost_usd,
                was_answered: error.was_answered,
                said: error.said,
            });
            CallResult::Model(reply)
        };
        let handle = self.calls.spawn(ask.in_current_span());
        self.in_flight.insert(handle.id(), InFlightCall::Model { id, purpose });
    }

    fn call_tool(&mut self, call: ToolCall) {
        let makes_task = call.tool == create_task::NAME;
        if makes_task {
            self.tree.grow();
            self.machine.forget_tree();
        }
        // A task that the call makes has a plan of its own, and is held to the rights of the agent.
        let in_step = if makes_task { Rights::default() } else { self.machine.rights_in_step(&call.step) };
        let context = ToolContext {
            task_id: self.task.id,
            user: self.task.spec.user.clone(),
            goal: self.task.spec.goal.clone(),
            step: call.step.clone(),
            idempotency_key: format!("{}:{}", self.task.id, call.id),
            rights: Rights::of(&self.profile).and(&in_step),
            redirects: self.machine.redirects_of(&call),
            handed_over: if makes_task { self.machine.handed_over(&call) } else { None },
        };
        let (tools, profile, made) = (self.tools.clone(), Arc::clone(&self.profile), call.clone());
        let call_tool = async move { CallResult::Tool(tools.call(&profile, &context, &made).await) };
        let handle = self.calls.spawn(call_tool.in_current_span());
        self.in_flight.insert(handle.id(), InFlightCall::Tool(call));
    }

    /// Has a step carried out by another agent, or looks what has become of that.
    fn order(&mut self, order: StepOrder) {
        let (tools, profile, task) = (self.tools.clone(), Arc::clone(&self.profile), self.task.clone());
        let step = order.step.clone();
        let place = async move { CallResult::Ordered(tools.order(&profile, &task, &order).await) };
        let handle = self.calls.spawn(place.in_current_span());
        self.in_flight.insert(handle.id(), InFlightCall::Order { step });
    }

    /// Reads an output that became an artifact.
    fn load(&mut self, load: Load) {
        let (tools, task) = (self.tools.clone(), self.task.id);
        let Load { step, artifact, is_file } = load;
        let read = async move { CallResult::Loaded(tools.content(task, &artifact, is_file).await) };
        let handle = self.calls.spawn(read.in_current_span());
        self.in_flight.insert(handle.id(), InFlightCall::Load { step });
    }

    /// Gives the result of a call to the machine. Returns whether the result needs a checkpoint: a model in an outage
    /// that answered nothing leaves the run unchanged.
    fn take(&mut self, returned: Result<(Id, CallResult), JoinError>) -> bool {
        let is_news = !matches!(&returned, Ok((_, CallResult::Model(Err(failed)))) if failed.was_away());
        let (id, returned) = match returned {
            Ok((id, returned)) => (id, Ok(returned)),
            Err(error) => (error.id(), Err(error)),
        };
        self.machine.set_time(clock::now());
        let taken = match (self.in_flight.remove(&id), returned) {
            (Some(InFlightCall::Model { id, purpose }), Ok(CallResult::Model(reply))) => {
                self.record_model_call(purpose, &reply);
                self.machine.model_answered(&id, reply)
            }
            (Some(InFlightCall::Tool(call)), Ok(CallResult::Tool(result))) => {
                self.record_tool_call(&call, &result);
                self.machine.tool_returned(&call.id, &result)
            }
            (Some(InFlightCall::Load { step }), Ok(CallResult::Loaded(result))) => self.machine.loaded(&step, result),
            (Some(InFlightCall::Order { step }), Ok(CallResult::Ordered(result))) => {
                self.machine.order_returned(&step, result)
            }
            (Some(InFlightCall::Order { step }), broken) => {
                self.machine.order_returned(&step, Err(crashed_call(broken.err())))
            }
            (Some(InFlightCall::Load { step }), broken) => self.machine.loaded(&step, Err(crashed_call(broken.err()))),
            (Some(InFlightCall::Model { id, .. }), broken) => {
                self.machine.model_answered(&id, Err(no_cost(crashed_call(broken.err()))))
            }
            (Some(InFlightCall::Tool(call)), broken) => {
                self.machine.tool_returned(&call.id, &Err(crashed_call(broken.err())))
            }
            (None, _) => Ok(()),
        };
        if let Err(error) = taken {
            tracing::error!(task = %self.task.id, %error, "a result was dropped; this is a fault of qron");
        }
        is_news
    }
}

/// Result of the checkpoint that is being written; `None` when none is.
async fn finished(record: &mut Option<PendingCheckpoint<'_>>) -> Option<Result<(), Failure>> {
    match record {
        Some(record) => Some(record.await),
        None => None,
    }
}

fn stalled() -> Failure {
    Failure::permanent("the run waits for a call that is not in flight; this is a fault of qron")
}

fn no_cost(failure: Failure) -> ModelFailed {
    ModelFailed { failure, repairs: 0, usage: Usage::default(), cost_usd: 0.0, was_answered: false, said: None }
}

fn crashed_call(error: Option<JoinError>) -> Failure {
    let reason = error.map_or_else(|| "it returned a result of another kind".to_owned(), |error| error.to_string());
    Failure::new(FailureClass::Crashed, format!("the call panicked; this is a fault of qron: {reason}"))
}
