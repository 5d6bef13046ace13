//! Tasks: submit, list, show, and changes of one.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use serde_json::Value;

use super::error::Problem;
use super::extract::{Id, Query};
use super::filter::Filtered;
use super::headers::{self, IDEMPOTENCY_KEY};
use super::paging::Paging;
use super::submit as submission;
use super::views::Listing;
use super::views::artifacts::ArtifactView;
use super::views::steps::StepView;
use super::views::tasks::{AttemptView, Children, EventView, Submitted, TaskCounts, TaskDetail, TaskView};
use super::{Parts, Shared, bulk};
use crate::agent::steps_of;
use crate::clock;
use crate::domain::attempt::Attempt;
use crate::domain::id::{InvalidIdPrefix, TaskId};
use crate::domain::task::{Task, TaskStatus};
use crate::queue::{Person, Source, Submission};
use crate::store::{Found, Order, TaskFilter};

/// Points read at the same time.
const FOUND_AT_ONCE: usize = 16;
/// Events shown with a task, the newest.
const HISTORY: u32 = 500;
/// Newest attempts whose steps are shown with a task: those of earlier ones are among them.
const WITH_STEPS: u32 = 3;
/// Longest `Idempotency-Key`, in characters.
const MAX_IDEMPOTENCY_KEY: usize = 256;

/// Inserts one task or a list, all or none.
pub(super) async fn submit(
    State(parts): State<Shared>,
    headers: HeaderMap,
    super::extract::Json(body): super::extract::Json<Value>,
) -> Result<Response, Problem> {
    let now = clock::now();
    let submission::Read { tasks, listed, ids } =
        submission::read(&parts, body, idempotency_key(&headers)?, now).await?;
    let submitted = parts.queue.submit(Submission { tasks, ids, source: Source::Api }, now).await?;
    let status = if submitted.created() > 0 { StatusCode::CREATED } else { StatusCode::OK };
    let items = submitted.tasks.into_iter().zip(submitted.inserted);
    let mut items: Vec<Submitted> =
        items.map(|(task, one)| Submitted { created: one.created, task: TaskView::new(task, &parts.runner) }).collect();
    if listed {
        return Ok((status, Json(Listing { items, next: None })).into_response());
    }
    let Some(submitted) = items.pop() else {
        return Err(Problem::internal("the store did not say what became of the task: look for it before a retry"));
    };
    let location = [(header::LOCATION, format!("/api/v1/tasks/{}", submitted.task.id))];
    Ok((status, location, Json(submitted)).into_response())
}

/// The key under which a client may send the same request again without making its tasks twice.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    match headers::text(headers, &IDEMPOTENCY_KEY).map(str::trim) {
        None => Ok(None),
        Some(key) if (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len()) => Ok(Some(key)),
        _ => Err(Problem::bad_request(format!("Idempotency-Key: use 1 to {MAX_IDEMPOTENCY_KEY} ASCII characters"))),
    }
}

/// What a listing takes beside its filter.
#[derive(Debug, Deserialize)]
pub(super) struct ListOptions {
    order: Option<OrderBy>,
    limit: Option<u32>,
    after: Option<String>,
    /// The beginning of an id; goes with `limit` alone.
    id_prefix: Option<String>,
}

/// The order of a listing.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OrderBy {
    Newest,
    Next,
    Ended,
}

impl From<OrderBy> for Order {
    fn from(order: OrderBy) -> Self {
        match order {
            OrderBy::Newest => Self::Newest,
            OrderBy::Next => Self::Next,
            OrderBy::Ended => Self::Ended,
        }
    }
}

