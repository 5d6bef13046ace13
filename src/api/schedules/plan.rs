//! The plan that the runs of a schedule begin with.

use axum::Json;
use axum::extract::State;

use crate::api::Shared;
use crate::api::error::Problem;
use crate::api::extract::Path;
use crate::api::views::schedule_plan::SchedulePlanView;
use crate::clock;

/// How a schedule stands with a plan of its own.
pub(in crate::api) async fn show(
    State(parts): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<SchedulePlanView>, Problem> {
    let (schedule, adoption) = parts.runner.schedules().plan(&id).await?;
    Ok(Json(SchedulePlanView::new(&schedule, adoption)))
}

/// Pins its adopted plan.
pub(in crate::api) async fn pin(
    State(parts): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<SchedulePlanView>, Problem> {
    let (schedule, adoption) = parts.runner.schedules().pin_plan(&id, clock::now()).await?;
    Ok(Json(SchedulePlanView::new(&schedule, adoption)))
}

/// Forgets its plan.
pub(in crate::api) async fn forget(
    State(parts): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<SchedulePlanView>, Problem> {
    let (schedule, adoption) = parts.runner.schedules().forget_plan(&id, clock::now()).await?;
    Ok(Json(SchedulePlanView::new(&schedule, adoption)))
}
