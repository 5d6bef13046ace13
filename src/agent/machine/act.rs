//! Steps that need judgement: a bounded loop of model turns and tool calls.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::consent::Consent;
use super::json_text::text_or_json;
use super::state::{ActCall, CallStatus, Status, Step, as_known};
use super::{Machine, ModelCall, ModelFailed, earlier_results, grounding, plan_check, prompts};
use crate::domain::conversation::{Message, ModelReply, ModelRequest, RequestedCall};
use crate::domain::failure::{BudgetLimit, Failure, FailureClass};
use crate::domain::id::derived;
use crate::domain::json;
use crate::domain::plan::check_targets;
use crate::domain::table_source::move_name;
use crate::domain::tool::{FAIL_STEP, ToolCall, ToolResult, ToolSpec, resolve_name};
use crate::domain::tree::Rights;

/// Tools called in one turn; further ones are refused.
const MAX_CALLS_PER_TURN: usize = 16;
/// Most memory of what the model says in one step, in bytes, and in bytes for each token that one answer may have where that is
/// more: all of it goes back to the model with each turn, and is copied on the way.
const MAX_SAID_BYTES: usize = 256 * 1024;
const MAX_SAID_BYTES_PER_TOKEN: usize = 32;
/// Most turns in a row in which the model answers nothing.
const MAX_EMPTY_TURNS: u32 = 3;
/// Repetitions of a call with the same result after which the model is warned. One more fails the step.
const MAX_REPEATED_CALLS: u32 = 3;

/// Id of the model turn of `step` that is in flight.
fn turn_in_flight(step: &Step) -> Option<String> {
    match &step.status {
        Status::Acting(act) if act.in_flight => Some(turn_id(step, act.turns)),
        _ => None,
    }
}

fn turn_id(step: &Step, turns: u32) -> String {
    format!("act~{}", step.call_id(turns + 1))
}

impl Machine {
    /// The step whose model turn in flight has this id.
    pub(super) fn acting(&self, id: &str) -> Option<usize> {
        self.state.steps.iter().position(|step| turn_in_flight(step).as_deref() == Some(id))
    }

    /// The next model turn that is due and affordable, marked as in flight.
    pub(super) fn take_turn(&mut self) -> Option<ModelCall> {
        for index in 0..self.state.steps.len() {
            let Status::Acting(act) = &self.state.steps[index].status else { continue };
            if act.in_flight || !act.calls.is_empty() {
                continue;
            }
            let max = self.setup.budget.max_turns_per_step;
            if act.turns >= max {
                let reason = format!(
                    "the step has no result after {max} model turns (max_turns_per_step): raise this budget of the agent, or split the step"
                );
                self.fail(index, Failure::over_budget(BudgetLimit::Turns, reason));
                continue;
            }
            let tokens = usize::try_from(self.setup.max_output_tokens).unwrap_or(usize::MAX);
            let most = MAX_SAID_BYTES.max(tokens.saturating_mul(MAX_SAID_BYTES_PER_TOKEN));
            if act.said_bytes() > most {
                let reason = format!(
                    "what the model has said in this step takes more than {} KiB: split the step, or raise model.max_output_tokens",
                    most / 1024
                );
                self.fail(index, Failure::permanent(reason));
                continue;
            }
            let Some(mut call) = self.turn(index) else { continue };
            match self.reserve(&mut call) {
                Ok(true) => {
                    if let Status::Acting(act) = &mut self.state.steps[index].status {
                        act.in_flight = true;
                    }
                    return Some(call);
                }
                Ok(false) => return None,
                Err(failure) => {
                    self.stop(failure);
                    return None;
                }
            }
        }
        None
    }

    /// The model call of the next turn; fails the step when its instruction refers to nothing.
    fn turn(&mut self, index: usize) -> Option<ModelCall> {
        if self.waits_for_load(index) {
            return None;
        }
        let instruction = self.state.steps[index].plan.instruction.as_deref().unwrap_or_default();
        if let Err(unresolved) = check_targets(instruction, &self.targets()) {
            self.fail(index, Failure::invalid(unresolved.to_string()));
            return None;
        }
        if self.reads_in_parts(index) {
            return None;
        }
        let step = &self.state.steps[index];
        let data = prompts::data_of(&self.state, step, &self.targets(), &self.artifacts(), self.setup.data_bytes);
        if self.takes_turns() {
            let Status::Acting(act) = &step.status else { return None };
            return self.json_turn(index, turn_id(step, act.turns), &data);
        }
        let mut messages = prompts::act(&self.setup, &self.state, step, &data);
        let mut tools = self.tools_of(step);
        // A part that holds nothing is no failure.
        tools.extend(step.part.is_none().then(|| Arc::new(prompts::fail_step_tool())));
        let model = self.setup.model.clone();
        let max_output_tokens = self.setup.max_output_tokens;
        let step = &self.state.steps[index];
        let Status::Acting(act) = &step.status else { return None };
        messages.extend(earlier_results::shortened(&act.messages));
        let id = turn_id(step, act.turns);
        let request = ModelRequest {
            purpose: "act",
            messages,
            tools,
            schema: None,
            max_output_tokens,
            model,
            once: false,
            waits_since: None,
        };
        Some(ModelCall { id, request })
    }

