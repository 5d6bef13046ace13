//! Scripts: scenarios by goal, turns within them, faults on demand.

use serde_json::Value;

use crate::domain::conversation::{Usage, estimated_tokens};
use crate::domain::json::Size;

/// Everything a scripted model knows.
#[derive(Clone, Debug)]
pub struct Script {
    /// Scenarios; the first that fits a request answers it. A request that none fits is refused with status 400.
    pub scenarios: Vec<Scenario>,
    /// Time before an answer, in milliseconds, where the turn names none.
    pub latency_ms: u64,
    /// Tokens reported, where the turn names none.
    pub usage: Usage,
    /// Length of embedding vectors, where the request names none.
    pub dimensions: usize,
    /// Fields of a request that are refused with status 400, as servers do that do not know them,
    /// e.g. `response_format`.
    pub refused_fields: Vec<&'static str>,
    /// Further requests that are refused, each in its own way; the first that fits counts.
    pub refusals: Vec<RefusalRule>,
    /// Whether the bodies of requests are kept with the recorded requests; a long run may not want them in memory.
    pub keep_bodies: bool,
    /// Key that requests must present; any when `None`.
    pub api_key: Option<String>,
    /// Chat requests that are answered at once, as servers with so many places do; the others wait in order. 0 for no limit.
    pub places: usize,
    /// Whether answers come in pieces when a request wants that; else they come whole in spite of it.
    pub streams: bool,
    /// Tokens of a question that the server reads, at four bytes a token; it cuts longer ones without a word, and answers as a model does
    /// that has not seen its goal. `None` for no limit.
    pub context: Option<u64>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            scenarios: Vec::new(),
            latency_ms: 0,
            usage: Usage { prompt_tokens: 100, completion_tokens: 20 },
            dimensions: 256,
            refused_fields: Vec::new(),
            refusals: Vec::new(),
            keep_bodies: true,
            api_key: None,
            places: 0,
            streams: true,
            context: None,
        }
    }
}

impl Script {
    /// A script of `scenarios`, without latency.
    #[must_use]
    pub fn new(scenarios: Vec<Scenario>) -> Self {
        Self { scenarios, ..Self::default() }
    }

    /// The same script with `ms` milliseconds before each answer.
    #[must_use]
    pub fn latency_ms(mut self, ms: u64) -> Self {
        self.latency_ms = ms;
        self
    }

    /// The same script for a server that does not keep the bodies of requests.
    #[must_use]
    pub fn without_bodies(mut self) -> Self {
        self.keep_bodies = false;
        self
    }

    /// The same script for a server that answers `places` chat requests at once.
    #[must_use]
    pub fn places(mut self, places: usize) -> Self {
        self.places = places;
        self
    }

    /// The same script for a server that answers whole, whatever a request wants.
    #[must_use]
    pub fn without_streams(mut self) -> Self {
        self.streams = false;
        self
    }

    /// The same script for a server that reads `tokens` of a question and cuts the rest without a word.
    #[must_use]
    pub fn cutting_at(mut self, tokens: u64) -> Self {
        self.context = Some(tokens);
        self
    }

    /// The turn that answers a question which is longer than the context; `None` for any other.
    pub(super) fn turn_after_cut(&self, body: &Value) -> Option<Turn> {
        let context = self.context?;
        let bytes = Size::of(&body["messages"]).text + Size::of(&body["tools"]).text;
        let is_cut = estimated_tokens(bytes) > context;
        is_cut.then(|| Turn::new(Reply::Text("Hello! How can I help you today?".to_owned())).usage(context, 8))
    }

    /// The same script, refusing requests that have `field`.
    #[must_use]
    pub fn refusing(mut self, field: &'static str) -> Self {
        self.refused_fields.push(field);
        self
    }

    /// The same script, refusing the requests for which `when` holds.
    #[must_use]
    pub fn refusing_when(mut self, when: fn(&Value) -> bool, status: u16, message: &'static str) -> Self {
        self.refusals.push(RefusalRule { when, status, message });
        self
    }
}

/// Requests that are refused, as servers refuse requests for features that they lack.
#[derive(Clone, Copy, Debug)]
pub struct RefusalRule {
    /// Whether a request, given its body, is one of them.
    pub when: fn(&Value) -> bool,
    /// Status of the refusal.
    pub status: u16,
    /// What it says.
    pub message: &'static str,
}

/// The turns of one conversation, or of one kind of conversation.
///
/// Requests are matched by their content, so that concurrent tasks do not disturb each other. Turns are counted for
/// each goal on its own, and in requests of purpose `act` for each opening message of a goal: one scenario can serve
/// any number of tasks and steps.
#[derive(Clone, Debug, Default)]
pub struct Scenario {
    /// Part of the goal; empty fits every goal. The goal of a request is what stands between `<goal>` and `</goal>`
    /// in its user messages; in a request without such marks it is the line where the text was found.
    pub goal: String,
    /// The purpose it answers (`plan`, `act`, `replan`, `answer`); any when `None`.
    pub purpose: Option<&'static str>,
    /// The model it answers for; any when `None`.
    pub model: Option<&'static str>,
    /// Texts that must all stand somewhere in the messages, e.g. the instruction of a step.
    pub contains: Vec<String>,
    /// What it answers, in order; the last turn repeats.
    pub turns: Vec<Turn>,
}

