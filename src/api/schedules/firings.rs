//! Firings of schedules: fire one now, make up for those that never ran, show the next.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::definition::{Body, Times};
use super::find;
use crate::api::Shared;
use crate::api::error::Problem;
use crate::api::extract::{self, Path, Query};
use crate::api::schemas::TimeInput;
use crate::api::views::Listing;
use crate::api::views::schedules::{BackfilledView, FiringView, TriggeredView, upcoming};
use crate::api::views::tasks::TaskView;
use crate::clock;
use crate::domain::schedule::Overlap;
use crate::domain::schedule::timing::Timing;
use crate::domain::schedule::zone::Zone;
use crate::schedules::service::ScheduleError;
use crate::schedules::trigger::Triggered;

/// Firings of a preview.
const DEFAULT_PREVIEW: usize = 10;
const MAX_PREVIEW: usize = 1_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct HowToTrigger {
    /// Overlap policy in place of the schedule's own.
    #[param(inline)]
    overlap: Option<Overlap>,
}

/// Fires a schedule now.
#[utoipa::path(
    post,
    path = "/schedules/{id}/trigger",
    operation_id = "triggerSchedule",
    tag = "Schedules",
    params(("id" = String, Path, description = "Id of the schedule."), HowToTrigger),
    responses(
        (status = 201, description = "The firing became a task.", body = TriggeredView),
        (status = 202, description = "The firing waits for the end of earlier ones.", body = TriggeredView),
        (status = 404, description = "No schedule has this id."),
        (status = 409, description = "The firing would overlap, or 1,000 firings wait already."),
        (status = 422, description = "The template makes no task that can be submitted."),
    ),
)]
pub(in crate::api) async fn trigger(
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

/// A range of time whose firings are made up for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BackfillRange)]
pub(in crate::api) struct Range {
    /// Where the range begins.
    #[schema(value_type = TimeInput)]
    from: Value,
    /// Where the range ends; now without it.
    #[schema(value_type = Option<TimeInput>)]
    until: Option<Value>,
    /// Whether to change nothing and only count.
    #[serde(default)]
    dry_run: bool,
}

/// Makes up for the firings of a range that never ran.
#[utoipa::path(
    post,
    path = "/schedules/{id}/backfill",
    operation_id = "backfillSchedule",
    tag = "Schedules",
    params(("id" = String, Path, description = "Id of the schedule.")),
    request_body = Range,
    responses(
        (status = 200, description = "What was made up for, or would be.", body = BackfilledView),
        (status = 404, description = "No schedule has this id."),
        (status = 409, description = "Too many firings wait already, or another request changed the schedule meanwhile."),
        (status = 422, description = "The range is empty or too long, or the template makes no task that can be submitted."),
    ),
)]
pub(in crate::api) async fn backfill(
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

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct HowMany {
    /// How many firings; 10 without it.
    #[param(minimum = 1, maximum = 1_000)]
    count: Option<usize>,
    /// Time from which on they are shown; now without it. A time without an offset is on the wall clock of the zone.
    from: Option<String>,
}

impl HowMany {
    fn respond(&self, timing: &Timing, zone: Zone) -> Result<Json<Listing<FiringView>>, Problem> {
        let count = self.count.unwrap_or(DEFAULT_PREVIEW);
        if !(1..=MAX_PREVIEW).contains(&count) {
            return Err(Problem::bad_request(format!("count = {count} is out of range: use 1 to {MAX_PREVIEW}")));
        }
        let from = self.from.as_ref().map(|from| zone.read(&Value::from(from.as_str()))).transpose();
        let from = from.map_err(|error| Problem::bad_request(format!("from: {error}")))?;
        let after = from.map_or_else(clock::now, |from| from.plus_millis(-1));
        let items = upcoming(timing, zone, after, count);
        Ok(Json(Listing { items, next: None }))
    }
}

/// Shows the next firings of a schedule, also of a paused one.
#[utoipa::path(
    get,
    path = "/schedules/{id}/preview",
    operation_id = "previewSchedule",
    tag = "Schedules",
    params(("id" = String, Path, description = "Id of the schedule."), HowMany),
    responses(
        (status = 200, description = "The firings.", body = Listing<FiringView>),
        (status = 404, description = "No schedule has this id."),
        (status = 422, description = "The schedule cannot be read."),
    ),
)]
pub(in crate::api) async fn preview(
    State(parts): State<Shared>,
    Path(id): Path<String>,
    Query(how): Query<HowMany>,
) -> Result<Json<Listing<FiringView>>, Problem> {
    let schedule = find(&parts, id).await?;
    how.respond(&schedule.timing().map_err(ScheduleError::Timing)?, schedule.definition.zone)
}

/// Shows the next firings of a definition that is not stored.
///
/// The definition needs no `task`.
#[utoipa::path(
    post,
    path = "/schedules/preview",
    operation_id = "previewDefinition",
    tag = "Schedules",
    params(HowMany),
    request_body = Body,
    responses(
        (status = 200, description = "The firings.", body = Listing<FiringView>),
        (status = 422, description = "The definition asks for something impossible, such as a wrong cron expression."),
    ),
)]
pub(in crate::api) async fn preview_new(
    State(parts): State<Shared>,
    Query(how): Query<HowMany>,
    extract::Json(body): extract::Json<Body>,
) -> Result<Json<Listing<FiringView>>, Problem> {
    let mut errors = Vec::new();
    let times = body.times(parts.zone, &mut errors).filter(|_| errors.is_empty());
    let Some(Times { spec, zone, start, end }) = times else {
        return Err(Problem::several(StatusCode::UNPROCESSABLE_ENTITY, errors));
    };
    let timing = Timing::new(&spec, zone, (start, end), clock::now()).map_err(ScheduleError::Timing)?;
    how.respond(&timing, zone)
}
