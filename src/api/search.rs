//! Search among finished tasks.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::Shared;
use super::error::Problem;
use super::extract::Query;
use super::views::Listing;
use super::views::search::Found;
use crate::llm::Models;

const DEFAULT_LIMIT: u32 = 10;
const MAX_LIMIT: u32 = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    q: String,
    limit: Option<u32>,
    user: Option<String>,
}

/// Finished tasks alike the text, best first: by words, and by meaning where embeddings are configured.
pub(super) async fn search(
    State(parts): State<Shared>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Listing<Found>>, Problem> {
    if wanted.q.trim().is_empty() {
        return Err(Problem::bad_request("q is empty: say what to search for"));
    }
    let limit = wanted.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::bad_request(format!("limit = {limit} is out of range: use 1 to {MAX_LIMIT}")));
    }
    let embedding = match &parts.models {
        Some(models) if models.has_embeddings() => embed(models, &wanted.q).await,
        _ => None,
    };
    let found = parts.store.recall(&wanted.q, embedding, wanted.user.as_deref(), limit).await?;
    Ok(Json(Listing::whole(found)))
}

/// The vector of `text`; `None` when the endpoint has none, so that the search goes by words alone.
async fn embed(models: &Models, text: &str) -> Option<Vec<f32>> {
    match models.embed(&[text.to_owned()]).await {
        Ok(mut vectors) => vectors.pop(),
        Err(failure) => {
            tracing::warn!(%failure, "a search goes by words alone");
            None
        }
    }
}
