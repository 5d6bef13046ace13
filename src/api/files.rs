//! Files for tasks: uploaded for the id of a task that is not there yet, then named by the request that submits it.

use std::collections::HashSet;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::http::{HeaderMap, StatusCode, header};

use super::error::Problem;
use super::extract::Path;
use super::headers;
use super::uploads::UploadReservation;
use super::views::artifacts::ArtifactView;
use super::{Parts, Shared};
use crate::clock;
use crate::domain::files::{FILES, GIVEN, MAX_FILES, TaskFile, list_of, name_fault};
use crate::domain::id::TaskId;
use crate::domain::task::{InvalidSpec, SpecLimits, TaskSpec};
use crate::store::Store;

/// Media type of a file that comes without one.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// Uploads a file for a task that will be submitted.
///
/// Choose an id, upload each file for it, then submit the task with this `id` and the names of its files in `files`. A file of the same
/// name is replaced. Files whose task is not submitted within an hour are removed.
#[utoipa::path(
    put,
    path = "/tasks/{id}/files/{name}",
    operation_id = "uploadTaskFile",
    tag = "Files and artifacts",
    params(("id" = TaskId, Path, description = "Id that the task will have."), ("name" = String, Path, min_length = 1, max_length = 255,
        description = "Name of the file: 1 to 255 bytes without `/`, `\\`, `{`, `}` and control characters, not beginning with a dot.")),
    request_body(content = Vec<u8>, content_type = "*/*", description = "The content; its media type is kept with it."),
    responses(
        (status = 201, description = "The file is kept.", body = ArtifactView),
        (status = 409, description = "A task has this id already."),
    ),
)]
pub(super) async fn upload(
    State(parts): State<Shared>,
    Path((id, name)): Path<(String, String)>,
    headers: HeaderMap,
    _reservation: UploadReservation,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<ArtifactView>), Problem> {
    let id: TaskId = id.parse()?;
    if let Some(fault) = name_fault(&name) {
        return Err(Problem::bad_request(fault));
    }
    let body = body.map_err(|rejection| body_problem(&rejection, &parts.store))?;
    if !parts.store.task_statuses(&[id]).await?.is_empty() {
        return Err(Problem::conflict(format!(
            "task {id} is there already, and files come before their task: upload them for a new id, then submit the task with it"
        )));
    }
    let media_type = headers::text(&headers, &header::CONTENT_TYPE).filter(|text| !text.trim().is_empty());
    let media_type = media_type.unwrap_or(UNKNOWN_TYPE);
    let file = parts.store.save_artifact(id, GIVEN, &name, media_type, &body, clock::now()).await?;
    Ok((StatusCode::CREATED, Json(file.into())))
}

fn body_problem(rejection: &BytesRejection, store: &Store) -> Problem {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the file has more than {} bytes (artifacts.max_bytes)", store.max_artifact_bytes()),
        ),
        other => Problem::bad_request(format!("the body could not be read: {other}")),
    }
}

/// Checks the names of the files that a request gives a task.
pub(super) fn check_names(names: &[String], has_id: bool, spec: &TaskSpec, errors: &mut Vec<String>) {
    if names.is_empty() {
        return;
    }
    if !has_id {
        errors.push("files: the id of the task is missing: give the id that the files were uploaded for".to_owned());
    }
    if spec.context.contains_key(FILES) {
        errors.push(format!("files: the context has a field {FILES:?} already, which names the files: leave it out"));
    }
    if names.len() > MAX_FILES {
        errors.push(format!("files: {} are given; the most is {MAX_FILES}", names.len()));
        return;
    }
    let mut seen = HashSet::new();
    errors.extend(names.iter().filter_map(|name| name_fault(name)).map(|fault| format!("files: {fault}")));
    let twice = names.iter().filter(|name| !seen.insert(name.as_str()));
    errors.extend(twice.map(|name| format!("files: {name:?} is there twice")));
}

/// Names the files in the context of the order `spec` for task `id`.
///
/// # Errors
/// Those that were not uploaded.
pub(super) async fn attach(
    parts: &Parts,
    id: TaskId,
    spec: &mut TaskSpec,
    names: &[String],
) -> Result<Vec<String>, Problem> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let there = parts.store.artifacts(id).await?;
    let (mut files, mut faults) = (Vec::with_capacity(names.len()), Vec::new());
    for name in names {
        match there.iter().find(|artifact| artifact.name == *name) {
            Some(artifact) => files.push(TaskFile {
                name: artifact.name.clone(),
                bytes: artifact.size,
                media_type: artifact.media_type.clone(),
            }),
            None => faults.push(format!(
                "files: {name:?} was not uploaded for {id}: PUT it to /api/v1/tasks/{id}/files/NAME first"
            )),
        }
    }
    spec.context.insert(FILES.to_owned(), list_of(&files));
    faults.extend(spec.validate(&SpecLimits::API).err().iter().flat_map(InvalidSpec::messages));
    Ok(faults)
}
