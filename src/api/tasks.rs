//! Tasks: submit, list, show, cancel, retry.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;

use super::error::Problem;
use super::extract::{Id, Query};
use super::views::{ArtifactView, AttemptView, EventView, Listing, Submitted, TaskDetail, TaskView};
use super::{Parts, Shared, submit as submission};
use crate::clock;
use crate::domain::event::Event;
use crate::domain::id::TaskId;
use crate::domain::task::{Task, TaskEvent, TaskStatus};
use crate::store::{TaskFilter, TransitionError};
use crate::telemetry::metrics;

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 1_000;
/// Events shown with a task, the newest.
const HISTORY: u32 = 500;
/// How often a change is tried again on a task that somebody else changed meanwhile.
const TRIES: usize = 4;

/// Inserts one task or a list, all or none, and wakes the dispatcher.
pub(super) async fn submit(
    State(parts): State<Shared>,
    super::extract::Json(body): super::extract::Json<Value>,
) -> Result<Response, Problem> {
    let now = clock::now();
    let (tasks, listed) = submission::read(&parts, body, now).await?;
    let inserted = parts.store.insert(&tasks).await?;
    let created = inserted.iter().filter(|inserted| inserted.created).count();
    metrics::TASKS_INSERTED.add(created, ["api"]);
    if created > 0 {
        parts.runner.wake();
    }
    let mut items = Vec::with_capacity(tasks.len());
    for (task, inserted) in tasks.into_iter().zip(inserted) {
        let task = if inserted.created { Task { id: inserted.id, ..task } } else { find(&parts, inserted.id).await? };
        items.push(Submitted { created: inserted.created, task: task.into() });
    }
    let status = if created > 0 { StatusCode::CREATED } else { StatusCode::OK };
    if listed {
        return Ok((status, Json(Listing { items, next: None })).into_response());
    }
    let Some(submitted) = items.pop() else {
        return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the store gave no answer for the task"));
    };
    let location = [(header::LOCATION, format!("/api/v1/tasks/{}", submitted.task.id))];
    Ok((status, location, Json(submitted)).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    status: Option<String>,
    agent: Option<String>,
    tag: Option<String>,
    user: Option<String>,
    schedule: Option<String>,
    limit: Option<u32>,
    after: Option<String>,
}

/// Tasks in the order of their ids; `status` takes several, separated by commas.
pub(super) async fn list(
    State(parts): State<Shared>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Listing<TaskView>>, Problem> {
    let statuses = wanted.status.iter().flat_map(|list| list.split(',')).filter(|word| !word.trim().is_empty());
    let statuses: Result<Vec<TaskStatus>, _> = statuses.map(str::parse).collect();
    let filter = TaskFilter {
        statuses: statuses.map_err(|error| Problem::bad_request(error.to_string()))?,
        agent: wanted.agent,
        tag: wanted.tag,
        user: wanted.user,
        schedule_id: wanted.schedule,
    };
    let limit = page_limit(wanted.limit)?;
    let after = after(wanted.after.as_deref())?;
    let page = parts.store.tasks(&filter, limit, after.as_deref()).await?;
    Ok(Json(Listing { items: page.items.into_iter().map(TaskView::from).collect(), next: page.next }))
}

/// How many items a page shall have.
pub(super) fn page_limit(limit: Option<u32>) -> Result<u32, Problem> {
    match limit.unwrap_or(DEFAULT_LIMIT) {
        limit @ 1..=MAX_LIMIT => Ok(limit),
        limit => Err(Problem::bad_request(format!("limit = {limit} is out of range: use 1 to {MAX_LIMIT}"))),
    }
}

/// Where a page shall start: the id of a point.
pub(super) fn after(after: Option<&str>) -> Result<Option<String>, Problem> {
    let id: Option<TaskId> = after
        .map(str::parse)
        .transpose()
        .map_err(|error| Problem::bad_request(format!("after: {error}; send what the page before gave as next")))?;
    Ok(id.map(|id| id.to_string()))
}

/// A task with its attempts, history and documents.
pub(super) async fn show(State(parts): State<Shared>, Id(id): Id) -> Result<Json<TaskDetail>, Problem> {
    let (task, attempts, history, artifacts) = tokio::try_join!(
        async { find(&parts, id).await },
        async { Ok(parts.store.attempts(id).await?) },
        async { Ok(parts.store.events(Some(id), HISTORY).await?) },
        async { Ok(parts.store.artifacts(id).await?) },
    )?;
    Ok(Json(TaskDetail {
        task: task.into(),
        progress: attempts.last().map(|attempt| attempt.progress.clone()),
        attempts: attempts.into_iter().map(AttemptView::from).collect(),
        history: history.into_iter().map(EventView::from).collect(),
        artifacts: artifacts.into_iter().map(ArtifactView::from).collect(),
    }))
}

/// Stops a task: at once when nobody runs it (200), else as soon as its replica knows (202).
pub(super) async fn cancel(State(parts): State<Shared>, Id(id): Id) -> Result<(StatusCode, Json<TaskView>), Problem> {
    let task = find(&parts, id).await?;
    if task.status == TaskStatus::Cancelled {
        return Ok((StatusCode::OK, Json(task.into())));
    }
    let task = change(&parts, id, &TaskEvent::CancelRequested).await?;
    if task.status != TaskStatus::Running {
        return Ok((StatusCode::OK, Json(task.into())));
    }
    let here = parts.runner.cancel(id);
    tracing::debug!(task = %id, here, "asked to stop");
    Ok((StatusCode::ACCEPTED, Json(task.into())))
}

/// Runs a task again that ended badly, from a clean slate; its dead letter goes.
pub(super) async fn retry(State(parts): State<Shared>, Id(id): Id) -> Result<(StatusCode, Json<TaskView>), Problem> {
    let task = requeue(&parts, id).await?;
    Ok((StatusCode::ACCEPTED, Json(task.into())))
}

pub(super) async fn requeue(parts: &Parts, id: TaskId) -> Result<Task, Problem> {
    let task = change(parts, id, &TaskEvent::Requeued).await?;
    // In this order: a crash in between leaves a dead letter too many, never a task that nobody knows of.
    parts.store.purge_dead_letters(&[id]).await?;
    // A task that was refused as unreadable is read anew, which the sweep does.
    parts.runner.sweep();
    Ok(task)
}

pub(super) fn missing(id: TaskId) -> Problem {
    Problem::not_found(format!("there is no task {id}"))
}

async fn find(parts: &Parts, id: TaskId) -> Result<Task, Problem> {
    parts.store.task(id).await?.ok_or_else(|| missing(id))
}

/// Applies an event that a person caused, to the task as it is now.
async fn change(parts: &Parts, id: TaskId, event: &TaskEvent) -> Result<Task, Problem> {
    let now = clock::now();
    let mut tries = 0;
    let task = loop {
        let task = find(parts, id).await?;
        tries += 1;
        match parts.store.transition(&task, event, now).await {
            Err(TransitionError::Lost(_)) if tries < TRIES => {}
            done => break done?,
        }
    };
    let noted = Event::new(event.name(), format!("{} through the api", event.name().replace('_', " ")), now).task(id);
    if let Err(error) = parts.store.record(&[noted]).await {
        tracing::warn!(%error, task = %id, "an event of the history could not be stored");
        metrics::EVENTS_DROPPED.inc([]);
    }
    Ok(task)
}
