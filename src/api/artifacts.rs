//! Artifacts of a task.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::Shared;
use super::error::Problem;
use super::extract::{Id, Path};
use super::views::Listing;
use super::views::artifacts::{ArtifactView, escaped};
use super::without_secrets::WrittenWithout;

/// The artifacts of a task, without content.
pub(super) async fn list(State(parts): State<Shared>, Id(id): Id) -> Result<Json<Listing<ArtifactView>>, Problem> {
    let artifacts = parts.store.artifacts(id).await?;
    if artifacts.is_empty() && parts.store.task(id).await?.is_none() {
        return Err(super::tasks::missing(id));
    }
    Ok(Json(Listing::whole(artifacts)))
}

/// The content of an artifact, as a download: it was made by a model or by tools, and no browser shall run it.
pub(super) async fn content(
    State(parts): State<Shared>,
    Path((id, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let id = id.parse()?;
    let Some((artifact, content)) = parts.store.artifact(id, &name).await? else {
        return Err(Problem::not_found(format!("task {id} has no artifact {name:?}")));
    };
    let headers = [
        (header::CONTENT_TYPE, artifact.media_type.as_str()),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
    ];
    let own = [
        (header::ETAG, format!("\"{}\"", artifact.sha256)),
        (header::CONTENT_DISPOSITION, format!("attachment; filename*=UTF-8''{}", escaped(&name))),
    ];
    Ok((Extension(WrittenWithout), headers, own, content).into_response())
}
