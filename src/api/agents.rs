//! The agents of all replicas.

use axum::Json;
use axum::extract::State;

use super::Shared;
use super::error::Problem;
use super::views::Listing;
use super::views::agents::AgentView;
use crate::clock;

/// Lists the agents of all replicas.
///
/// Load, capacity, capabilities and health of the agents of the replica that answers are those of now; other replicas wrote theirs at
/// `updated_at`.
#[utoipa::path(
    get,
    path = "/agents",
    operation_id = "listAgents",
    tag = "Agents",
    responses(
        (status = 200, description = "The agents.", body = Listing<AgentView>),
    ),
)]
pub(super) async fn list(State(parts): State<Shared>) -> Result<Json<Listing<AgentView>>, Problem> {
    let now = clock::now();
    let mut replicas = parts.store.replicas().await?;
    // The others are as old as their heartbeats.
    if let Some(own) = replicas.iter_mut().find(|replica| replica.id == parts.queue.replica_id()) {
        own.agents = parts.runner.loads();
        own.waiting_for_model = parts.runner.waiting_for_model().await;
    }
    replicas.sort_by(|a, b| a.id.cmp(&b.id));
    let items = replicas.iter().flat_map(|replica| AgentView::list(replica, parts.lease_ms, now)).collect();
    Ok(Json(Listing { items, next: None }))
}
