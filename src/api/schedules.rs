//! Schedules: define, edit, list, show, remove, pause, resume, trigger, backfill, preview.

use std::slice;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::error::Problem;
use super::extract::{self, Path, Query};
use super::paging::Paging;
use super::views::Listing;
use super::views::schedules::{
    BackfilledView, SavedView, ScheduleListing, ScheduleView, TriggeredView, UnreadableView, upcoming,
};
use super::views::tasks::TaskView;
use super::{Parts, Shared, submit as submission};
use crate::clock;
use crate::domain::json;
use crate::domain::schedule::timing::Timing;
use crate::domain::schedule::zone::Zone;
use crate::domain::schedule::{Definition, Overlap, Schedule, check_id};
use crate::domain::task::TaskSpec;
use crate::domain::time::Timestamp;
use crate::schedules::service::ScheduleError;
use crate::schedules::trigger::Triggered;
use definition::{Body, Times};
use edit::edited;

mod definition;
mod edit;
pub(super) mod plan;

/// Firings that are shown with a schedule.
const NEXT: usize = 5;
/// Firings of a preview.
const DEFAULT_PREVIEW: usize = 10;
const MAX_PREVIEW: usize = 1_000;

/// Creates a schedule; an id that is taken by the same definition is fine.
pub(super) async fn create(
    State(parts): State<Shared>,
    extract::Json(body): extract::Json<Body>,
) -> Result<Response, Problem> {
    let id = body.id.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
    save(&parts, &id, body, false).await
}

/// Creates a schedule or puts it in the place of another of that id.
pub(super) async fn replace(
    State(parts): State<Shared>,
    Path(id): Path<String>,
    extract::Json(body): extract::Json<Body>,
) -> Result<Response, Problem> {
    same_id(&body, &id)?;
    save(&parts, &id, body, true).await
}

/// Changes what the body names of a schedule and leaves the rest; null takes away.
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

/// Schedules, a page, each with its next firing and what came of the last.
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

/// One schedule with its next firings and what came of the last.
pub(super) async fn show(State(parts): State<Shared>, Path(id): Path<String>) -> Result<Json<ScheduleView>, Problem> {
    let schedule = find(&parts, id).await?;
    let ended = parts.runner.schedules().last_ended(slice::from_ref(&schedule)).await?;
    Ok(Json(ScheduleView::new(schedule, NEXT).ended(ended.into_values().next())))
}

/// Removes a schedule; its tasks stay.
pub(super) async fn remove(State(parts): State<Shared>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    parts.runner.schedules().remove(&id, clock::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Holds a schedule.
pub(super) async fn pause(State(parts): State<Shared>, Path(id): Path<String>) -> Result<Json<ScheduleView>, Problem> {
    let schedule = parts.runner.schedules().pause(&id, clock::now()).await?;
    Ok(Json(ScheduleView::new(schedule, NEXT)))
}

/// Lets it go on.
pub(super) async fn resume(State(parts): State<Shared>, Path(id): Path<String>) -> Result<Json<ScheduleView>, Problem> {
    let schedule = parts.runner.schedules().resume(&id, clock::now()).await?;
    Ok(Json(ScheduleView::new(schedule, NEXT)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HowToTrigger {
    overlap: Option<Overlap>,
}

/// Fires a schedule now: 201 with the task, or 202 when it waits for the end of earlier ones.
pub(super) async fn trigger(
    State(parts): State<Shared>,
    Path(id): Path<String>,
    Query(how): Query<HowToTrigger>,
) -> Result<(StatusCode, Json<TriggeredView>), Problem> {
    match parts.runner.schedules().trigger(&id, how.overlap, clock::now()).await? {
        Triggered::Task(task) => Ok((
            StatusCode::CREATED,
            Json(TriggeredView { task: Some(TaskView::new(*task, &parts.runner)), queued: None }),
        )),
        Triggered::Queued(at) => Ok((StatusCode::ACCEPTED, Json(TriggeredView::waiting(at)))),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Range {
    from: Value,
    until: Option<Value>,
    #[serde(default)]
    dry_run: bool,
}

/// Makes up for the firings of a range that never ran.
pub(super) async fn backfill(
    State(parts): State<Shared>,
    Path(id): Path<String>,
    extract::Json(range): extract::Json<Range>,
) -> Result<Json<BackfilledView>, Problem> {
    let now = clock::now();
    let zone = find(&parts, id.clone()).await?.definition.zone;
    let read =
        |name: &str, value: &Value| zone.read(value).map_err(|error| Problem::bad_request(format!("{name}: {error}")));
    let from = read("from", &range.from)?;
    let until = range.until.as_ref().map_or(Ok(now), |until| read("until", until))?;
    let done = parts.runner.schedules().backfill(&id, (from, until), range.dry_run, now).await?;
    Ok(Json(BackfilledView::new(done, range.dry_run)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HowMany {
    count: Option<usize>,
    from: Option<String>,
}

impl HowMany {
    fn respond(&self, timing: &Timing, zone: Zone) -> Result<Response, Problem> {
        let count = self.count.unwrap_or(DEFAULT_PREVIEW);
        if !(1..=MAX_PREVIEW).contains(&count) {
            return Err(Problem::bad_request(format!("count = {count} is out of range: use 1 to {MAX_PREVIEW}")));
        }
        let from = self.from.as_ref().map(|from| zone.read(&Value::from(from.as_str()))).transpose();
        let from = from.map_err(|error| Problem::bad_request(format!("from: {error}")))?;
        let after = from.map_or_else(clock::now, |from| from.plus_millis(-1));
        let items = upcoming(timing, zone, after, count);
        Ok(Json(Listing { items, next: None }).into_response())
    }
}

/// The next firings of a schedule, paused or not.
pub(super) async fn preview(
    State(parts): State<Shared>,
    Path(id): Path<String>,
    Query(how): Query<HowMany>,
) -> Result<Response, Problem> {
    let schedule = find(&parts, id).await?;
    how.respond(&schedule.timing().map_err(ScheduleError::Timing)?, schedule.definition.zone)
}

/// The next firings of a definition that is not stored, and needs no task.
pub(super) async fn preview_new(
    State(parts): State<Shared>,
    Query(how): Query<HowMany>,
    extract::Json(body): extract::Json<Body>,
) -> Result<Response, Problem> {
    let mut errors = Vec::new();
    let times = body.times(parts.zone, &mut errors).filter(|_| errors.is_empty());
    let Some(Times { spec, zone, start, end }) = times else {
        return Err(Problem::several(StatusCode::UNPROCESSABLE_ENTITY, errors));
    };
    let timing = Timing::new(&spec, zone, (start, end), clock::now()).map_err(ScheduleError::Timing)?;
    how.respond(&timing, zone)
}