    /// The tools that the model may call in an instruction step.
    pub(super) fn tools_of(&self, step: &Step) -> Vec<Arc<ToolSpec>> {
        let is_named = |name: &String| step.plan.tools.as_ref().is_none_or(|tools| tools.contains(name));
        let tools = self.setup.tools.iter();
        let allowed = tools.filter(|tool| tool.name != FAIL_STEP && is_named(&tool.name)).cloned().collect();
        if self.takes_turns() { self.fitting_tools(step, allowed) } else { allowed }
    }

    /// What calls of step `id` may do: no more than the tools of the step, when its plan names them.
    #[must_use]
    pub fn rights_in_step(&self, id: &str) -> Rights {
        let tools = self.state.step(id).and_then(|step| step.plan.tools.clone());
        tools.map_or_else(Rights::default, |tools| Rights { tools, ..Rights::default() })
    }

    /// Takes the model's answer of a turn.
    pub(super) fn turn_answered(&mut self, index: usize, reply: Result<ModelReply, ModelFailed>) {
        let turns = self.takes_turns();
        let Status::Acting(act) = &mut self.state.steps[index].status else { return };
        act.in_flight = false;
        let reply = match reply {
            Ok(reply) => reply,
            // The conversation stays as it is: the same turn is taken again once the model is usable.
            Err(ModelFailed { failure, .. }) if failure.class == FailureClass::Unavailable => {
                let step = self.state.steps[index].plan.id.clone();
                self.stop(failure.in_step(step));
                return;
            }
            // A small model that says what is no decision, twice, may decide in its next turn.
            Err(ModelFailed { failure, was_answered: true, said, .. })
                if turns && failure.class == FailureClass::Permanent =>
            {
                act.turns = act.turns.saturating_add(1);
                self.unusable_turn(index, said.unwrap_or_default(), &failure.message);
                return;
            }
            Err(ModelFailed { failure, .. }) => {
                self.fail(index, failure);
                return;
            }
        };
        if let Some(exhausted) = reply.exhausted {
            // The turn is taken again with a higher limit, and does not count.
            if let Err(failure) = self.raise_output_limit(&reply.model, exhausted) {
                self.fail(index, failure);
            }
            return;
        }
        act.turns = act.turns.saturating_add(1);
        let is_empty = reply.tool_calls.is_empty() && reply.content.trim().is_empty();
        act.empty_turns = if is_empty { act.empty_turns.saturating_add(1) } else { 0 };
        if act.empty_turns >= MAX_EMPTY_TURNS {
            let reason = format!("model {:?} answered nothing in {MAX_EMPTY_TURNS} turns in a row", reply.model);
            self.fail(index, Failure::permanent(reason));
            return;
        }
        if let Some(call) = reply.tool_calls.iter().find(|call| call.tool == FAIL_STEP) {
            let reason = call.arguments.get("reason").and_then(Value::as_str).unwrap_or("no reason given");
            let failure = Failure::permanent(format!("the agent could not do the step: {reason}"));
            self.fail(index, failure);
            return;
        }
        if turns && !is_empty && !reply.truncated {
            self.json_turn_answered(index, reply);
            return;
        }
        if !reply.tool_calls.is_empty() {
            self.queue_calls(index, reply);
            return;
        }
        let complaint = if reply.truncated {
            prompts::CUT_TURN
        } else if reply.content.trim().is_empty() {
            prompts::EMPTY_TURN
        } else {
            self.finish_acting(index, &reply.content);
            return;
        };
        let origin = reply.origin();
        act.messages.push(Message::Assistant { content: reply.content, tool_calls: Vec::new(), origin });
        act.messages.push(Message::User { content: complaint.to_owned() });
    }

    /// Ends a step with what its model answered.
    pub(super) fn finish_acting(&mut self, index: usize, answer: &str) {
        let given = self.given_texts(index);
        let step = &mut self.state.steps[index];
        if let Status::Acting(act) = &step.status {
            // What the model said itself is no source.
            let results = act.messages.iter().filter_map(|message| match message {
                Message::Tool { content, .. } | Message::User { content } => Some(content.as_str()),
                _ => None,
            });
            let sources: Vec<&str> = given.iter().map(String::as_str).chain(results).collect();
            step.ungrounded = grounding::unknown_in(answer, &sources, &act.doors.shown);
        }
        self.finish(index, text_or_json(answer));
    }

