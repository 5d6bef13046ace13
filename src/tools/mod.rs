//! Tools: the toolbox, and one file for each tool.
//!
//! Policy lives here, in code outside the model: allow-lists, schemas, time and size limits. Arguments come from a model
//! and are hostile until checked; output is data.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use crate::domain::approval::ApprovalPolicy;
use crate::domain::handover::HandoverDraft;
use crate::domain::host::Redirects;
use crate::domain::id::TaskId;
use crate::domain::schedule::zone::Zone;
use crate::domain::tool::{ToolResult, ToolSpec};
use crate::domain::tree::{Rights, TreeBudget};

pub mod artifacts;
pub mod calculate;
pub mod create_task;
pub mod files;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod given_files;
pub mod http;
mod inputs;
mod orders;
pub mod sql;
pub mod state;
mod tls;
mod toolbox;
pub mod vector_search;

pub use files::OpenedFolder;
pub use toolbox::Toolbox;

/// Names of the tools that every replica has.
pub const NAMES: [&str; 13] = [
    "calculate",
    "create_task",
    "get_state",
    "http_request",
    "list_files",
    "query_table",
    "read_artifact",
    "read_file",
    "save_artifact",
    "set_state",
    "sql_query",
    "vector_search",
    "write_file",
];

/// Section `[tools]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Folder that holds one folder for each task.
    pub workspace: PathBuf,
    /// Zone of times without an offset: that of `scheduler.zone`.
    #[serde(skip)]
    pub zone: Zone,
    /// Limits of a task and its descendants together: section `[tree]`.
    #[serde(skip)]
    pub tree: TreeBudget,
    /// Approval policy for tasks that must be approved: section `[approvals]`.
    #[serde(skip)]
    pub approvals: ApprovalPolicy,
    /// Time limit of one call, in milliseconds.
    pub timeout_ms: u64,
    /// Longest output kept in the run, in bytes; longer ones become an artifact.
    pub max_output_bytes: usize,
    /// How long the task of a step waits for an agent to begin it before its parent looks whether one is left, in
    /// milliseconds: [`UNCLAIMED_MS`]. Not part of the configuration; tests make it small.
    #[serde(skip, default = "unclaimed_ms")]
    pub unclaimed_ms: i64,
    /// `http_request`.
    pub http: HttpSettings,
    /// The file tools.
    pub files: FileSettings,
    /// Databases of `sql_query`, by name.
    pub sql: BTreeMap<String, DatabaseSettings>,
}

/// Time in which agents of a fleet that is not overloaded begin a task, and the death of one is noticed.
const UNCLAIMED_MS: i64 = 60_000;

const fn unclaimed_ms() -> i64 {
    UNCLAIMED_MS
}

/// Redirects followed. A page moves once or twice; what redirects more often is a cycle.
const MAX_REDIRECTS: u32 = 5;

const fn max_redirects() -> u32 {
    MAX_REDIRECTS
}

/// Section `[tools.http]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// Hosts and networks that are open although private.
    pub allow: Vec<String>,
    /// Largest response body, in bytes.
    pub max_response_bytes: usize,
    /// Redirects followed: [`MAX_REDIRECTS`]. Not part of the configuration; tests make it small.
    #[serde(skip, default = "max_redirects")]
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
    /// Folders that are open to tasks, by name.
    pub folders: BTreeMap<String, OpenedFolder>,
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
    /// Most queries at a time, and so most connections of this process to it. The others wait as long as one query may take.
    #[serde(default = "default_max_connections")]
    pub max_connections: usize,
    /// Functions of a PostgreSQL database that queries may call beside the built-in ones, without schema: stable or
    /// immutable ones.
    #[serde(default)]
    pub functions: Vec<String>,
}

const fn default_max_connections() -> usize {
    4
}

const fn default_max_rows() -> usize {
    500
}

const fn default_sql_timeout_ms() -> u64 {
    10_000
}

/// Context of a tool call.
#[derive(Clone, Debug)]
pub struct ToolContext {
    /// The task.
    pub task_id: TaskId,
    /// On whose behalf it runs.
    pub user: Option<String>,
    /// What the task is for: what is shown of a long output fits it.
    pub goal: String,
    /// The step.
    pub step: String,
    /// The same for every repetition of this call, different for any other: task, step and call.
    pub idempotency_key: String,
    /// The most that the call may do: its step may narrow what the agent may. The toolbox keeps to the rights of the agent, too.
    pub rights: Rights,
    /// Where a request may be redirected to; `None` for anywhere.
    pub redirects: Option<Redirects>,
    /// Goal and plan of a task that the call makes, where they refer to outputs.
    pub handed_over: Option<HandoverDraft>,
}

/// A tool.
#[async_trait]
pub trait Tool: Send + Sync {
    /// Describes the tool.
    fn spec(&self) -> ToolSpec;
    /// Arguments in the form that the tool requires, from the given ones, before they are checked.
    fn prepare(&self, arguments: Value) -> Value {
        arguments
    }
    /// What is wrong with the arguments of a step of a given plan, beside what the schema says and as far as it is known before
    /// references are replaced. Must be quick.
    fn fault(&self, arguments: &Value) -> Option<String> {
        let _ = arguments;
        None
    }
    /// Whether a model can use it with this configuration. Plans of people may call it all the same.
    fn is_usable(&self) -> bool {
        true
    }
    /// Does it. `arguments` follow the schema of the spec. Must be safe to drop at any await.
    async fn call(&self, context: &ToolContext, arguments: Value) -> ToolResult;
}

/// A setting of the tools that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("tools.{key}: {reason}")]
pub struct ToolboxError {
    /// The key below `tools`.
    pub key: String,
    /// What is wrong, and what is allowed.
    pub reason: String,
}

impl ToolboxError {
    fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }
}
