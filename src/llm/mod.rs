//! The model: one OpenAI-compatible endpoint, made dependable.
//!
//! Owns time limits, tries, rate limits, limits of calls in flight, circuit breaker, fallback models, structured output and its repair, usage
//! and cost. Knows nothing of plans, tools or tasks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use crate::domain::conversation::{ModelReply, ModelRequest, Usage};
use crate::domain::failure::Failure;
use crate::domain::retry::RetryPolicy;
use crate::telemetry::known_labels;

pub use crate::domain::budget::Price;
pub(crate) use endpoint_check::is_same;
pub use endpoint_check::{ConfiguredModel, EndpointCheck, EndpointState};
pub use extra_body::ExtraBody;

use client::ModelClient;
use embeddings::Embedder;
use transport::Endpoint;

mod availability;
mod blame;
mod call_id;
mod circuit;
mod client;
mod embeddings;
mod endpoint_check;
mod errors;
mod events;
mod extra_body;
#[cfg(test)]
mod hostile_answers;
mod in_flight;
mod learnt;
mod memory_budget;
mod model;
mod negotiation;
mod parameters;
mod pieces;
mod prompted;
mod question;
mod rate_limits;
mod reading;
mod refusal;
pub mod scripted;
mod shorten;
mod size;
mod streamed;
mod structured;
mod textual;
mod thoughts;
mod transport;
mod waits;
mod window;
mod wire;

/// Time limit to connect. A host that is there accepts a connection within it; a model that is slow is slow afterwards.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest silence in the middle of an answer, in milliseconds. Thinking comes before the answer and is bounded by
/// [`Settings::timeout_ms`] alone; an answer that has begun and stops for a minute has lost its connection. See `streamed.rs`.
const READ_TIMEOUT_MS: u64 = 60_000;

const fn read_timeout_ms() -> u64 {
    READ_TIMEOUT_MS
}

/// Section `[model]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Base URL of the endpoint; empty for OpenAI's when there is a key, else for no model.
    pub base_url: String,
    /// API key; may be empty for local servers.
    pub api_key: SecretString,
    /// Models to call, in order; empty for `gpt-5-mini` of OpenAI. At another endpoint the caller of [`Models::new`] fills it in,
    /// with the help of [`EndpointCheck`].
    pub models: Vec<String>,
    /// Longest silence in the middle of an answer, in milliseconds: [`READ_TIMEOUT_MS`]. Not part of the configuration; tests
    /// make it small.
    #[serde(skip, default = "read_timeout_ms")]
    pub read_timeout_ms: u64,
    /// Time limit of one call, in milliseconds: to the first piece of an answer that comes in pieces, else to its end. Tries,
    /// repairs and fallbacks of one question begin within it, but for one more call; the time in which an answer comes in
    /// pieces does not count.
    pub timeout_ms: u64,
    /// Largest answer accepted, in bytes.
    pub max_response_bytes: usize,
    /// Tries of one call at one model.
    pub tries: u32,
    /// Most tokens of one answer, to begin with.
    pub max_output_tokens: u32,
    /// Most tokens of one answer of a model that has used up its limit before the first word; [`Settings::max_output_tokens`]
    /// where that is more.
    pub max_output_tokens_ceiling: u32,
    /// Requests per minute; 0 for no limit.
    pub requests_per_minute: u32,
    /// Tokens per minute; 0 for no limit.
    pub tokens_per_minute: u32,
    /// Failed calls in a row after which the circuit of a model opens; 0 for never.
    pub circuit_failures: u32,
    /// How long a circuit stays open, in milliseconds.
    pub circuit_open_ms: u64,
    /// How long a task waits for a model in an outage before it fails for good, in seconds.
    pub patience_s: u64,
    /// How models work on a goal.
    pub planning: Planning,
    /// Whether to request answers by JSON schema.
    pub structured_output: StructuredOutput,
    /// Delays between the tries of one call.
    pub retry: RetryPolicy,
    /// Further fields of the body of each chat request, by model.
    pub extra_body: ExtraBody,
    /// Prices by model.
    pub prices: BTreeMap<String, Price>,
}

