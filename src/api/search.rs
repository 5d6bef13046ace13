//! Search among finished tasks.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use super::error::Problem;
use super::filter::Filtered;
use super::views::Listing;
use super::views::search::Found;
use crate::domain::task::TaskFilter;
use crate::llm::Models;

const DEFAULT_LIMIT: u32 = 10;
const MAX_LIMIT: u32 = 100;

/// What a search takes beside its filter.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SearchOptions {
    /// Text to search for.
    #[param(min_length = 1)]
    q: String,
    /// Most tasks; 10 without it.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
}

/// Finds finished tasks that are similar to a text, the most similar first.
///
/// Words are compared, and meanings where embeddings are configured.
#[utoipa::path(
    get,
    path = "/search",
    operation_id = "searchTasks",
    tag = "Tasks",
    params(SearchOptions, ("user" = Option<String>, Query, description = "User on whose behalf the tasks ran.")),
    responses(
        (status = 200, description = "The tasks that were found.", body = Listing<Found>),
    ),
)]
pub(super) async fn search(
    State(parts): State<Shared>,
    Filtered { filter, options }: Filtered<SearchOptions>,
) -> Result<Json<Listing<Found>>, Problem> {
    let user = filter.user.clone();
    if !(TaskFilter { user: None, ..filter }).is_empty() {
        return Err(Problem::bad_request("a search knows the condition user alone: leave the others out"));
    }
    if options.q.trim().is_empty() {
        return Err(Problem::bad_request("the parameter q is empty: give the text to search for"));
    }
    let limit = options.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::bad_request(format!("limit = {limit} is out of range: use 1 to {MAX_LIMIT}")));
    }
    let embedding = match &parts.models {
        Some(models) if models.has_embeddings() => embed(models, &options.q).await,
        _ => None,
    };
    let found = parts.store.recall(&options.q, embedding, user.as_deref(), limit).await?;
    Ok(Json(Listing::whole(found)))
}

/// The vector of `text`; `None` when the endpoint has none, so that the search goes by words alone.
async fn embed(models: &Models, text: &str) -> Option<Vec<f32>> {
    match models.embed(&[text.to_owned()]).await {
        Ok(mut vectors) => vectors.pop(),
        Err(failure) => {
            tracing::warn!(%failure, "the embeddings model does not answer, so this search compares words alone");
            None
        }
    }
}
