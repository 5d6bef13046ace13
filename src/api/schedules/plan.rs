//! The plan that the runs of a schedule begin with.

use axum::Json;
use axum::extract::State;

use crate::api::Shared;
use crate::api::error::Problem;
use crate::api::extract::Path;
use crate::api::views::schedule_plan::SchedulePlanView;
use crate::clock;

/// Shows the plan that the runs of a schedule begin with.
///
/// `own` is the plan that the definition of the schedule carries; its runs carry that out and adopt no other.
#[utoipa::path(
    get,
    path = "/schedules/{id}/plan",
    operation_id = "getSchedulePlan",
    tag = "Schedules",
    params(("id" = String, Path, description = "Id of the schedule.")),
    responses(
        (status = 200, description = "The plan, or why there is none.", body = SchedulePlanView),
        (status = 404, description = "No schedule has this id."),
    ),
)]
pub(in crate::api) async fn show(
    State(parts): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<SchedulePlanView>, Problem> {
    let (schedule, adoption) = parts.runner.schedules().plan(&id).await?;
    Ok(Json(SchedulePlanView::new(&schedule, adoption)))
}

/// Pins the adopted plan of a schedule, so that its runs always begin with it.
#[utoipa::path(
    post,
    path = "/schedules/{id}/plan/pin",
    operation_id = "pinSchedulePlan",
    tag = "Schedules",
    params(("id" = String, Path, description = "Id of the schedule.")),
    responses(
        (status = 200, description = "The plan.", body = SchedulePlanView),
        (status = 404, description = "No schedule has this id."),
        (status = 409, description = "The schedule has no plan to pin, or another request changed the schedule meanwhile."),
    ),
)]
pub(in crate::api) async fn pin(
    State(parts): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<SchedulePlanView>, Problem> {
    let (schedule, adoption) = parts.runner.schedules().pin_plan(&id, clock::now()).await?;
    Ok(Json(SchedulePlanView::new(&schedule, adoption)))
}

/// Forgets the plan of a schedule, pinned or not.
#[utoipa::path(
    post,
    path = "/schedules/{id}/plan/forget",
    operation_id = "forgetSchedulePlan",
    tag = "Schedules",
    params(("id" = String, Path, description = "Id of the schedule.")),
    responses(
        (status = 200, description = "What is left.", body = SchedulePlanView),
        (status = 404, description = "No schedule has this id."),
        (status = 409, description = "The schedule has no plan to forget, or another request changed the schedule meanwhile."),
    ),
)]
pub(in crate::api) async fn forget(
    State(parts): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<SchedulePlanView>, Problem> {
    let (schedule, adoption) = parts.runner.schedules().forget_plan(&id, clock::now()).await?;
    Ok(Json(SchedulePlanView::new(&schedule, adoption)))
}
