//! The tools of this replica.

use axum::Json;
use axum::extract::State;

use super::Shared;
use super::views::Listing;
use super::views::tools::ToolView;

/// Every tool with its arguments, and the agents of this replica that may use it.
pub(super) async fn list(State(parts): State<Shared>) -> Json<Listing<ToolView>> {
    Json(Listing::whole(parts.tools.all().map(|spec| ToolView::new(spec, &parts.agents))))
}
