//! Listings and counts of tasks.

use axum::Json;
use axum::extract::State;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::find;
use crate::api::error::Problem;
use crate::api::extract::{Id, Query};
use crate::api::filter::{Conditions, Filtered};
use crate::api::paging::Paging;
use crate::api::schemas::words;
use crate::api::views::Listing;
use crate::api::views::tasks::{Children, TaskCounts, TaskView};
use crate::api::{Parts, Shared};
use crate::domain::id::{InvalidIdPrefix, TaskId};
use crate::domain::task::TaskStatus;
use crate::store::{Found, Order, TaskFilter};

/// Points read at the same time.
const FOUND_AT_ONCE: usize = 16;

/// What a listing takes beside its filter.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct ListOptions {
    /// Order of the listing; `newest` without it.
    #[param(inline)]
    order: Option<OrderBy>,
    /// Most items of the page; 50 without it.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<u32>,
    /// Where the page begins: `next` of the page before.
    after: Option<String>,
    /// Beginning of an id: 4 or more hexadecimal digits. Goes with `limit` alone.
    #[param(min_length = 4, max_length = 36, pattern = "^[0-9A-Fa-f-]+$")]
    id_prefix: Option<String>,
}

/// The order of a listing.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum OrderBy {
    Newest,
    Next,
    Ended,
}

words!(OrderBy, "Order of a listing.", {
    Newest => "the latest `run_at` first",
    Next => "tasks that have not ended, in the order in which they start",
    Ended => "tasks that have ended, the latest end first",
});

impl From<OrderBy> for Order {
    fn from(order: OrderBy) -> Self {
        match order {
            OrderBy::Newest => Self::Newest,
            OrderBy::Next => Self::Next,
            OrderBy::Ended => Self::Ended,
        }
    }
}

/// Lists tasks.
///
/// A task is listed when it meets all conditions. `id_prefix` lists the tasks whose ids begin so, in the order of their ids; it goes
/// with `limit` alone. A page with the condition `text` may hold fewer tasks than `limit` and still have a `next`.
#[utoipa::path(
    get,
    path = "/tasks",
    operation_id = "listTasks",
    tag = "Tasks",
    params(Conditions, ListOptions),
    responses((status = 200, description = "A page of tasks.", body = Listing<TaskView>)),
)]
pub(in crate::api) async fn list(
    State(parts): State<Shared>,
    Filtered { filter, options }: Filtered<ListOptions>,
) -> Result<Json<Listing<TaskView>>, Problem> {
    let order = options.order.map(Order::from);
    let paging = Paging { limit: options.limit, after: options.after };
    if let Some(prefix) = &options.id_prefix {
        if !filter.is_empty() || order.is_some() || paging.after.is_some() {
            return Err(Problem::bad_request("id_prefix goes with limit alone: leave the other parameters out"));
        }
        return by_prefix(&parts, prefix, paging.limit()?).await;
    }
    let order = order.unwrap_or_default();
    let page = parts.store.ordered_points(&filter, order, paging.limit()?, paging.place()?).await?;
    let mut listing = Listing::page(page, |found| TaskView::of_point(found, &parts.runner));
    name_agents(&parts, &mut listing.items).await?;
    Ok(Json(listing))
}

/// Writes to the tasks that run or have run which agent does or did it.
async fn name_agents(parts: &Parts, tasks: &mut [TaskView]) -> Result<(), Problem> {
    let has_run = |task: &TaskView| task.status == TaskStatus::Running || task.status.is_terminal();
    let ran = tasks.iter().filter(|task| has_run(task) && task.status != TaskStatus::Skipped).map(|task| task.id);
    let mut agents = parts.store.latest_agents(&ran.collect::<Vec<_>>()).await?;
    for task in tasks {
        task.ran_by = agents.remove(&task.id);
    }
    Ok(())
}

async fn by_prefix(parts: &Parts, prefix: &str, limit: u32) -> Result<Json<Listing<TaskView>>, Problem> {
    let prefix = prefix.parse().map_err(|error: InvalidIdPrefix| Problem::bad_request(error.to_string()))?;
    let ids = parts.store.task_ids_by_prefix(prefix, limit).await?;
    let points = stream::iter(ids).map(|id| parts.store.find(id)).buffered(FOUND_AT_ONCE);
    let points: Vec<Option<Found>> = points.try_collect().await?;
    let mut items: Vec<TaskView> =
        points.into_iter().flatten().map(|found| TaskView::of_point(found, &parts.runner)).collect();
    items.sort_by_key(|task| task.id);
    Ok(Json(Listing { items, next: None }))
}

/// Counts tasks by status.
///
/// A task is counted when it meets all conditions.
#[utoipa::path(
    get,
    path = "/tasks/counts",
    operation_id = "countTasks",
    tag = "Tasks",
    params(Conditions),
    responses((status = 200, description = "The counts.", body = TaskCounts)),
)]
pub(in crate::api) async fn counts(
    State(parts): State<Shared>,
    Filtered { filter, options }: Filtered<ListOptions>,
) -> Result<Json<TaskCounts>, Problem> {
    if options.order.is_some() || options.limit.is_some() || options.after.is_some() || options.id_prefix.is_some() {
        return Err(Problem::bad_request(
            "counts have no order and no pages: leave order, limit, after and id_prefix out",
        ));
    }
    let counts = parts.store.counts_of(&filter).await?;
    Ok(Json(TaskCounts::new(&counts)))
}

/// Lists the tasks that a task created.
///
/// `finished` says whether all of them have ended; `counts` says how many there are of each status.
#[utoipa::path(
    get,
    path = "/tasks/{id}/children",
    operation_id = "listTaskChildren",
    tag = "Tasks",
    params(("id" = TaskId, Path, description = "Id of the task that created them."), Paging),
    responses(
        (status = 200, description = "A page of the children.", body = Children),
        (status = 404, description = "No task has this id."),
    ),
)]
pub(in crate::api) async fn children(
    State(parts): State<Shared>,
    Id(id): Id,
    Query(paging): Query<Paging>,
) -> Result<Json<Children>, Problem> {
    find(&parts, id).await?;
    let (limit, after) = paging.read()?;
    let filter = TaskFilter { parent: Some(id), ..TaskFilter::default() };
    // In this order: what is counted as finished is shown with its result.
    let counts = parts.store.counts_of_children(id).await?;
    let page = parts.store.tasks(&filter, limit, after.as_deref()).await?;
    Ok(Json(Children::new(page, &counts, &parts.runner)))
}
