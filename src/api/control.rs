//! Pausing and resuming the fleet or an agent, and retention on request.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::Problem;
use super::views::Listing;
use super::views::control::{PauseView, Paused, Resumed};
use super::{Parts, Shared, extract};
use crate::clock;
use crate::domain::event::{Event, EventKind};
use crate::domain::pause::{Pause, PauseOutcome};
use crate::queue::Person;
use crate::scheduler::Pruned;

/// What to pause or to resume.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PauseTarget)]
pub(super) struct Target {
    /// Name of the agent; all agents without it.
    agent: Option<String>,
    /// Name of the person who wants it.
    by: Option<String>,
    /// Why.
    note: Option<String>,
}

/// Lists what is paused.
#[utoipa::path(
    get,
    path = "/pauses",
    operation_id = "listPauses",
    tag = "Operation",
    responses(
        (status = 200, description = "The pauses.", body = Listing<PauseView>),
    ),
)]
pub(super) async fn list(State(parts): State<Shared>) -> Result<Json<Listing<PauseView>>, Problem> {
    Ok(Json(listing(&parts).await?))
}

/// Pauses an agent, or all agents.
///
/// A paused agent finishes its running tasks and takes no more, on all replicas. A pause that is there keeps its time; its note changes
/// when the request has another.
#[utoipa::path(
    post,
    path = "/pause",
    operation_id = "pauseWork",
    tag = "Operation",
    request_body = Target,
    responses(
        (status = 200, description = "What changed, and all pauses.", body = Paused),
        (status = 422, description = "No replica has an agent of this name."),
    ),
)]
pub(super) async fn pause(
    State(parts): State<Shared>,
    extract::Json(target): extract::Json<Target>,
) -> Result<Json<Paused>, Problem> {
    if let Some(agent) = &target.agent {
        parts.queue.known_agents(&parts.agents).await?.check(agent)?;
    }
    let now = clock::now();
    let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let (by, note) = (given(target.by), given(target.note));
    let person = Person { by: by.clone(), note: note.clone() };
    let pause = Pause { agent: target.agent, by, note, since: now };
    let outcome = parts.store.pause(&pause).await?;
    parts.runner.look_at_pauses();
    let event = match outcome {
        PauseOutcome::Paused => Some(Event::new(EventKind::Paused, format!("{} was paused", pause.subject()), now)),
        PauseOutcome::NoteChanged => Some(Event::new(
            EventKind::PauseNoteChanged,
            format!("the note of the pause of {} was changed", pause.subject()),
            now,
        )),
        PauseOutcome::AlreadyPaused => None,
    };
    if let Some(event) = event {
        parts.queue.history().record(&[about(person.sign(event), &pause)]).await;
    }
    Ok(Json(Paused { outcome, pauses: listing(&parts).await? }))
}

/// Ends a pause.
///
/// The pause of an agent does not end with that of all agents, nor the other way round.
#[utoipa::path(
    post,
    path = "/resume",
    operation_id = "resumeWork",
    tag = "Operation",
    request_body = Target,
    responses(
        (status = 200, description = "Whether there was such a pause, and the pauses that are left.", body = Resumed),
        (status = 422, description = "No replica has an agent of this name."),
    ),
)]
pub(super) async fn resume(
    State(parts): State<Shared>,
    extract::Json(target): extract::Json<Target>,
) -> Result<Json<Resumed>, Problem> {
    if let Some(agent) = &target.agent {
        let pauses = parts.store.pauses().await?;
        // An agent that no replica has any more may have left a pause behind.
        if pauses.iter().all(|pause| pause.agent.as_deref() != Some(agent.as_str())) {
            parts.queue.known_agents(&parts.agents).await?.check(agent)?;
        }
    }
    let now = clock::now();
    let was_paused = parts.store.resume(target.agent.as_deref()).await?;
    parts.runner.look_at_pauses();
    if was_paused {
        let person = Person { by: target.by, note: target.note };
        let pause = Pause { agent: target.agent, by: None, note: None, since: now };
        let event = person.sign(Event::new(EventKind::ResumedWork, format!("{} was resumed", pause.subject()), now));
        parts.queue.history().record(&[about(event, &pause)]).await;
    }
    Ok(Json(Resumed { was_paused, pauses: listing(&parts).await? }))
}

async fn listing(parts: &Parts) -> Result<Listing<PauseView>, Problem> {
    let pauses = parts.store.pauses().await?;
    Ok(Listing::whole(pauses))
}

fn about(event: Event, pause: &Pause) -> Event {
    match &pause.agent {
        Some(agent) => event.agent(agent),
        None => event,
    }
}

/// How to prune.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PruneRequest)]
pub(super) struct Pruning {
    /// Whether to remove nothing and only count.
    #[serde(default)]
    dry_run: bool,
}

/// What a run of retention removed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PruneOutcome {
    /// Whether nothing was removed, and the counts say what would be.
    dry_run: bool,
    #[serde(flatten)]
    pruned: Pruned,
}

/// Removes what is older than retention keeps.
///
/// qron does so by itself at intervals. `dry_run` only counts.
#[utoipa::path(
    post,
    path = "/prune",
    operation_id = "prune",
    tag = "Operation",
    request_body = Pruning,
    responses(
        (status = 200, description = "What was removed, or would be.", body = PruneOutcome),
    ),
)]
pub(super) async fn prune(
    State(parts): State<Shared>,
    extract::Json(Pruning { dry_run }): extract::Json<Pruning>,
) -> Result<Json<PruneOutcome>, Problem> {
    let pruned = parts.runner.prune(clock::now(), dry_run).await?;
    Ok(Json(PruneOutcome { dry_run, pruned }))
}