/// Tasks in one of three orders, or those whose ids begin with a prefix.
pub(super) async fn list(
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

/// How many tasks pass a filter, by status.
pub(super) async fn counts(
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

/// The tasks that a task made, with how many there are of each status.
pub(super) async fn children(
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

/// A task with its attempts, history and artifacts.
pub(super) async fn show(State(parts): State<Shared>, Id(id): Id) -> Result<Json<TaskDetail>, Problem> {
    let (found, attempts, mut checkpoints, history, artifacts) = tokio::try_join!(
        async { parts.store.find(id).await?.ok_or_else(|| missing(id)) },
        async { Ok(parts.store.attempts(id).await?) },
        async { Ok(parts.store.checkpoints(id, WITH_STEPS).await?) },
        async { Ok(parts.store.events(Some(id), HISTORY).await?) },
        async { Ok(parts.store.artifacts(id).await?) },
    )?;
    let progress = attempts.last().map(|attempt| attempt.progress.clone());
    let estimated_end = estimated_end(&found.task, attempts.last());
    let attempts = attempts.into_iter().map(|attempt| {
        let steps = checkpoints.remove(&attempt.id).map(|state| steps_of(&state)).unwrap_or_default();
        let steps = steps.into_iter().map(|step| StepView::from(step).short()).collect();
        AttemptView { steps, ..attempt.into() }
    });
    Ok(Json(TaskDetail {
        estimated_end,
        task: TaskView::of_point(found, &parts.runner),
        progress,
        attempts: attempts.collect(),
        history: history.into_iter().map(EventView::from).collect(),
        artifacts: artifacts.into_iter().map(ArtifactView::from).collect(),
    }))
}

/// When the newest run will probably end, as far as its plan has estimates.
fn estimated_end(task: &Task, newest: Option<&Attempt>) -> Option<String> {
    let goes_on = task.state.status == TaskStatus::Running || task.state.awaits.is_some();
    let newest = newest.filter(|_| goes_on)?;
    let left_ms = i64::from(newest.progress.left_s?).saturating_mul(1_000);
    Some(newest.updated_at.plus_millis(left_ms).to_rfc3339())
}

/// The steps of the newest run of a task, with their whole outputs.
pub(super) async fn steps(State(parts): State<Shared>, Id(id): Id) -> Result<Json<Listing<StepView>>, Problem> {
    if parts.store.find(id).await?.is_none() {
        return Err(missing(id));
    }
    Ok(Json(Listing { items: last_steps(&parts, id).await?, next: None }))
}

/// The steps of the newest run of a task that has recorded any.
pub(super) async fn last_steps(parts: &Parts, id: TaskId) -> Result<Vec<StepView>, Problem> {
    let attempts = parts.store.attempts(id).await?;
    let mut checkpoints = parts.store.checkpoints(id, WITH_STEPS).await?;
    let newest = attempts.iter().rev().find_map(|attempt| checkpoints.remove(&attempt.id));
    let steps = newest.map(|state| steps_of(&state)).unwrap_or_default();
    Ok(steps.into_iter().map(StepView::from).collect())
}

/// Stops a task: at once when no replica runs it (200), else as soon as the one that runs it knows (202).
pub(super) async fn cancel(State(parts): State<Shared>, Id(id): Id) -> Result<(StatusCode, Json<TaskView>), Problem> {
    let found = parts.queue.cancel(id, &Person::default()).await?;
    let is_running = found.task.state.status == TaskStatus::Running;
    let status = if is_running { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(TaskView::of_point(found, &parts.runner))))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPriority {
    priority: u8,
}

/// Gives a task that has not begun another place in the order.
pub(super) async fn reprioritise(
    State(parts): State<Shared>,
    Id(id): Id,
    super::extract::Json(new): super::extract::Json<NewPriority>,
) -> Result<Json<TaskView>, Problem> {
    let event = bulk::reprioritised(Some(new.priority))?;
    let task = parts.queue.change(id, &event, &Person::default()).await?;
    Ok(Json(TaskView::new(task, &parts.runner)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTime {
    until: Option<Value>,
    for_s: Option<u64>,
}

/// Makes a task that has not begun due at another time.
pub(super) async fn snooze(
    State(parts): State<Shared>,
    Id(id): Id,
    super::extract::Json(new): super::extract::Json<NewTime>,
) -> Result<Json<TaskView>, Problem> {
    let event = bulk::snoozed(new.until.as_ref(), new.for_s, parts.zone, clock::now())?;
    let task = parts.queue.change(id, &event, &Person::default()).await?;
    Ok(Json(TaskView::new(task, &parts.runner)))
}

/// Runs a task again that ended badly, from a clean slate; its dead letter goes.
pub(super) async fn retry(State(parts): State<Shared>, Id(id): Id) -> Result<(StatusCode, Json<TaskView>), Problem> {
    let task = parts.queue.requeue(id, &Person::default()).await?;
    Ok((StatusCode::ACCEPTED, Json(TaskView::new(task, &parts.runner))))
}

pub(super) fn missing(id: TaskId) -> Problem {
    Problem::not_found(format!("there is no task {id}"))
}

pub(super) async fn find(parts: &Parts, id: TaskId) -> Result<Task, Problem> {
    parts.store.task(id).await?.ok_or_else(|| missing(id))
}
