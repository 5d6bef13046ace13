//! What agents can do: the toolbox, and one file for each tool.
//!
//! Policy lives here, in code outside the model: allow-lists, schemas, time and size limits. Arguments come from a model
//! and are hostile until checked; output is data.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Notify;

use crate::domain::agent::AgentProfile;
use crate::domain::id::TaskId;
use crate::domain::tool::{ToolCall, ToolResult, ToolSpec};
use crate::store::Store;

/// Section `[tools]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Folder that holds one folder for each task.
    pub workspace: PathBuf,
    /// Time limit of one call, in milliseconds.
    pub timeout_ms: u64,
    /// Longest output kept in the run, in bytes; longer ones become an artifact.
    pub max_output_bytes: usize,
    /// `http_request`.
    pub http: HttpSettings,
    /// The file tools.
    pub files: FileSettings,
    /// Databases of `sql_query`, by name.
    pub sql: BTreeMap<String, DatabaseSettings>,
}

/// Section `[tools.http]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// Hosts and networks that are open although private.
    pub allow: Vec<String>,
    /// Largest response body, in bytes.
    pub max_response_bytes: usize,
    /// Redirects followed.
    pub max_redirects: u32,
    /// Time limit of one request, in milliseconds.
    pub timeout_ms: u64,
}

/// Section `[tools.files]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSettings {
    /// Largest file, in bytes.
    pub max_bytes: usize,
}

/// Section `[tools.sql.NAME]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    /// `postgres://…` or `sqlite://PATH`; secret, because it may hold a password.
    pub url: SecretString,
    /// Most rows of one answer.
    #[serde(default = "default_max_rows")]
    pub max_rows: usize,
    /// Time limit of one query, in milliseconds.
    #[serde(default = "default_sql_timeout_ms")]
    pub timeout_ms: u64,
}

const fn default_max_rows() -> usize {
    500
}

const fn default_sql_timeout_ms() -> u64 {
    10_000
}

/// Who calls a tool, and for what.
#[derive(Clone, Debug)]
pub struct ToolContext {
    /// The task.
    pub task_id: TaskId,
    /// On whose behalf it runs.
    pub user: Option<String>,
    /// The step.
    pub step: String,
    /// The same for every repetition of this call, different for any other: task, step and call.
    pub idempotency_key: String,
}

/// A tool.
#[async_trait]
pub trait Tool: Send + Sync {
    /// What it is.
    fn spec(&self) -> ToolSpec;
    /// Does it. `arguments` follow the schema of the spec. Must be safe to drop at any await.
    async fn call(&self, context: &ToolContext, arguments: Value) -> ToolResult;
}

/// The tools of this process. Cheap to clone.
#[derive(Clone)]
pub struct Toolbox {
    tools: Arc<HashMap<String, Arc<dyn Tool>>>,
}

impl Toolbox {
    /// All built-in tools. `wake` is notified when a tool inserts a task.
    ///
    /// # Errors
    /// Names the setting that cannot be used (a workspace that is no folder, a bad network, a bad database URL).
    pub fn new(settings: &Settings, store: &Store, wake: Arc<Notify>) -> Result<Self, ToolboxError> {
        let _ = (settings, store, wake);
        todo!()
    }
    /// The tools that `profile` may use, by name.
    #[must_use]
    pub fn specs(&self, profile: &AgentProfile) -> Vec<ToolSpec> {
        let _ = (profile, &self.tools);
        todo!()
    }
    /// Calls a tool for an agent: allow-list, schema, time limit, size limit, metrics. Never panics.
    pub async fn call(&self, profile: &AgentProfile, context: &ToolContext, call: &ToolCall) -> ToolResult {
        let _ = (profile, context, call);
        todo!()
    }
}

/// A setting of the tools that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("tools.{key}: {reason}")]
pub struct ToolboxError {
    /// The key below `tools`.
    pub key: String,
    /// What is wrong with it, and what is allowed.
    pub reason: String,
}
