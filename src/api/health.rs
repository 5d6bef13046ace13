//! For probes and Prometheus.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use super::Shared;
use super::views::health::{Health, Readiness, WithoutModel};
use crate::domain::time::Timestamp;
use crate::telemetry::exporter;

/// Says that the process lives.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "getHealth",
    tag = "Probes",
    responses(
        (status = 200, description = "The process lives.", body = Health),
    ),
)]
pub(super) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() })
}

/// Says whether the replica takes tasks.
///
/// It does when the store answers and has all its collections, the store has confirmed the last heartbeat, and nobody has asked the
/// replica to stop.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "getReadiness",
    tag = "Probes",
    responses(
        (status = 200, description = "The replica takes tasks.", body = Readiness),
        (status = 503, description = "The replica takes no tasks; `reasons` says why.", body = Readiness),
    ),
)]
pub(super) async fn readyz(State(parts): State<Shared>) -> (StatusCode, Json<Readiness>) {
    let mut reasons = Vec::new();
    // The store is asked each time: what it lacks may be an answer of a moment ago.
    let answers = async {
        parts.store.ping().await?;
        parts.store.lacks().await
    };
    match answers.await {
        Ok(faults) => {
            if !faults.is_empty() {
                tracing::warn!(faults = %faults.join("; "), "not ready");
            }
            reasons.extend(faults);
        }
        Err(error) => {
            tracing::warn!(%error, "not ready");
            reasons.push("the store does not answer".to_owned());
        }
    }
    if parts.draining.is_cancelled() {
        reasons.push("the replica is stopping: it finishes what it has and takes nothing more".to_owned());
    }
    if !parts.runner.is_confirmed() {
        reasons.push(
            "the store has not confirmed a heartbeat within the lease: the replica starts no task until it does"
                .to_owned(),
        );
    }
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // A paused replica stays ready: it must be reachable to be told to go on.
    let loads = parts.runner.loads();
    let paused = loads.iter().filter(|agent| agent.paused).map(|agent| agent.name.clone()).collect();
    let without_model = loads.into_iter().filter_map(|agent| {
        let away = agent.model_away?;
        let since = away.since.map(Timestamp::to_rfc3339);
        Some(WithoutModel { agent: agent.name, model: away.model, since, cause: away.cause })
    });
    let without_model = without_model.collect();
    let waiting_for_model = parts.runner.waiting_for_model().await;
    (status, Json(Readiness { ready: reasons.is_empty(), reasons, paused, without_model, waiting_for_model }))
}

/// Shows the metrics, in the text format of Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "getMetrics",
    tag = "Probes",
    responses(
        (status = 200, description = "The metrics.", body = String, content_type = "text/plain"),
    ),
)]
pub(super) async fn metrics() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], exporter::render())
}
