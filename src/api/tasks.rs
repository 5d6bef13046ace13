//! Tasks: submit, show, and changes of one; `list` finds them.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::error::Problem;
use super::extract::Id;
use super::headers::{self, IDEMPOTENCY_KEY};
use super::schemas::TimeInput;
use super::submit as submission;
use super::submit::body::NewTasks;
use super::views::Listing;
use super::views::artifacts::ArtifactView;
use super::views::steps::StepView;
use super::views::tasks::{AttemptView, EventView, Submitted, SubmittedTasks, TaskDetail, TaskView};
use super::{Parts, Shared, bulk};
use crate::agent::steps_of;
use crate::clock;
use crate::domain::attempt::Attempt;
use crate::domain::id::TaskId;
use crate::domain::task::{Task, TaskStatus};
use crate::queue::{Person, Source, Submission};

pub(super) mod list;

/// Events shown with a task, the newest.
const HISTORY: u32 = 500;
/// Newest attempts whose steps are shown with a task: those of earlier ones are among them.
const WITH_STEPS: u32 = 3;
/// Longest `Idempotency-Key`, in characters.
const MAX_IDEMPOTENCY_KEY: usize = 256;

/// Submits one task or a list of tasks.
///
/// All tasks of a list are inserted, or none. A task whose `id` or `unique_key` is taken is not made again; `created` says of each task
/// whether it is new. Send the header `Idempotency-Key` to be able to repeat a request without making its tasks twice.
#[utoipa::path(
    post,
    path = "/tasks",
    operation_id = "submitTasks",
    tag = "Tasks",
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 256,
        description = "Names the request: sent again with the same key and the same tasks in the same order, it makes no task twice.")),
    request_body = NewTasks,
    responses(
        (status = 201, description = "At least one task is new. An agent may have begun it already.", body = SubmittedTasks,
            headers(("Location" = String, description = "Path of the task, when the body was one task.")),
            links(("task" = (operation_id = "getTask", parameters(("id" = "$response.body#/id")))),
                ("cancel" = (operation_id = "cancelTask", parameters(("id" = "$response.body#/id")))))),
        (status = 200, description = "No task is new: the id or the unique key of each was taken.", body = SubmittedTasks,
            headers(("Location" = String, description = "Path of the task, when the body was one task."))),
        (status = 422, description = "A task asks for something impossible, such as an unknown agent, tool or task, or a cycle."),
        (status = 429, description = "The user has too many tasks that have not ended, or there are too many requests.",
            headers(("Retry-After" = u64, description = "Seconds after which the request may succeed."))),
    ),
)]
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

/// Shows a task with its attempts, history and artifacts.
///
/// The answer holds the newest 1,000 attempts and 500 events. Outputs and arguments of steps are cut to 2 KiB each; `listTaskSteps`
/// shows them whole. While the task waits for its model, `waits` says why and for how long.
#[utoipa::path(
    get,
    path = "/tasks/{id}",
    operation_id = "getTask",
    tag = "Tasks",
    params(("id" = TaskId, Path, description = "Id of the task.")),
    responses(
        (status = 200, description = "The task.", body = TaskDetail),
        (status = 404, description = "No task has this id."),
    ),
)]
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

/// Shows the steps of the newest run of a task.
///
/// Arguments and outputs are whole, also those of a run that failed.
#[utoipa::path(
    get,
    path = "/tasks/{id}/steps",
    operation_id = "listTaskSteps",
    tag = "Tasks",
    params(("id" = TaskId, Path, description = "Id of the task.")),
    responses(
        (status = 200, description = "The steps.", body = Listing<StepView>),
        (status = 404, description = "No task has this id."),
    ),
)]
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

/// Cancels a task.
///
/// A task that no agent runs is cancelled at once. A running task stops as soon as its agent has learned of it.
#[utoipa::path(
    post,
    path = "/tasks/{id}/cancel",
    operation_id = "cancelTask",
    tag = "Tasks",
    params(("id" = TaskId, Path, description = "Id of the task.")),
    responses(
        (status = 200, description = "The task is cancelled.", body = TaskView),
        (status = 202, description = "The task still runs, and will stop.", body = TaskView),
        (status = 404, description = "No task has this id."),
        (status = 409, description = "The task has ended already."),
    ),
)]
pub(super) async fn cancel(State(parts): State<Shared>, Id(id): Id) -> Result<(StatusCode, Json<TaskView>), Problem> {
    let found = parts.queue.cancel(id, &Person::default()).await?;
    let is_running = found.task.state.status == TaskStatus::Running;
    let status = if is_running { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(TaskView::of_point(found, &parts.runner))))
}

/// A new priority.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPriority {
    /// 0 (can wait) to 10 (urgent).
    #[schema(maximum = 10)]
    priority: u8,
}

/// Changes the priority of a task that has not begun.
#[utoipa::path(
    post,
    path = "/tasks/{id}/reprioritise",
    operation_id = "reprioritiseTask",
    tag = "Tasks",
    params(("id" = TaskId, Path, description = "Id of the task.")),
    request_body = NewPriority,
    responses(
        (status = 200, description = "The task with its new priority.", body = TaskView),
        (status = 404, description = "No task has this id."),
        (status = 409, description = "The task has begun or ended."),
    ),
)]
pub(super) async fn reprioritise(
    State(parts): State<Shared>,
    Id(id): Id,
    super::extract::Json(new): super::extract::Json<NewPriority>,
) -> Result<Json<TaskView>, Problem> {
    let event = bulk::reprioritised(Some(new.priority))?;
    let task = parts.queue.change(id, &event, &Person::default()).await?;
    Ok(Json(TaskView::new(task, &parts.runner)))
}

/// When a task becomes due: `until`, or `for_s` from now.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"for_s": 3600})))]
pub(super) struct NewTime {
    /// The time.
    #[schema(value_type = Option<TimeInput>)]
    until: Option<Value>,
    /// Seconds from now, at most ten years.
    #[schema(maximum = 316_224_000)]
    for_s: Option<u64>,
}

/// Changes when a task that has not begun becomes due.
///
/// Send either `until` or `for_s`.
#[utoipa::path(
    post,
    path = "/tasks/{id}/snooze",
    operation_id = "snoozeTask",
    tag = "Tasks",
    params(("id" = TaskId, Path, description = "Id of the task.")),
    request_body = NewTime,
    responses(
        (status = 200, description = "The task with its new time.", body = TaskView),
        (status = 404, description = "No task has this id."),
        (status = 409, description = "The task has begun or ended."),
    ),
)]
pub(super) async fn snooze(
    State(parts): State<Shared>,
    Id(id): Id,
    super::extract::Json(new): super::extract::Json<NewTime>,
) -> Result<Json<TaskView>, Problem> {
    let event = bulk::snoozed(new.until.as_ref(), new.for_s, parts.zone, clock::now())?;
    let task = parts.queue.change(id, &event, &Person::default()).await?;
    Ok(Json(TaskView::new(task, &parts.runner)))
}

/// Runs a task again that failed, was cancelled or was blocked.
///
/// It runs at once, or at its `run_at` when it ended before that and never ran. Finished steps stay done. Its dead letter is removed.
#[utoipa::path(
    post,
    path = "/tasks/{id}/retry",
    operation_id = "retryTask",
    tag = "Tasks",
    params(("id" = TaskId, Path, description = "Id of the task.")),
    responses(
        (status = 202, description = "The task waits to run again.", body = TaskView),
        (status = 404, description = "No task has this id."),
        (status = 409, description = "The task has not ended, completed, or cannot be read as a task."),
    ),
)]
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
