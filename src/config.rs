//! The configuration: sections of every module, read once and validated before anything starts.
//!
//! `config/default.toml` is compiled in and complete; a file and the environment override it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::domain::agent::AgentProfile;
use crate::domain::retry::RetryPolicy;
use crate::{api, llm, scheduler, store, telemetry, tools, worker};

/// The defaults, as documented.
pub const DEFAULT_TOML: &str = include_str!("../config/default.toml");

/// Every setting of qron.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where tasks are kept.
    pub store: store::Settings,
    /// The embedded Qdrant, used when `store.url` is empty.
    pub embedded: crate::edge::Settings,
    /// The search for due tasks.
    pub scheduler: scheduler::Settings,
    /// Their execution.
    pub worker: worker::Settings,
    /// Retries of failed tasks.
    pub retry: RetryPolicy,
    /// The model endpoint.
    pub model: llm::Settings,
    /// The embeddings endpoint.
    pub embeddings: llm::EmbeddingSettings,
    /// Recall of past tasks.
    pub memory: crate::agent::MemorySettings,
    /// The tools.
    pub tools: tools::Settings,
    /// Output documents.
    pub artifacts: store::ArtifactSettings,
    /// The HTTP API.
    pub api: api::Settings,
    /// Logging.
    pub log: telemetry::Settings,
    /// The agents, by name.
    pub agents: BTreeMap<String, AgentProfile>,
}

/// Why a configuration is not accepted.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl Config {
    /// Reads the defaults, then `file`, then the variables `QRON__SECTION__KEY`, and validates the whole.
    ///
    /// # Errors
    /// Names the key, its value and what is allowed.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let _ = file;
        todo!()
    }
}