    /// Takes the tool calls of a turn. A call that cannot be made is answered at once. Nothing in a call is trusted.
    pub(super) fn queue_calls(&mut self, index: usize, reply: ModelReply) {
        let offered = self.tools_of(&self.state.steps[index]);
        let known: Vec<&str> = offered.iter().map(|tool| tool.name.as_str()).collect();
        let origin = reply.origin();
        let turns = self.takes_turns();
        let mut ids = self.known_ids(index);
        let mut requested: Vec<RequestedCall> = Vec::new();
        let mut calls: Vec<ActCall> = Vec::new();
        let mut ordinal = self.state.steps[index].calls;
        let provenance = self.provenance_of(index);
        for (position, mut call) in reply.tool_calls.into_iter().enumerate() {
            ordinal = ordinal.saturating_add(1);
            let id = self.state.steps[index].call_id(ordinal);
            if call.id.is_empty() || !ids.insert(call.id.clone()) {
                // Nine letters and digits are the form that every server takes.
                let free = (ordinal..=u32::MAX).map(|number| format!("c{number:08}")).find(|id| ids.insert(id.clone()));
                call.id = free.unwrap_or_default();
            }
            if let Some(tool) = resolve_name(&call.tool, &known) {
                tool.clone_into(&mut call.tool);
            }
            let arguments = read_arguments(&call.arguments).map(|mut arguments| {
                if let Some(tool) = self.tool(&call.tool) {
                    plan_check::stringify_for(&mut arguments, &tool.parameters);
                }
                move_name(&call.tool, &mut arguments);
                arguments
            });
            let status = if position >= MAX_CALLS_PER_TURN {
                CallStatus::Returned(prompts::too_many_calls(MAX_CALLS_PER_TURN))
            } else if !known.contains(&call.tool.as_str()) {
                CallStatus::Returned(prompts::unknown_tool(&call.tool, &known))
            } else if arguments.is_none() {
                CallStatus::Returned(prompts::bad_arguments(&call.tool))
            } else if let Some(refusal) = arguments.as_ref().and_then(|made| self.refuses(index, &call.tool, made)) {
                CallStatus::Returned(refusal)
            } else {
                CallStatus::Queued
            };
            let arguments = arguments.unwrap_or_else(|| call.arguments.clone());
            let (requested_id, tool) = (call.id.clone(), call.tool.clone());
            let failed = status != CallStatus::Queued;
            let provenance = provenance.clone();
            let gives_links = false;
            calls.push(ActCall {
                id,
                requested: requested_id,
                tool,
                arguments,
                provenance,
                status,
                gives_links,
                failed,
            });
            // A turn says in its text what it calls.
            if !turns {
                requested.push(call);
            }
        }
        let step = &mut self.state.steps[index];
        step.calls = ordinal;
        if let Status::Acting(act) = &mut step.status {
            act.messages.push(Message::Assistant { content: reply.content, tool_calls: requested, origin });
            act.calls = calls;
        }
        self.close_turn(index);
    }

    /// The ids of the calls in the conversation of a step. Servers that number the calls of each answer repeat their
    /// ids.
    fn known_ids(&self, index: usize) -> HashSet<String> {
        let Status::Acting(act) = &self.state.steps[index].status else { return HashSet::new() };
        let calls = act.messages.iter().filter_map(|message| match message {
            Message::Assistant { tool_calls, .. } => Some(tool_calls),
            _ => None,
        });
        calls.flatten().map(|call| call.id.clone()).collect()
    }

    /// The tool calls of all turns that are due, marked as started. Each is judged by what those before it send.
    pub(super) fn take_act_calls(&mut self) -> Vec<ToolCall> {
        let mut due = Vec::new();
        for index in 0..self.state.steps.len() {
            let Status::Acting(act) = &self.state.steps[index].status else { continue };
            let is_queued = |(_, call): &(usize, &ActCall)| call.status == CallStatus::Queued;
            let queued: Vec<usize> = act.calls.iter().enumerate().filter(is_queued).map(|(place, _)| place).collect();
            let begun: Vec<ToolCall> = queued.iter().filter_map(|place| self.begin_act_call(index, *place)).collect();
            due.extend(begun);
            if !queued.is_empty() {
                // All of them may have been refused.
                self.close_turn(index);
            }
        }
        due
    }