impl Scenario {
    /// A scenario for the tasks whose goal contains `goal`.
    pub fn on(goal: impl Into<String>) -> Self {
        Self { goal: goal.into(), ..Self::default() }
    }

    /// The same scenario for requests of one purpose only.
    #[must_use]
    pub fn purpose(mut self, purpose: &'static str) -> Self {
        self.purpose = Some(purpose);
        self
    }

    /// The same scenario for one model only.
    #[must_use]
    pub fn model(mut self, model: &'static str) -> Self {
        self.model = Some(model);
        self
    }

    /// The same scenario for requests that contain `text`.
    #[must_use]
    pub fn contains(mut self, text: impl Into<String>) -> Self {
        self.contains.push(text.into());
        self
    }

    /// The same scenario with one more turn.
    #[must_use]
    pub fn turn(mut self, turn: Turn) -> Self {
        self.turns.push(turn);
        self
    }

    /// The same scenario with one more turn that answers `value` as JSON text.
    #[must_use]
    pub fn json(self, value: Value) -> Self {
        self.turn(Turn::new(Reply::Json(value)))
    }

    /// The same scenario with one more turn that answers `text`.
    #[must_use]
    pub fn text(self, text: impl Into<String>) -> Self {
        self.turn(Turn::new(Reply::Text(text.into())))
    }

    /// The same scenario with one more turn that calls one tool.
    #[must_use]
    pub fn call(self, tool: impl Into<String>, arguments: Value) -> Self {
        self.turn(Turn::new(Reply::ToolCalls(vec![(tool.into(), arguments)])))
    }

    /// The same scenario with one more turn that goes wrong `times` times.
    #[must_use]
    pub fn fault(self, fault: Fault, times: u32) -> Self {
        self.turn(Turn { fault: Some(fault), times, ..Turn::new(Reply::Text(String::new())) })
    }
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The reply.
    pub reply: Reply,
    /// Time before it, in milliseconds; the script's when `None`.
    pub latency_ms: Option<u64>,
    /// Tokens reported; the script's when `None`.
    pub usage: Option<Usage>,
    /// What goes wrong instead of, or with, the reply.
    pub fault: Option<Fault>,
    /// Requests this turn answers before the next one does; at least 1.
    pub times: u32,
}

impl Turn {
    /// A turn that says `reply` once.
    #[must_use]
    pub fn new(reply: Reply) -> Self {
        Self { reply, latency_ms: None, usage: None, fault: None, times: 1 }
    }

    /// The same turn with `ms` milliseconds before it.
    #[must_use]
    pub fn latency_ms(mut self, ms: u64) -> Self {
        self.latency_ms = Some(ms);
        self
    }

    /// The same turn with these tokens reported.
    #[must_use]
    pub fn usage(mut self, prompt_tokens: u64, completion_tokens: u64) -> Self {
        self.usage = Some(Usage { prompt_tokens, completion_tokens });
        self
    }
}

/// A reply of the scripted model.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A value, as JSON text.
    Json(Value),
    /// Text.
    Text(String),
    /// Calls of tools by name and arguments. Arguments that are a text are sent as they are, valid JSON or not.
    ToolCalls(Vec<(String, Value)>),
    /// The whole body of the response, for dialects; it never comes in pieces.
    Body(Value),
    /// The text of a stream of events, as it is sent, whatever a request wants.
    Events(String),
}

/// A fault on demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Status 429, with `Retry-After` when seconds are given.
    RateLimited {
        /// Value of the header, in seconds.
        retry_after_s: Option<u64>,
    },
    /// Status 429 with the code `insufficient_quota`.
    InsufficientQuota,
    /// Status 500.
    ServerError,
    /// Any other status, with a message.
    Status(u16, &'static str),
    /// No answer, ever.
    Hang,
    /// The right answer in parts of `bytes` bytes, with `pause_ms` milliseconds between them.
    SlowDrip {
        /// Size of a part.
        bytes: usize,
        /// Milliseconds between two parts.
        pause_ms: u64,
    },
    /// The connection ends in the middle of the body.
    CutStream,
    /// Status 200 and a body that is no JSON.
    MalformedJson,
    /// JSON text that follows no schema: `{"unexpected":true}`.
    WrongSchema,
    /// A call of a tool that does not exist, `no_such_tool`.
    UnknownTool,
    /// Status 200 and no choices.
    EmptyChoices,
    /// Status 200 and an answer of this many bytes.
    HugeBody {
        /// Size of the answer's text.
        bytes: usize,
    },
    /// A call of the first tool offered, whatever was said before; arguments `{}`.
    EndlessToolLoop,
}
