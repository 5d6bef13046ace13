//! Schedules: define, edit, list, show, remove, pause, resume; `firings` triggers, backfills and previews them, `plan` shows the plan
//! that their runs begin with.

use std::slice;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::error::Problem;
use super::extract::{self, Path, Query};
use super::paging::Paging;
use super::views::Listing;
use super::views::schedules::{SavedView, ScheduleListing, ScheduleView, UnreadableView};
use super::{Parts, Shared, submit as submission};
use crate::clock;
use crate::domain::json;
use crate::domain::schedule::{Definition, Schedule, check_id};
use crate::domain::task::TaskSpec;
use crate::domain::time::Timestamp;
use crate::schedules::service::ScheduleError;
use definition::{Body, ScheduleChanges};
use edit::edited;

mod definition;
mod edit;
pub(super) mod firings;
pub(super) mod plan;

/// Firings that are shown with a schedule.
const NEXT: usize = 5;

/// Creates a schedule.
///
/// An `id` is made up when the definition has none. A definition that is there already under its `id` changes nothing.
#[utoipa::path(
    post,
    path = "/schedules",
    operation_id = "createSchedule",
    tag = "Schedules",
    request_body = Body,
    responses(
        (status = 201, description = "The schedule is new.", body = SavedView,
            headers(("Location" = String, description = "Path of the schedule.")),
            links(("schedule" = (operation_id = "getSchedule", parameters(("id" = "$response.body#/id")))),
                ("remove" = (operation_id = "removeSchedule", parameters(("id" = "$response.body#/id")))))),
        (status = 200, description = "The schedule is there already as it is.", body = SavedView, headers(("Location" = String, description = "Path of the schedule."))),
        (status = 409, description = "Another schedule has this id."),
        (status = 422, description = "The definition asks for something impossible, such as a wrong cron expression or an unknown agent."),
    ),
)]
pub(super) async fn create(
    State(parts): State<Shared>,
    extract::Json(body): extract::Json<Body>,
) -> Result<Response, Problem> {
    let id = body.id.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
    save(&parts, &id, body, false).await
}

/// Creates a schedule, or puts it in the place of another.
///
/// A schedule that is replaced keeps its history. With other times it holds from now on.
#[utoipa::path(
    put,
    path = "/schedules/{id}",
    operation_id = "replaceSchedule",
    tag = "Schedules",
    params(("id" = String, Path, description = "Id of the schedule.")),
    request_body = Body,
    responses(
        (status = 201, description = "The schedule is new.", body = SavedView, headers(("Location" = String, description = "Path of the schedule."))),
        (status = 200, description = "The schedule was replaced, or is there already as it is.", body = SavedView, headers(("Location" = String, description = "Path of the schedule."))),
        (status = 409, description = "Another request changed the schedule meanwhile."),
        (status = 422, description = "The definition asks for something impossible, such as a wrong cron expression or an unknown agent."),
    ),
)]
pub(super) async fn replace(
    State(parts): State<Shared>,
    Path(id): Path<String>,
    extract::Json(body): extract::Json<Body>,
) -> Result<Response, Problem> {
    same_id(&body, &id)?;
    save(&parts, &id, body, true).await
}

/// Changes single fields of a schedule.
///
/// The body has the fields that change, also single fields of `task`; null removes a field. A new `cron`, `every` or `at` takes the
/// place of the one before.
#[utoipa::path(
    patch,
    path = "/schedules/{id}",
    operation_id = "editSchedule",
    tag = "Schedules",
    params(("id" = String, Path, description = "Id of the schedule.")),
    request_body = ScheduleChanges,
    responses(
        (status = 200, description = "The schedule with its changes.", body = ScheduleView),
        (status = 404, description = "No schedule has this id."),
        (status = 409, description = "Another request changed the schedule meanwhile."),
        (status = 422, description = "The changes ask for something impossible, such as a wrong cron expression or an unknown agent."),
    ),
)]
pub(super) async fn edit(
    State(parts): State<Shared>,
    Path(id): Path<String>,
    extract::Json(changes): extract::Json<Map<String, Value>>,
) -> Result<Json<ScheduleView>, Problem> {
    let now = clock::now();
    let schedule = find(&parts, id).await?;
    let body: Body = json::from_value(edited(schedule.clone(), changes))
        .map_err(|error| Problem::bad_request(format!("the body cannot be read as a schedule: {error}")))?;
    same_id(&body, &schedule.id)?;
    let paused = body.paused;
    let definition = check(&parts, &schedule.id, body, Some(&schedule), now).await?;
    let schedule = parts.runner.schedules().edit(&schedule, definition, paused, now).await?;
    Ok(Json(ScheduleView::new(schedule, NEXT)))
}

fn same_id(body: &Body, id: &str) -> Result<(), Problem> {
    if body.id.as_ref().is_some_and(|named| named != id) {
        return Err(Problem::bad_request("the id of the body differs from that of the path: leave it out of the body"));
    }
    Ok(())
}

async fn find(parts: &Parts, id: String) -> Result<Schedule, Problem> {
    Ok(parts.store.schedule(&id).await?.ok_or(ScheduleError::Missing(id))?)
}

async fn save(parts: &Parts, id: &str, body: Body, replace: bool) -> Result<Response, Problem> {
    check_id(id).map_err(|error| Problem::bad_request(error.to_string()))?;
    let now = clock::now();
    let paused = body.paused;
    let known = parts.store.schedule(id).await?;
    let definition = check(parts, id, body, known.as_ref(), now).await?;
    let saved = parts.runner.schedules().save(id, definition, paused, replace, now).await?;
    let status = if saved.created { StatusCode::CREATED } else { StatusCode::OK };
    let location = [(header::LOCATION, format!("/api/v1/schedules/{id}"))];
    let view = SavedView { created: saved.created, schedule: ScheduleView::new(saved.schedule, NEXT) };
    Ok((status, location, Json(view)).into_response())
}

