//! The HTTP API: translates requests into calls of the other modules. Holds no rules.
//!
//! One file for each resource; `views` is what they show, `error` how they refuse, `guard` what stands before them with the
//! `door` that admits requests, the `headers` it reads and the `rate` it allows, `connection` what they come by.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post, put};
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
mod control;
mod dead_letters;
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
mod search;
mod submit;
mod tasks;
mod tools;
pub mod views;
mod without_secrets;

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
    /// Cancelled when this replica begins to stop.
    pub draining: CancellationToken,
}

type Shared = Arc<Parts>;

/// The API as `settings` want it, for a listener at `address`.
pub fn router(settings: &Settings, address: SocketAddr, parts: Parts) -> Router {
    let max_file = parts.store.max_artifact_bytes();
    let door = door::Door::new(settings, address, max_file);
    let v1 = Router::new()
        .route("/tasks", post(tasks::submit).get(tasks::list))
        .route("/tasks/bulk", post(bulk::bulk))
        .route("/tasks/counts", get(tasks::counts))
        .route("/tasks/{id}", get(tasks::show))
        .route("/tasks/{id}/steps", get(tasks::steps))
        .route("/tasks/{id}/cancel", post(tasks::cancel))
        .route("/tasks/{id}/retry", post(tasks::retry))
        .route("/tasks/{id}/reprioritise", post(tasks::reprioritise))
        .route("/tasks/{id}/snooze", post(tasks::snooze))
        .route("/tasks/{id}/approve", post(approvals::approve))
        .route("/tasks/{id}/deny", post(approvals::deny))
        .route("/approvals", get(approvals::list))
        .route("/pauses", get(control::list))
        .route("/pause", post(control::pause))
        .route("/resume", post(control::resume))
        .route("/prune", post(control::prune))
        .route("/tasks/{id}/children", get(tasks::children))
        .route("/tasks/{id}/files/{name}", put(files::upload).layer(DefaultBodyLimit::max(max_file)))
        .route("/tasks/{id}/artifacts", get(artifacts::list))
        .route("/tasks/{id}/artifacts/{*name}", get(artifacts::content))
        .route("/dead-letters", get(dead_letters::list))
        .route("/dead-letters/requeue", post(dead_letters::requeue_many))
        .route("/dead-letters/purge", post(dead_letters::purge_many))
        .route("/dead-letters/{id}", get(dead_letters::show).delete(dead_letters::purge))
        .route("/dead-letters/{id}/requeue", post(dead_letters::requeue))
        .route("/schedules", post(schedules::create).get(schedules::list))
        .route("/schedules/preview", post(schedules::preview_new))
        .route(
            "/schedules/{id}",
            put(schedules::replace).patch(schedules::edit).get(schedules::show).delete(schedules::remove),
        )
        .route("/schedules/{id}/pause", post(schedules::pause))
        .route("/schedules/{id}/resume", post(schedules::resume))
        .route("/schedules/{id}/trigger", post(schedules::trigger))
        .route("/schedules/{id}/backfill", post(schedules::backfill))
        .route("/schedules/{id}/preview", get(schedules::preview))
        .route("/schedules/{id}/plan", get(schedules::plan::show))
        .route("/schedules/{id}/plan/pin", post(schedules::plan::pin))
        .route("/schedules/{id}/plan/forget", post(schedules::plan::forget))
        .route("/agents", get(agents::list))
        .route("/tools", get(tools::list))
        .route("/search", get(search::search));
    Router::new()
        .nest("/api/v1", v1)
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(CatchPanicLayer::custom(guard::panicked))
        .layer(DefaultBodyLimit::max(settings.max_body_bytes))
        .layer(from_fn_with_state(door, guard::guard))
        .layer(from_fn(without_secrets::without_secrets))
        .with_state(Arc::new(parts))
}
