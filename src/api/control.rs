//! Pausing and resuming the fleet or an agent, and retention on request.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

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
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    /// The agent; the whole fleet when absent.
    agent: Option<String>,
    by: Option<String>,
    note: Option<String>,
}

/// Everything that is paused.
pub(super) async fn list(State(parts): State<Shared>) -> Result<Json<Listing<PauseView>>, Problem> {
    Ok(Json(listing(&parts).await?))
}

/// Pauses the fleet or the agent: it claims nothing more, and what runs goes on. A pause that is there stays as it is,
/// unless the request has another note.
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

/// Ends a pause. That of an agent does not end with that of the fleet, nor the other way round.
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pruning {
    #[serde(default)]
    dry_run: bool,
}

/// What a run of retention removed.
#[derive(Debug, Serialize)]
pub(super) struct PruneOutcome {
    dry_run: bool,
    #[serde(flatten)]
    pruned: Pruned,
}

/// Removes what retention does not keep, or only counts it.
pub(super) async fn prune(
    State(parts): State<Shared>,
    extract::Json(Pruning { dry_run }): extract::Json<Pruning>,
) -> Result<Json<PruneOutcome>, Problem> {
    let pruned = parts.runner.prune(clock::now(), dry_run).await?;
    Ok(Json(PruneOutcome { dry_run, pruned }))
}
