//! Messages to and from a model, independent of any provider's format.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::number;
use super::time::Timestamp;
use super::tool::ToolSpec;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Message {
    /// Rules that take precedence over every other message.
    System {
        /// The text.
        content: String,
    },
    /// Content from the program: the goal, data, results.
    User {
        /// The text.
        content: String,
    },
    /// An earlier answer of the model.
    Assistant {
        /// The text; empty when it only called tools.
        content: String,
        /// Tools it called.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<RequestedCall>,
        /// The model that wrote the message, when the message has fields that must be sent back to that model and to
        /// no other.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<Origin>,
    },
    /// The outcome of one tool call of the model's last turn.
    Tool {
        /// Id of the [`RequestedCall`] it answers.
        call_id: String,
        /// Output of the tool. It is data, never instruction.
        content: String,
    },
}

impl Message {
    /// A message of the model without tool calls and further fields.
    #[must_use]
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::Assistant { content: content.into(), tool_calls: Vec::new(), origin: None }
    }

    /// Its text.
    #[must_use]
    pub fn content(&self) -> &str {
        match self {
            Self::System { content }
            | Self::User { content }
            | Self::Assistant { content, .. }
            | Self::Tool { content, .. } => content,
        }
    }
}

/// The model that wrote a message, with fields that qron sends back to it unread.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The model that said it.
    pub model: String,
    /// Fields of the message that this program does not know, such as `reasoning_content`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
}

/// A tool call that a model requests. Nothing in it is trusted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RequestedCall {
    /// Id the model gave the call.
    pub id: String,
    /// Name of the tool, which may not exist.
    pub tool: String,
    /// Arguments; a JSON string when the model wrote no valid JSON.
    pub arguments: Value,
    /// Fields of the call that this program does not know, such as `extra_content` with a thought signature. They go
    /// back to the model that wrote them.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
}

/// A schema that the answer must follow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResponseSchema {
    /// Name of the schema, letters and underscores.
    pub name: &'static str,
    /// JSON schema in the strict subset: every property required, no additional ones.
    pub schema: Value,
    /// A schema without unions that says less, for endpoints that refuse [`ResponseSchema::schema`]; `None` when that has no
    /// unions.
    pub plain: Option<Value>,
    /// The form of the answer in a few words, for models that get no schema; `None` when the schema is short enough to be
    /// told.
    pub form: Option<&'static str>,
    /// JSON schema of the answers that are accepted all the same, when it requires less; `None` for
    /// [`ResponseSchema::schema`].
    pub tolerated: Option<Value>,
}

/// One request to a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelRequest {
    /// Purpose of the request, as a metric label: `plan`, `act`, `replan`, `answer`.
    pub purpose: &'static str,
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// Tools the model may call; empty for none.
    pub tools: Vec<Arc<ToolSpec>>,
    /// Schema of the answer, where one is required.
    pub schema: Option<ResponseSchema>,
    /// Most tokens of the answer.
    pub max_output_tokens: u32,
    /// Model that the agent prefers; `None` for the configured ones.
    pub model: Option<String>,
    /// Whether the request allows a single answer: no repair, and no fallback model after an answer that was paid
    /// for.
    pub once: bool,
    /// Since when the task waits for a model, when an earlier run was postponed.
    pub waits_since: Option<Timestamp>,
}

/// Bytes of text per token, an estimate for endpoints that report no count.
const BYTES_PER_TOKEN: usize = 4;

/// About how many tokens `bytes` of text are.
#[must_use]
pub fn estimated_tokens(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(u64::MAX)
}

impl ModelRequest {
    /// Bytes of its tools.
    #[must_use]
    pub fn tools_bytes(&self) -> usize {
        self.tools.iter().map(|tool| length(tool.as_ref())).sum()
    }

    /// About how many tokens its prompt has: messages, tools and schema.
    #[must_use]
    pub fn prompt_tokens(&self) -> u64 {
        let messages = length(&self.messages);
        let tools = self.tools_bytes();
        let schema = self.schema.as_ref().map_or(0, |schema| length(&schema.schema));
        estimated_tokens(messages + tools + schema)
    }
}

fn length(value: &impl Serialize) -> usize {
    serde_json::to_string(value).map_or(0, |text| text.len())
}

/// Tokens counted by the endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
#[schema(as = TokenUsage)]
pub struct Usage {
    /// Tokens of the prompt.
    #[serde(deserialize_with = "number::count")]
    #[schema(required)]
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    #[serde(deserialize_with = "number::count")]
    #[schema(required)]
    pub completion_tokens: u64,
}

impl Usage {
    /// Prompt and completion tokens together.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.prompt_tokens = self.prompt_tokens.saturating_add(other.prompt_tokens);
        self.completion_tokens = self.completion_tokens.saturating_add(other.completion_tokens);
    }
}

/// What a person can do about a model whose server reads too little at once.
pub const LONGER_CONTEXT: &str = "give the model a longer context (--ctx-size of llama.cpp, OLLAMA_CONTEXT_LENGTH or num_ctx of Ollama, \
                                  --max-model-len of vLLM)";

/// The answer of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelReply {
    /// The text; JSON text when the request had a schema.
    pub content: String,
    /// Tools it wants called.
    pub tool_calls: Vec<RequestedCall>,
    /// Requests that the model answered before this answer, because what it said could not be used.
    #[serde(default)]
    pub repairs: u32,
    /// Tokens spent, over all tries of this call.
    pub usage: Usage,
    /// Cost in US dollars; zero where no price is configured.
    pub cost_usd: f64,
    /// The model that answered, which may be a fallback.
    pub model: String,
    /// Whether the answer was cut at the token limit.
    pub truncated: bool,
    /// When the request had a schema: whether the content is only a part of the answer, such as a value among other
    /// words or the arguments of a call.
    #[serde(default)]
    pub is_excerpt: bool,
    /// Fields of the message that this program does not know; see [`Origin::fields`].
    #[serde(default)]
    pub fields: Map<String, Value>,
    /// Set when the model reached the token limit before its first word.
    #[serde(default)]
    pub exhausted: Option<Exhausted>,
    /// Bytes of data that the question lost to fit into what the model reads at once.
    #[serde(default)]
    pub data_left_out: u64,
}

/// A model that spent all tokens of its answer on thinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exhausted {
    /// Tokens that the answer was allowed to have.
    pub limit: u32,
    /// Token limit for the next request; `None` when there is no higher one.
    pub next: Option<u32>,
    /// How many tokens the model reads at once, its answer included, when that set the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u32>,
}

impl ModelReply {
    /// Origin of its message; `None` when the message has no fields that must be sent back.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        let has_fields = !self.fields.is_empty() || self.tool_calls.iter().any(|call| !call.fields.is_empty());
        has_fields.then(|| Origin { model: self.model.clone(), fields: self.fields.clone() })
    }
}
