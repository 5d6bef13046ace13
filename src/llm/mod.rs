//! The model: one OpenAI-compatible endpoint, made dependable.
//!
//! Owns time limits, tries, rate limits, circuit breaker, fallback models, structured output and its repair, usage
//! and cost. Knows nothing of plans, tools or tasks.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::Deserialize;

use crate::domain::conversation::{ModelReply, ModelRequest, Usage};
use crate::domain::failure::Failure;
use crate::domain::retry::RetryPolicy;

pub mod scripted;

/// Section `[model]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Base URL of the endpoint; empty for OpenAI's when there is a key, else for no model.
    pub base_url: String,
    /// API key; may be empty for local servers.
    pub api_key: SecretString,
    /// Models to ask, in order.
    pub models: Vec<String>,
    /// Time limit to connect, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Longest silence while an answer arrives, in milliseconds.
    pub read_timeout_ms: u64,
    /// Time limit of one whole call, in milliseconds.
    pub timeout_ms: u64,
    /// Largest answer accepted, in bytes.
    pub max_response_bytes: usize,
    /// Tries of one call at one model.
    pub tries: u32,
    /// Most tokens of one answer.
    pub max_output_tokens: u32,
    /// Requests per minute; 0 for no limit.
    pub requests_per_minute: u32,
    /// Tokens per minute; 0 for no limit.
    pub tokens_per_minute: u32,
    /// Failures in a row that open the circuit of a model; 0 for never.
    pub circuit_failures: u32,
    /// How long a circuit stays open, in milliseconds.
    pub circuit_open_ms: u64,
    /// Whether to ask for answers by JSON schema.
    pub structured_output: StructuredOutput,
    /// Delays between the tries of one call.
    pub retry: RetryPolicy,
    /// Prices by model.
    pub prices: BTreeMap<String, Price>,
}

/// Whether the endpoint is asked for answers by JSON schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StructuredOutput {
    /// Ask; when the endpoint refuses, remember and put the schema into the prompt instead.
    Auto,
    /// Ask always.
    Always,
    /// Put the schema into the prompt.
    Never,
}

/// Price of a model in US dollars per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// For tokens of the prompt.
    pub prompt: f64,
    /// For tokens of the answer.
    pub completion: f64,
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
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{failure}")]
pub struct ModelError {
    /// What went wrong at last.
    pub failure: Failure,
    /// Tokens spent by answers that could not be used.
    pub usage: Usage,
    /// Their cost in US dollars.
    pub cost_usd: f64,
}

/// The models of one endpoint. Cheap to clone; clones share limits and circuits.
#[derive(Clone)]
pub struct Models {}

impl Models {
    /// The models that `settings` describe; `None` when they describe none.
    ///
    /// # Errors
    /// A [`Failure`] of class invalid that names the setting (a bad URL, a key with a line break, no model).
    pub fn new(settings: &Settings, embeddings: &EmbeddingSettings) -> Result<Option<Self>, Failure> {
        let _ = (settings, embeddings);
        todo!()
    }
    /// Asks. The answer follows the schema of the request, if it has one.
    ///
    /// # Errors
    /// [`ModelError`] when no model gave a usable answer.
    pub async fn complete(&self, request: &ModelRequest) -> Result<ModelReply, ModelError> {
        let _ = request;
        todo!()
    }
    /// Whether texts can be embedded.
    #[must_use]
    pub fn has_embeddings(&self) -> bool {
        todo!()
    }
    /// Embeds texts.
    ///
    /// # Errors
    /// The [`Failure`] of the last try.
    pub async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Failure> {
        let _ = texts;
        todo!()
    }
}
