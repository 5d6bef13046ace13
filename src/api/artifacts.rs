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
use crate::domain::id::TaskId;

/// Lists the artifacts of a task, without their content.
#[utoipa::path(
    get,
    path = "/tasks/{id}/artifacts",
    operation_id = "listArtifacts",
    tag = "Files and artifacts",
    params(("id" = TaskId, Path, description = "Id of the task.")),
    responses(
        (status = 200, description = "The artifacts.", body = Listing<ArtifactView>),
        (status = 404, description = "No task has this id."),
    ),
)]
pub(super) async fn list(State(parts): State<Shared>, Id(id): Id) -> Result<Json<Listing<ArtifactView>>, Problem> {
    let artifacts = parts.store.artifacts(id).await?;
    if artifacts.is_empty() && parts.store.task(id).await?.is_none() {
        return Err(super::tasks::missing(id));
    }
    Ok(Json(Listing::whole(artifacts)))
}

/// Downloads the content of an artifact.
///
/// A model or a tool made the content, so a browser saves it and does not show it.
#[utoipa::path(
    get,
    path = "/tasks/{id}/artifacts/{name}",
    operation_id = "getArtifact",
    tag = "Files and artifacts",
    params(("id" = TaskId, Path, description = "Id of the task."), ("name" = String, Path, description = "Name of the artifact.")),
    responses(
        (status = 200, description = "The content, with the media type of the artifact.", body = Vec<u8>, content_type = "*/*",
            headers(("ETag" = String, description = "SHA-256 of the content, hexadecimal, in quotes."), ("Content-Disposition" = String, description = "Name under which a browser saves it."))),
        (status = 404, description = "The task has no artifact of this name."),
    ),
)]
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
