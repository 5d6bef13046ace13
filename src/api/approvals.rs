//! What waits for a person, and their decisions.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::error::Problem;
use super::extract::{Id, Query};
use super::paging::Paging;
use super::tasks;
use super::views::Listing;
use super::views::approvals::OpenApproval;
use super::views::tasks::TaskView;
use super::{Parts, Shared, extract};
use crate::domain::approval::{Approval, ApprovalOutcome, Ruling};
use crate::domain::id::TaskId;
use crate::domain::task::{Task, TaskStatus};
use crate::queue::Person;
use crate::store::TaskFilter;

/// Lists the questions that wait for a person.
///
/// A page holds the questions of at most `limit` tasks.
#[utoipa::path(
    get,
    path = "/approvals",
    operation_id = "listApprovals",
    tag = "Approvals",
    params(Paging),
    responses(
        (status = 200, description = "A page of questions.", body = Listing<OpenApproval>),
    ),
)]
pub(super) async fn list(
    State(parts): State<Shared>,
    Query(paging): Query<Paging>,
) -> Result<Json<Listing<OpenApproval>>, Problem> {
    let filter = TaskFilter { statuses: vec![TaskStatus::AwaitingApproval], ..TaskFilter::default() };
    let (limit, after) = paging.read()?;
    let page = parts.store.tasks(&filter, limit, after.as_deref()).await?;
    let items = page.items.iter().flat_map(OpenApproval::list).collect();
    Ok(Json(Listing { items, next: page.next }))
}

/// A decision on questions.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ApprovalDecision)]
pub(super) struct Decision {
    /// Hashes of the questions that are answered, at least one. `listApprovals` lists them.
    #[schema(min_items = 1)]
    hashes: Vec<String>,
    /// Name of the person who decides.
    by: Option<String>,
    /// Why.
    note: Option<String>,
}

/// Approves calls of a task, or the task itself.
///
/// `hashes` names the questions that are answered. A call that has changed is another question, with another hash.
#[utoipa::path(
    post,
    path = "/tasks/{id}/approve",
    operation_id = "approveTask",
    tag = "Approvals",
    params(("id" = TaskId, Path, description = "Id of the task.")),
    request_body = Decision,
    responses(
        (status = 200, description = "The task with the decision.", body = TaskView),
        (status = 404, description = "No task has this id."),
        (status = 409, description = "The task does not ask one of these questions."),
    ),
)]
pub(super) async fn approve(
    State(parts): State<Shared>,
    Id(id): Id,
    extract::Json(decision): extract::Json<Decision>,
) -> Result<Json<TaskView>, Problem> {
    decide(&parts, id, decision, ApprovalOutcome::Approved).await
}

/// Denies calls of a task, or the task itself.
///
/// `hashes` names the questions that are answered.
#[utoipa::path(
    post,
    path = "/tasks/{id}/deny",
    operation_id = "denyTask",
    tag = "Approvals",
    params(("id" = TaskId, Path, description = "Id of the task.")),
    request_body = Decision,
    responses(
        (status = 200, description = "The task with the decision.", body = TaskView),
        (status = 404, description = "No task has this id."),
        (status = 409, description = "The task does not ask one of these questions."),
    ),
)]
pub(super) async fn deny(
    State(parts): State<Shared>,
    Id(id): Id,
    extract::Json(decision): extract::Json<Decision>,
) -> Result<Json<TaskView>, Problem> {
    decide(&parts, id, decision, ApprovalOutcome::Denied).await
}

async fn decide(
    parts: &Parts,
    id: TaskId,
    decision: Decision,
    verdict: ApprovalOutcome,
) -> Result<Json<TaskView>, Problem> {
    let Decision { hashes, by, note } = decision;
    if hashes.is_empty() {
        return Err(Problem::bad_request(
            "hashes is empty: give the hashes of the questions to answer, which GET /api/v1/approvals lists",
        ));
    }
    let task = tasks::find(parts, id).await?;
    check(&task, &hashes)?;
    let person = Person { by: by.clone(), note: note.clone() };
    let ruling = Ruling { hashes, by, note };
    let task = parts.queue.decide(id, ruling, verdict, &person).await?;
    Ok(Json(TaskView::new(task, &parts.runner)))
}

/// Nothing is decided but what the task asks for now: a call that has changed is another question.
fn check(task: &Task, hashes: &[String]) -> Result<(), Problem> {
    let now = crate::clock::now();
    let open: Vec<&Approval> =
        task.state.approvals.iter().filter(|approval| approval.is_open() && !approval.has_expired(now)).collect();
    let Some(stranger) = hashes.iter().find(|hash| open.iter().all(|approval| approval.hash != **hash)) else {
        return Ok(());
    };
    let questions: Vec<String> = open.iter().map(|a| format!("{} {}", a.hash, a.title())).collect();
    let questions = if questions.is_empty() {
        "it has no open question".to_owned()
    } else {
        format!("its open questions are {}", questions.join(", "))
    };
    Err(Problem::conflict(format!(
        "task {} has no open question with the hash {stranger}, which may have been answered or changed; {questions}",
        task.id
    )))
}
