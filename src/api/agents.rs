//! The agents of all replicas.

use axum::Json;
use axum::extract::State;

use super::Shared;
use super::error::Problem;
use super::views::Listing;
use super::views::agents::AgentView;
use crate::clock;

/// Every agent of every replica, with load, capacity, capabilities and health.
pub(super) async fn list(State(parts): State<Shared>) -> Result<Json<Listing<AgentView>>, Problem> {
    let now = clock::now();
    let mut replicas = parts.store.replicas().await?;
    replicas.sort_by(|a, b| a.id.cmp(&b.id));
    let items = replicas.iter().flat_map(|replica| AgentView::list(replica, parts.lease_ms, now)).collect();
    Ok(Json(Listing { items, next: None }))
}
