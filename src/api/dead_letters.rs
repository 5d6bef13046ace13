//! Tasks that ended badly: list, show, requeue, purge; one, many or all.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::bulk::check_ids;
use super::error::Problem;
use super::extract::{self, Id, Query};
use super::paging::Paging;
use super::views::Listing;
use super::views::bulk::Refusal;
use super::views::dead_letters::{BulkOutcome, DeadLetterView};
use super::views::steps::StepView;
use super::views::tasks::TaskView;
use super::{Parts, Shared, tasks};
use crate::domain::attempt::StepStatus;
use crate::domain::id::{InvalidIdPrefix, TaskId};
use crate::queue::Person;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Most items of the page; 50 without it.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<u32>,
    /// Where the page begins: `next` of the page before.
    after: Option<String>,
    /// Beginning of the id of a task: 4 or more hexadecimal digits. Goes with `limit` alone.
    #[param(min_length = 4, max_length = 36, pattern = "^[0-9A-Fa-f-]+$")]
    id_prefix: Option<String>,
}

/// Lists dead letters, the latest first.
///
/// A dead letter tells of a task that failed for good. `id_prefix` lists those of the tasks whose ids begin so; it goes with `limit`
/// alone.
#[utoipa::path(
    get,
    path = "/dead-letters",
    operation_id = "listDeadLetters",
    tag = "Dead letters",
    params(Wanted),
    responses(
        (status = 200, description = "A page of dead letters.", body = Listing<DeadLetterView>),
    ),
)]
pub(super) async fn list(
    State(parts): State<Shared>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Listing<DeadLetterView>>, Problem> {
    let paging = Paging { limit: wanted.limit, after: wanted.after };
    if let Some(prefix) = &wanted.id_prefix {
        if paging.after.is_some() {
            return Err(Problem::bad_request("id_prefix goes with limit alone: leave after out"));
        }
        return by_prefix(&parts, prefix, paging.limit()?).await;
    }
    let page = parts.store.dead_letters(paging.limit()?, paging.place()?).await?;
    Ok(Json(Listing::page(page, DeadLetterView::from)))
}

async fn by_prefix(parts: &Parts, prefix: &str, limit: u32) -> Result<Json<Listing<DeadLetterView>>, Problem> {
    let prefix = prefix.parse().map_err(|error: InvalidIdPrefix| Problem::bad_request(error.to_string()))?;
    let mut letters = Vec::new();
    for id in parts.store.dead_letter_ids_by_prefix(prefix, limit).await? {
        // One that was purged at this very moment is left out.
        letters.extend(parts.store.dead_letter(id).await?);
    }
    Ok(Json(Listing::whole(letters)))
}

/// Shows the dead letter of a task, with the steps that were done.
#[utoipa::path(
    get,
    path = "/dead-letters/{id}",
    operation_id = "getDeadLetter",
    tag = "Dead letters",
    params(("id" = TaskId, Path, description = "Id of the task.")),
    responses(
        (status = 200, description = "The dead letter.", body = DeadLetterView),
        (status = 404, description = "The task has no dead letter."),
    ),
)]
pub(super) async fn show(State(parts): State<Shared>, Id(id): Id) -> Result<Json<DeadLetterView>, Problem> {
    let letter = parts.store.dead_letter(id).await?.ok_or_else(|| missing(id))?;
    let steps = tasks::last_steps(&parts, id).await?;
    let done = steps.into_iter().filter(|step| step.status == StepStatus::Done);
    Ok(Json(DeadLetterView { steps_done: done.map(StepView::short).collect(), ..letter.into() }))
}

