//! The HTTP API: translates requests into calls of the other modules. Holds no rules.
//!
//! One file for each resource; `views` is what they show, `error` how they refuse, `guard` what stands before them with the
//! `door` that admits requests, the `headers` it reads and the `rate` it allows, `connection` what they come by. `document` holds the
//! routes and describes them as OpenAPI, with `schemas` for values that no struct describes; `contract` checks answers against it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use secrecy::SecretString;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::domain::agent::AgentProfile;
use crate::domain::approval::ApprovalPolicy;
use crate::domain::limit::Limits;
use crate::domain::schedule::zone::Zone;
use crate::llm::Models;
use crate::queue::Queue;
use crate::scheduler::Runner;
use crate::store::Store;
use crate::tools::Toolbox;

mod agents;
mod approvals;
mod artifacts;
mod bulk;
pub(crate) mod connection;
#[cfg(debug_assertions)]
mod contract;
mod control;
mod dead_letters;
pub mod document;
mod door;
pub mod error;
mod extract;
mod files;
mod filter;
mod guard;
mod headers;
mod health;
mod paging;
mod rate;
mod schedules;
mod schemas;
mod search;
mod submit;
mod tasks;
mod tools;
pub mod uploads;
pub mod views;
mod without_secrets;

use uploads::UploadBudget;

/// Section `[api]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where it listens.
    pub address: SocketAddr,
    /// Bearer token; empty for none, which only loopback allows.
    pub token: SecretString,
    /// Largest request body, in bytes.
    pub max_body_bytes: usize,
    /// How long a client may take to send the head of a request, in seconds.
    pub head_timeout_s: u64,
    /// Requests in a second, all clients together; 0 for any number. Probes and metrics do not count.
    pub requests_per_s: u32,
}

/// What the API speaks for.
pub struct Parts {
    /// Where tasks are read.
    pub store: Store,
    /// Where tasks are inserted and changed.
    pub queue: Queue,
    /// Who runs them here.
    pub runner: Runner,
    /// What they may use.
    pub tools: Toolbox,
    /// Who turns a search into a vector.
    pub models: Option<Models>,
    /// The agents of this replica.
    pub agents: Vec<AgentProfile>,
    /// After how long a silent replica is dead, in milliseconds.
    pub lease_ms: u64,
    /// Section `[approvals]`.
    pub approvals: ApprovalPolicy,
    /// Section `[limits]`.
    pub limits: Limits,
    /// Zone of schedules that name none.
    pub zone: Zone,
    /// The memory that uploads may take together.
    pub uploads: UploadBudget,
    /// Cancelled when this replica begins to stop.
    pub draining: CancellationToken,
}

type Shared = Arc<Parts>;

/// The API as `settings` want it, for a listener at `address`.
pub fn router(settings: &Settings, address: SocketAddr, parts: Parts) -> Router {
    let max_file = parts.store.max_artifact_bytes();
    let door = door::Door::new(settings, address, max_file);
    let (routes, _) = document::routes(max_file).split_for_parts();
    let routes = routes
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(CatchPanicLayer::custom(guard::panicked))
        .layer(DefaultBodyLimit::max(settings.max_body_bytes))
        .layer(from_fn_with_state(door, guard::guard));
    // A debug build holds every answer to the document, as it holds the code to its debug assertions.
    #[cfg(debug_assertions)]
    let routes = routes.layer(from_fn(contract::check));
    routes.layer(from_fn(without_secrets::without_secrets)).with_state(Arc::new(parts))
}