/// The definition that a body stands for, if it can be carried out; `known` is what is defined under `id`.
async fn check(
    parts: &Parts,
    id: &str,
    body: Body,
    known: Option<&Schedule>,
    now: Timestamp,
) -> Result<Definition, Problem> {
    let (definition, spec) =
        body.read(id, parts.zone, now).map_err(|errors| Problem::several(StatusCode::UNPROCESSABLE_ENTITY, errors))?;
    check_task(parts, spec, now).await?;
    // One that has fired for the last time may be defined again as it is.
    let known = known.is_some_and(|known| known.definition == definition);
    if !known && definition.timing(now).is_ok_and(|timing| timing.next(now).is_none()) {
        let problem = "the schedule would never fire, because it has no time from now on: give a later time in at or end, or another cron expression";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, problem));
    }
    Ok(definition)
}

/// Whether the tasks of the template could be submitted.
async fn check_task(parts: &Parts, spec: TaskSpec, now: Timestamp) -> Result<(), Problem> {
    submission::check_spec(parts, spec, now).await.map_err(|problem| {
        let errors = if problem.errors.is_empty() { vec![problem.detail] } else { problem.errors };
        let errors = errors.into_iter().map(|error| format!("task: {error}")).collect();
        Problem::several(StatusCode::UNPROCESSABLE_ENTITY, errors)
    })
}

/// Lists schedules, each with its next firing and what came of the last.
#[utoipa::path(
    get,
    path = "/schedules",
    operation_id = "listSchedules",
    tag = "Schedules",
    params(Paging),
    responses(
        (status = 200, description = "A page of schedules.", body = ScheduleListing),
    ),
)]
pub(super) async fn list(
    State(parts): State<Shared>,
    Query(paging): Query<Paging>,
) -> Result<Json<ScheduleListing>, Problem> {
    let (limit, after) = paging.read()?;
    let (page, unreadable) = parts.store.schedules_with_unreadable(limit, after.as_deref()).await?;
    let mut ended = parts.runner.schedules().last_ended(&page.items).await?;
    let listing = Listing::page(page, |schedule| {
        let last = ended.remove(&schedule.id);
        ScheduleView::new(schedule, 1).ended(last)
    });
    Ok(Json(ScheduleListing { listing, unreadable: unreadable.into_iter().map(UnreadableView::from).collect() }))
}

/// Shows a schedule with its next firings and what came of the last.
#[utoipa::path(
    get,
    path = "/schedules/{id}",
    operation_id = "getSchedule",
    tag = "Schedules",
    params(("id" = String, Path, description = "Id of the schedule.")),
    responses(
        (status = 200, description = "The schedule.", body = ScheduleView),
        (status = 404, description = "No schedule has this id."),
    ),
)]
pub(super) async fn show(State(parts): State<Shared>, Path(id): Path<String>) -> Result<Json<ScheduleView>, Problem> {
    let schedule = find(&parts, id).await?;
    let ended = parts.runner.schedules().last_ended(slice::from_ref(&schedule)).await?;
    Ok(Json(ScheduleView::new(schedule, NEXT).ended(ended.into_values().next())))
}

/// Removes a schedule.
///
/// Its tasks stay. Firings that wait for the end of earlier ones are recorded as skipped.
#[utoipa::path(
    delete,
    path = "/schedules/{id}",
    operation_id = "removeSchedule",
    tag = "Schedules",
    params(("id" = String, Path, description = "Id of the schedule.")),
    responses(
        (status = 204, description = "The schedule is removed."),
        (status = 404, description = "No schedule has this id."),
        (status = 409, description = "Another request changed the schedule meanwhile."),
    ),
)]
pub(super) async fn remove(State(parts): State<Shared>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    parts.runner.schedules().remove(&id, clock::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Pauses a schedule, so that it does not fire.
#[utoipa::path(
    post,
    path = "/schedules/{id}/pause",
    operation_id = "pauseSchedule",
    tag = "Schedules",
    params(("id" = String, Path, description = "Id of the schedule.")),
    responses(
        (status = 200, description = "The schedule.", body = ScheduleView),
        (status = 404, description = "No schedule has this id."),
        (status = 409, description = "Another request changed the schedule meanwhile."),
    ),
)]
pub(super) async fn pause(State(parts): State<Shared>, Path(id): Path<String>) -> Result<Json<ScheduleView>, Problem> {
    let schedule = parts.runner.schedules().pause(&id, clock::now()).await?;
    Ok(Json(ScheduleView::new(schedule, NEXT)))
}

/// Resumes a paused schedule.
#[utoipa::path(
    post,
    path = "/schedules/{id}/resume",
    operation_id = "resumeSchedule",
    tag = "Schedules",
    params(("id" = String, Path, description = "Id of the schedule.")),
    responses(
        (status = 200, description = "The schedule.", body = ScheduleView),
        (status = 404, description = "No schedule has this id."),
        (status = 409, description = "Another request changed the schedule meanwhile."),
    ),
)]
pub(super) async fn resume(State(parts): State<Shared>, Path(id): Path<String>) -> Result<Json<ScheduleView>, Problem> {
    let schedule = parts.runner.schedules().resume(&id, clock::now()).await?;
    Ok(Json(ScheduleView::new(schedule, NEXT)))
}