/// Runs the task of a dead letter again, and removes the letter.
#[utoipa::path(
    post,
    path = "/dead-letters/{id}/requeue",
    operation_id = "requeueDeadLetter",
    tag = "Dead letters",
    params(("id" = TaskId, Path, description = "Id of the task.")),
    responses(
        (status = 202, description = "The task waits to run again.", body = TaskView),
        (status = 404, description = "The task has no dead letter."),
        (status = 409, description = "The task cannot run again."),
    ),
)]
pub(super) async fn requeue(State(parts): State<Shared>, Id(id): Id) -> Result<(StatusCode, Json<TaskView>), Problem> {
    if parts.store.dead_letter(id).await?.is_none() {
        return Err(missing(id));
    }
    let task = parts.queue.requeue(id, &Person::default()).await?;
    Ok((StatusCode::ACCEPTED, Json(TaskView::new(task, &parts.runner))))
}

/// Removes a dead letter.
///
/// The task stays as it is.
#[utoipa::path(
    delete,
    path = "/dead-letters/{id}",
    operation_id = "purgeDeadLetter",
    tag = "Dead letters",
    params(("id" = TaskId, Path, description = "Id of the task.")),
    responses(
        (status = 204, description = "The letter is removed."),
        (status = 404, description = "The task has no dead letter."),
    ),
)]
pub(super) async fn purge(State(parts): State<Shared>, Id(id): Id) -> Result<StatusCode, Problem> {
    if parts.store.dead_letter(id).await?.is_none() {
        return Err(missing(id));
    }
    parts.queue.purge_dead_letters(&[id]).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which dead letters: these, or all. Exactly one of the two, so that nothing forgotten means all.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeadLetterSelection, examples(json!({"all": true})))]
pub(super) struct Selection {
    /// Ids of the tasks.
    #[serde(default)]
    #[schema(max_items = 10_000)]
    ids: Vec<TaskId>,
    /// Whether all dead letters are meant.
    #[serde(default)]
    all: bool,
}

impl Selection {
    async fn resolve(self, parts: &Parts) -> Result<Vec<TaskId>, Problem> {
        match (self.all, self.ids.is_empty()) {
            (false, false) => {
                check_ids(self.ids.len())?;
                Ok(self.ids)
            }
            // Those that come meanwhile are not meant.
            (true, true) => Ok(parts.store.dead_letter_ids().await?),
            _ => Err(Problem::bad_request(r#"send either {"ids": [...]} or {"all": true}"#)),
        }
    }
}

/// Runs the tasks of many dead letters again.
///
/// A refusal does not stop the others.
#[utoipa::path(
    post,
    path = "/dead-letters/requeue",
    operation_id = "requeueDeadLetters",
    tag = "Dead letters",
    request_body = Selection,
    responses(
        (status = 200, description = "What was done.", body = BulkOutcome),
    ),
)]
pub(super) async fn requeue_many(
    State(parts): State<Shared>,
    extract::Json(selection): extract::Json<Selection>,
) -> Result<Json<BulkOutcome>, Problem> {
    let ids = selection.resolve(&parts).await?;
    let report = parts.queue.requeue_many(&ids, &Person::default()).await;
    Ok(Json(BulkOutcome { done: report.done, refused: report.refused.into_iter().map(Refusal::from).collect() }))
}

/// Removes many dead letters.
///
/// Their tasks stay as they are.
#[utoipa::path(
    post,
    path = "/dead-letters/purge",
    operation_id = "purgeDeadLetters",
    tag = "Dead letters",
    request_body = Selection,
    responses(
        (status = 200, description = "What was done.", body = BulkOutcome),
    ),
)]
pub(super) async fn purge_many(
    State(parts): State<Shared>,
    extract::Json(selection): extract::Json<Selection>,
) -> Result<Json<BulkOutcome>, Problem> {
    let ids = selection.resolve(&parts).await?;
    let done = parts.queue.purge_dead_letters(&ids).await?;
    Ok(Json(BulkOutcome { done, refused: Vec::new() }))
}

fn missing(id: TaskId) -> Problem {
    Problem::not_found(format!("task {id} has no dead letter: \"qron dead-letters list\" shows those that exist"))
}
