//! Watches whether the models of this replica can be asked: wakes the dispatcher when one comes back, and counts the tasks
//! that wait meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::context::ReplicaContext;
use crate::domain::replica::AgentPresence;

/// Time between two counts while a model is away.
const PERIOD: Duration = Duration::from_secs(5);

/// Watches until it is told to stop.
pub(crate) async fn run(context: Arc<ReplicaContext>, stop: CancellationToken) {
    let mut changes = context.agent.model_changes();
    let mut reported = Reported::default();
    loop {
        count(&context, &mut reported).await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = next(&mut changes) => context.queue.signals().work.notify_one(),
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

async fn next(changes: &mut Option<watch::Receiver<u64>>) {
    if let Some(changes) = changes
        && changes.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// What the log was told last.
#[derive(Default)]
struct Reported {
    /// Agents whose model does not answer.
    agents: Vec<String>,
    /// That tasks wait for a model.
    waits: bool,
}

/// Counts what waits. Tells which agents have no model that answers when that has changed, and once in each
/// outage that tasks wait: the run whose failure shows that a model is away is given back only after that.
async fn count(context: &ReplicaContext, reported: &mut Reported) {
    let presence = context.presence();
    let away: Vec<&AgentPresence> = presence.iter().filter(|agent| agent.model_away.is_some()).collect();
    let names: Vec<String> = away.iter().map(|agent| agent.name.clone()).collect();
    for agent in away.iter().filter(|agent| !reported.agents.contains(&agent.name)) {
        let Some(model) = &agent.model_away else { continue };
        if model.since.is_some() {
            let cause = model.cause.as_str();
            tracing::warn!(
                agent = agent.name,
                cause,
                "the agent has no model that answers: its tasks that need one wait"
            );
        } else {
            // A person started this replica without a model.
            tracing::info!(
                agent = agent.name,
                cause = model.cause,
                "the agent has no model: its tasks that need one wait"
            );
        }
    }
    for name in reported.agents.iter().filter(|name| !names.contains(name)) {
        tracing::info!(agent = name, "the model of the agent answers again: the agent takes tasks that need one");
    }
    reported.agents = names;
    match context.count_waiting().await {
        Ok(waiting) if waiting > 0 && !reported.waits => {
            tracing::info!(waiting, "tasks wait for a model");
            reported.waits = true;
        }
        // The last of them may be under way just now.
        Ok(waiting) => reported.waits = waiting > 0 || (reported.waits && context.has_outage()),
        Err(error) => tracing::debug!(%error, "the tasks that wait for a model could not be counted"),
    }
}