/// How a model works on a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Planning {
    /// In turns when the model is small by its name, or when none of its plans could be used; else by a plan.
    Auto,
    /// By a plan.
    Plan,
    /// In turns: one decision at a time.
    Turns,
}

/// Whether answers are requested by JSON schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StructuredOutput {
    /// Request it; when the endpoint refuses, remember that and put the schema into the prompt.
    Auto,
    /// Always request it.
    Always,
    /// Put the schema into the prompt.
    Never,
}

/// Section `[embeddings]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingSettings {
    /// Model; empty for none.
    pub model: String,
    /// Length of its vectors.
    pub dimensions: u64,
}

/// A call that failed for good, after every try and fallback, with what it cost all the same.
#[derive(Clone, PartialEq, thiserror::Error)]
#[error("{failure}")]
pub struct ModelError {
    /// What went wrong at last.
    pub failure: Failure,
    /// Requests that a model answered before the last one, because what it said could not be used.
    pub repairs: u32,
    /// Tokens spent by answers that could not be used.
    pub usage: Usage,
    /// Their cost in US dollars.
    pub cost_usd: f64,
    /// Whether a model answered, and only its answer cannot be used.
    pub was_answered: bool,
    /// The last answer, when it was plain text that followed no schema and called no tool.
    pub said: Option<String>,
}

impl fmt::Debug for ModelError {
    /// Leaves out the answer of the model, which must not get into a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { failure, repairs, usage, cost_usd, was_answered, said: _ } = self;
        let mut shown = formatter.debug_struct("ModelError");
        shown.field("failure", failure).field("repairs", repairs).field("usage", usage).field("cost_usd", cost_usd);
        shown.field("was_answered", was_answered).finish_non_exhaustive()
    }
}

/// The models of one endpoint. Cheap to clone; clones share limits, circuits and what was learned about the models.
#[derive(Clone)]
pub struct Models {
    core: Arc<ModelClient>,
    embedder: Option<Arc<Embedder>>,
}

impl Models {
    /// The models that `settings` describe; `None` when they describe none.
    ///
    /// # Errors
    /// A [`Failure`] of class invalid that names the setting (a bad URL, a key with a line break, no model), or of
    /// class permanent when TLS cannot be set up on this host.
    pub fn new(settings: &Settings, embeddings: &EmbeddingSettings) -> Result<Option<Self>, Failure> {
        let embedder = Embedder::from_settings(embeddings)?.map(Arc::new);
        let Some(endpoint) = Endpoint::from_settings(settings)? else { return Ok(None) };
        if let Some(problem) = settings.problems().into_iter().next() {
            return Err(Failure::invalid(problem));
        }
        let settings = &Settings { models: settings.models_at(&endpoint), ..settings.clone() };
        if settings.models.is_empty() {
            return Err(Failure::invalid("model.models is empty: name one model or more"));
        }
        let embeddings = embedder.as_ref().map(|_| embeddings.model.trim());
        for name in settings.models.iter().map(String::as_str).chain(embeddings) {
            known_labels::begin_model(name);
        }
        Ok(Some(Self { core: Arc::new(ModelClient::new(settings, endpoint)?), embedder }))
    }

    /// Completes a request. The answer follows the schema of the request, if it has one. Dropping the future cancels
    /// the call.
    ///
    /// Takes [`Settings::timeout_ms`] for all tries, fallbacks and repairs, and one more call at most. What comes on top: the
    /// time in which answers come in pieces, and waiting for the configured rate limits or for a model that is given only so
    /// many calls at once.
    ///
    /// # Errors
    /// [`ModelError`] when no model gave a usable answer. One that does not follow the schema after a repair is of class
    /// permanent, and comes with what the model said instead.
    pub async fn complete(&self, request: &ModelRequest) -> Result<ModelReply, ModelError> {
        self.core.complete(request).await
    }

    /// Most tokens of one answer for an agent that prefers `model`, as far as is known.
    #[must_use]
    pub fn max_output_tokens(&self, model: Option<&str>) -> u32 {
        self.preferred(model).map_or(self.core.settings.max_output_tokens, |model| model.output_limit())
    }