    /// Marks a queued call as started when it may be made, and answers it with the reason when it may not; leaves it while a person
    /// has to decide.
    fn begin_act_call(&mut self, index: usize, place: usize) -> Option<ToolCall> {
        let step = &self.state.steps[index];
        let Status::Acting(act) = &step.status else { return None };
        let queued = &act.calls[place];
        let (call, provenance) = (queued.of_step(&step.plan.id), queued.provenance.clone());
        let consent = self.consent(index, &call, &provenance);
        let gives_links = matches!(consent, Consent::Given) && self.note_request(index, &call, &provenance);
        let Status::Acting(act) = &mut self.state.steps[index].status else { return None };
        let queued = &mut act.calls[place];
        match consent {
            Consent::Open => None,
            Consent::Refused(failure) => {
                queued.status = CallStatus::Returned(prompts::tool_failure(&call.tool, &failure));
                queued.failed = true;
                None
            }
            Consent::Given => {
                (queued.status, queued.gives_links) = (CallStatus::Started, gives_links);
                Some(call)
            }
        }
    }

    /// Takes the result of a tool call of a turn; `false` when `id` is none.
    pub(super) fn act_tool_returned(&mut self, id: &str, result: &ToolResult) -> bool {
        self.note_source_of_call(id, result);
        let mut found = None;
        let turns = self.takes_turns();
        let tools = &self.setup.tools;
        for (index, step) in self.state.steps.iter_mut().enumerate() {
            let Status::Acting(act) = &mut step.status else { continue };
            let in_flight = |call: &&mut ActCall| call.id == id && call.status == CallStatus::Started;
            let Some(call) = act.calls.iter_mut().find(in_flight) else { continue };
            call.failed = result.is_err();
            call.status = CallStatus::Returned(match result {
                Ok(output) if turns => prompts::turns::result(&call.tool, output, &self.setup.goal),
                Ok(output) => prompts::tool_output(&call.tool, output),
                Err(failure) => {
                    let tool = tools.iter().find(|tool| tool.name == call.tool);
                    let is_repeatable = tool.is_some_and(|tool| tool.is_repeatable(&call.arguments));
                    prompts::tool_failure(&call.tool, &as_known(failure, &call.tool, is_repeatable))
                }
            });
            let CallStatus::Returned(text) = &call.status else { continue };
            found = Some((index, call.tool.clone(), call.arguments.clone(), text.clone()));
        }
        let Some((index, tool, arguments, text)) = found else { return false };
        match result {
            _ if !turns => {}
            Ok(_) => self.note_shown(index, tool, &arguments, &text),
            Err(failure) => self.note_failed(index, &tool, &arguments, failure),
        }
        self.close_turn(index);
        true
    }

    /// Once every call of the turn has returned, gives the results to the model and checks for repeated calls.
    fn close_turn(&mut self, index: usize) {
        let turns = self.takes_turns();
        let Status::Acting(act) = &mut self.state.steps[index].status else { return };
        if act.calls.iter().any(|call| !matches!(call.status, CallStatus::Returned(_))) {
            return;
        }
        if turns {
            let has_data = act.calls.iter().any(|call| !call.failed);
            act.doors.failures = if has_data { 0 } else { act.doors.failures.saturating_add(1) };
            for call in std::mem::take(&mut act.calls) {
                let CallStatus::Returned(content) = call.status else { continue };
                act.push_result(Message::User { content }, call.gives_links);
            }
            return;
        }
        let mut repeated: Option<(String, u32)> = None;
        for call in std::mem::take(&mut act.calls) {
            let CallStatus::Returned(content) = call.status else { continue };
            let same = derived(&[&call.tool, &call.arguments.to_string(), &content]);
            let times = act.seen.entry(same).and_modify(|times| *times = times.saturating_add(1)).or_insert(1);
            if *times >= MAX_REPEATED_CALLS {
                repeated = Some((call.tool, *times));
            }
            act.push_result(Message::Tool { call_id: call.requested, content }, call.gives_links);
        }
        let Some((tool, times)) = repeated else { return };
        if act.was_warned {
            let reason = format!(
                "the step repeats itself: {tool:?} was called {times} times with the same arguments and the same result"
            );
            self.fail(index, Failure::permanent(reason));
        } else {
            act.was_warned = true;
            act.messages.push(Message::User { content: prompts::REPEATED_CALL.to_owned() });
        }
    }
}

/// Arguments as an object: given as one, or as its text; `None` for anything else.
fn read_arguments(written: &Value) -> Option<Value> {
    match written {
        Value::Object(_) => Some(written.clone()),
        Value::Null => Some(Value::Object(Map::new())),
        Value::String(text) if text.trim().is_empty() => Some(Value::Object(Map::new())),
        Value::String(text) => json::read(text).ok().filter(Value::is_object),
        _ => None,
    }
}
