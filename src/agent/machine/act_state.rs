//! The serialised state of the conversation of a step that needs judgement.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::conversation::{Message, RequestedCall};
use crate::domain::failure::Failure;
use crate::domain::json::Size;
use crate::domain::number;
use crate::domain::provenance::Provenance;
use crate::domain::tool::ToolCall;

/// The tool-calling loop of a step that needs judgement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Act {
    /// Model turns taken.
    #[serde(deserialize_with = "number::count")]
    pub(super) turns: u32,
    pub(super) in_flight: bool,
    /// Turns in a row in which the model said nothing.
    #[serde(default)]
    #[serde(deserialize_with = "number::count")]
    pub(super) empty_turns: u32,
    /// Where what the conversation holds came from.
    #[serde(default = "Provenance::unknown")]
    pub(super) provenance: Provenance,
    /// The conversation after its opening.
    pub(super) messages: Vec<Message>,
    /// The places of the messages whose links may be followed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) linking: BTreeSet<usize>,
    /// Tool calls of the last turn; empty when it is the model's turn.
    pub(super) calls: Vec<ActCall>,
    /// How often a call with the same arguments gave the same result.
    pub(super) seen: BTreeMap<Uuid, u32>,
    /// In a run in turns: what is closed to the model.
    #[serde(default)]
    pub(super) doors: Doors,
    /// Whether the model has been warned that it repeats a call.
    #[serde(rename = "told")]
    pub(super) was_warned: bool,
}

/// What a run in turns closes to its model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a thing of its own that was said to the model or is closed to it"
)]
pub(super) struct Doors {
    /// The calls that were made, which are not made again.
    pub(super) made: BTreeSet<Uuid>,
    /// Turns in a row that led to nothing.
    #[serde(deserialize_with = "number::count")]
    pub(super) failures: u32,
    /// Whether the model has been asked whether it meant the words of its answer.
    pub(super) was_doubted: bool,
    /// Whether it has been told that its answer lacks what the goal asks for.
    pub(super) was_told_missing: bool,
    /// The calls that have succeeded.
    pub(super) succeeded: BTreeSet<Uuid>,
    /// The tools of which a call has succeeded, and the addresses that were answered.
    pub(super) answered: BTreeSet<String>,
    /// The address that was answered last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_address: Option<String>,
    /// The last result, when it is short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_result: Option<String>,
    /// The last call with its result, when it was a calculation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) calculation: Option<String>,
    /// The numbers that results of tools have shown, but for those that the model itself put into the call.
    pub(super) shown: BTreeSet<String>,
    /// How often it has been told that numbers of its answer stand nowhere.
    #[serde(deserialize_with = "number::count")]
    pub(super) invented: u32,
    /// Whether the model has just made a call again: its next turn is the end.
    pub(super) has_repeated: bool,
    /// Whether the next turn must call a tool.
    pub(super) must_call: bool,
    /// Whether the next turn must calculate: the model has worked a number out by itself.
    pub(super) must_calculate: bool,
    /// Why the last call failed, when it may succeed later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) may_pass: Option<Failure>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ActCall {
    /// Id of the call within the run.
    pub(super) id: String,
    /// Id the model knows it by.
    pub(super) requested: String,
    pub(super) tool: String,
    pub(super) arguments: Value,
    /// Where what the model had seen came from, when it asked for the call.
    #[serde(default = "Provenance::unknown")]
    pub(super) provenance: Provenance,
    pub(super) status: CallStatus,
    /// Whether the links of its result may be followed.
    #[serde(default)]
    pub(super) gives_links: bool,
    /// Whether it was refused, or failed.
    #[serde(default)]
    pub(super) failed: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CallStatus {
    Queued,
    Started,
    /// The text that the model gets as the result.
    Returned(String),
}

impl Act {
    /// Adds the result of a call to the conversation.
    pub(super) fn push_result(&mut self, message: Message, gives_links: bool) {
        if gives_links {
            self.linking.insert(self.messages.len());
        }
        self.messages.push(message);
    }

    /// About how many bytes of memory the model's own part of the conversation takes.
    pub(super) fn said_bytes(&self) -> usize {
        let size_of_call = |call: &RequestedCall| {
            let fields = call.fields.values().map(|value| Size::of(value).memory).sum::<usize>();
            call.id.len() + call.tool.len() + Size::of(&call.arguments).memory + fields
        };
        let size = |message: &Message| match message {
            Message::Assistant { content, tool_calls, origin } => {
                let fields = origin.iter().flat_map(|origin| origin.fields.values());
                let fields = fields.map(|value| Size::of(value).memory).sum::<usize>();
                content.len() + fields + tool_calls.iter().map(size_of_call).sum::<usize>()
            }
            _ => 0,
        };
        self.messages.iter().map(size).sum()
    }
}

impl ActCall {
    pub(super) fn of_step(&self, step: &str) -> ToolCall {
        ToolCall {
            id: self.id.clone(),
            step: step.to_owned(),
            tool: self.tool.clone(),
            arguments: self.arguments.clone(),
        }
    }
}