    /// Most bytes of data that a question to the model of an agent that prefers `model` has room for; `None` when its server has
    /// shown no limit.
    #[must_use]
    pub fn data_bytes(&self, model: Option<&str>) -> Option<usize> {
        self.preferred(model).and_then(|model| model.window()).map(window::data_bytes)
    }

    /// Whether an agent that prefers `model` works in turns, without a plan.
    #[must_use]
    pub fn takes_turns(&self, model: Option<&str>) -> bool {
        match self.core.settings.planning {
            Planning::Plan => false,
            Planning::Turns => true,
            Planning::Auto => self.preferred(model).is_some_and(|model| model.takes_turns()),
        }
    }

    /// Records whether a plan of an agent that prefers `model` could be used.
    pub fn record_plan(&self, model: Option<&str>, is_usable: bool) {
        if let Some(model) = self.preferred(model) {
            model.record_plan(is_usable);
        }
    }

    /// Name of the model that is called first for an agent that prefers `model`.
    #[must_use]
    pub fn first_choice<'a>(&'a self, model: Option<&'a str>) -> Option<&'a str> {
        let first = self.core.settings.models.first().map(String::as_str);
        model.filter(|name| !name.is_empty()).or(first)
    }

    fn preferred(&self, model: Option<&str>) -> Option<Arc<model::Model>> {
        self.first_choice(model).map(|name| self.core.model(name))
    }

    /// The highest price at which a request of an agent that prefers `model` may be answered, fallbacks included.
    /// Models without a price cost nothing.
    #[must_use]
    pub fn highest_price(&self, model: Option<&str>) -> Price {
        let Settings { models, prices, .. } = &self.core.settings;
        let names = models.iter().map(String::as_str).chain(model);
        names.filter_map(|name| prices.get(name)).fold(Price::default(), |highest, price| Price {
            prompt: highest.prompt.max(price.prompt),
            completion: highest.completion.max(price.completion),
        })
    }

    /// Whether texts can be embedded.
    #[must_use]
    pub fn has_embeddings(&self) -> bool {
        self.embedder.is_some()
    }

    /// Embeds texts, in order.
    ///
    /// # Errors
    /// The [`Failure`] of the last try; of class invalid when no embeddings model is configured.
    pub async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Failure> {
        let none = || Failure::invalid("there is no embeddings model; set embeddings.model");
        self.embedder.as_ref().ok_or_else(none)?.embed(&self.core, texts).await
    }
}

impl Settings {
    /// The models to call at `endpoint`: the configured ones, or else the one that it is known to have.
    fn models_at(&self, endpoint: &Endpoint) -> Vec<String> {
        if self.models.is_empty() { endpoint.known_model().into_iter().collect() } else { self.models.clone() }
    }

    /// What is wrong with the values, each problem with its key; empty when they can be used. The address and the key of the
    /// endpoint are checked where they are read.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.models.iter().any(|name| name.trim().is_empty()) {
            problems.push("model.models holds an empty name: write the name of a model, or leave it out".to_owned());
        }
        let at_least_one = [
            ("model.tries", u64::from(self.tries)),
            ("model.timeout_ms", self.timeout_ms),
            ("model.max_output_tokens", u64::from(self.max_output_tokens)),
            ("model.max_output_tokens_ceiling", u64::from(self.max_output_tokens_ceiling)),
            ("model.max_response_bytes", self.max_response_bytes as u64),
            ("model.patience_s", self.patience_s),
        ];
        let too_small = at_least_one.iter().filter(|(_, value)| *value == 0);
        problems.extend(too_small.map(|(key, _)| format!("{key} = 0 is too small: use 1 or more")));
        problems.extend(extra_body::problems(&self.extra_body));
        let is_usable = |price: f64| price.is_finite() && price >= 0.0;
        for (name, _) in
            self.prices.iter().filter(|(_, price)| !is_usable(price.prompt) || !is_usable(price.completion))
        {
            problems.push(format!(
                "model.prices.{name:?} holds a negative price: use dollars per million tokens, zero or more"
            ));
        }
        problems
    }
}
