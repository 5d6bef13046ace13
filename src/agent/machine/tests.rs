//! The machine driven by hand: no runtime, no model, no tools.

use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::domain::budget::{Budget, Price};
use crate::domain::conversation::{Exhausted, Message, Origin, RequestedCall, Usage};
use crate::domain::failure::FailureClass;
use crate::domain::id::TaskId;
use crate::domain::time::Timestamp;
use crate::domain::tool::Effect;

mod abuse;
mod accounts;
mod acting;
mod approvals;
mod asking;
mod bounds;
mod elements;
mod files;
mod links;
mod loading;
mod ordering;
mod origins;
mod parts;
mod planning;
mod resuming;
mod reusing;
mod stepping;
mod turning;
mod unconfirmed;

fn tool(name: &str, idempotent: bool) -> Arc<ToolSpec> {
    Arc::new(ToolSpec {
        name: name.to_owned(),
        description: format!("Does {name}."),
        parameters: json!({"type": "object"}),
        output: json!(true),
        effect: if idempotent { Effect::Read } else { Effect::External },
        idempotent,
        untrusted: false,
    })
}

/// `look` can be repeated, `send` cannot.
fn setup() -> Setup {
    Setup {
        goal: "Reach the <goal>".to_owned(),
        is_child: false,
        writes_to_people: false,
        step_origin: None,
        context: Map::new(),
        dependencies: Map::new(),
        plan: None,
        role: "a tester".to_owned(),
        instructions: String::new(),
        capabilities: vec!["Home".to_owned()],
        offered: Vec::new(),
        tools: vec![tool("look", true), tool("send", false)],
        budget: Budget::default(),
        model: None,
        turns: false,
        has_model: true,
        max_output_tokens: 1_000,
        data_bytes: None,
        price: Price::default(),
        experience: String::new(),
        reused: None,
        clock: None,
        last_attempt: false,
        egress: vec!["*".to_owned()],
        needs_approval: Vec::new(),
        approvals: Vec::new(),
    }
}

fn with_plan(steps: &Value) -> Setup {
    let plan = serde_json::from_value(json!({ "steps": steps })).expect("a plan");
    Setup { plan: Some(plan), ..setup() }
}

fn begin(setup: Setup) -> Machine {
    Machine::new(setup).expect("a run")
}

#[expect(clippy::needless_pass_by_value, reason = "the tests read better so")]
fn reply(content: impl ToString) -> ModelReply {
    ModelReply {
        content: content.to_string(),
        usage: Usage { prompt_tokens: 80, completion_tokens: 20 },
        cost_usd: 0.25,
        model: "scripted".to_owned(),
        ..ModelReply::default()
    }
}

/// A question that no model answered.
fn unanswered(failure: Failure) -> ModelFailed {
    ModelFailed { failure, repairs: 0, usage: Usage::default(), cost_usd: 0.0, was_answered: false, said: None }
}

fn wants(calls: &[(&str, Value)]) -> ModelReply {
    let tool_calls = calls
        .iter()
        .enumerate()
        .map(|(index, (tool, arguments))| RequestedCall {
            id: format!("c{index}"),
            tool: (*tool).to_owned(),
            arguments: arguments.clone(),
            ..RequestedCall::default()
        })
        .collect();
    ModelReply { tool_calls, ..reply("") }
}

fn success() -> ModelReply {
    reply(json!({"success": true, "answer": "42", "reason": "s shows it"}))
}

/// The model call that must come next.
fn model_call(machine: &mut Machine) -> ModelCall {
    match machine.next_action() {
        Action::CallModel(call) => *call,
        other => panic!("expected a model call, got {other:?}"),
    }
}

/// The tool calls that must come next.
fn tool_calls(machine: &mut Machine) -> Vec<ToolCall> {
    match machine.next_action() {
        Action::CallTools(calls) => calls,
        other => panic!("expected tool calls, got {other:?}"),
    }
}

fn ids(calls: &[ToolCall]) -> Vec<&str> {
    calls.iter().map(|call| call.id.as_str()).collect()
}

fn ended(machine: &mut Machine) -> Result<Value, Failure> {
    match machine.next_action() {
        Action::Done(outcome) => outcome,
        other => panic!("expected the end, got {other:?}"),
    }
}

fn answer(machine: &mut Machine, purpose: &str, reply: ModelReply) -> ModelCall {
    let call = model_call(machine);
    assert_eq!(call.request.purpose, purpose);
    machine.model_answered(&call.id, Ok(reply)).expect("in flight");
    call
}

#[expect(clippy::needless_pass_by_value, reason = "the tests read better so")]
fn returned(machine: &mut Machine, id: &str, result: ToolResult) {
    machine.tool_returned(id, &result).expect("in flight");
}

/// Everything said in a request, as one text.
fn said(call: &ModelCall) -> String {
    let texts = call.request.messages.iter().map(|message| match message {
        Message::System { content }
        | Message::User { content }
        | Message::Tool { content, .. }
        | Message::Assistant { content, .. } => content.clone(),
    });
    texts.collect::<Vec<_>>().join("\n---\n")
}

/// The machine as another process would read it, without anything being lost.
fn copied(machine: &Machine) -> Machine {
    let state = machine.state().expect("serialisable");
    let state = serde_json::from_str(&state.to_string()).expect("the same");
    Machine { tree: machine.tree.clone(), ..Machine::with(machine.setup.clone(), state) }
}

/// The machine as the next attempt continues it.
fn resumed(machine: &Machine) -> Machine {
    Machine::resume(machine.setup.clone(), &machine.state().expect("serialisable")).expect("readable")
}

fn step(id: &str, tool: &str, depends_on: &[&str]) -> Value {
    json!({"id": id, "tool": tool, "depends_on": depends_on})
}
