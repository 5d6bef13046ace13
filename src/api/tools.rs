//! The tools of this replica.

use axum::Json;
use axum::extract::State;

use super::Shared;
use super::views::Listing;
use super::views::tools::ToolView;

/// Lists the tools, each with its arguments and the agents that may use it.
///
/// The agents are those of the replica that answers.
#[utoipa::path(
    get,
    path = "/tools",
    operation_id = "listTools",
    tag = "Agents",
    responses(
        (status = 200, description = "The tools.", body = Listing<ToolView>),
    ),
)]
pub(super) async fn list(State(parts): State<Shared>) -> Json<Listing<ToolView>> {
    Json(Listing::whole(parts.tools.all().map(|spec| ToolView::new(spec, &parts.agents))))
}
