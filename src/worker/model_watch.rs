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
    let mut reported: Vec<String> = Vec::new();
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

/// Counts what waits, and tells it when the agents without a model have changed.
async fn count(context: &ReplicaContext, reported: &mut Vec<String>) {
    let presence = context.presence();
    let away: Vec<&AgentPresence> = presence.iter().filter(|agent| agent.model_away.is_some()).collect();
    let names: Vec<String> = away.iter().map(|agent| agent.name.clone()).collect();
    let waiting = match context.count_waiting().await {
        Ok(count) => count,
        Err(error) => {
            tracing::debug!(%error, "the tasks that wait for a model could not be counted");
            return;
        }
    };
    if names == *reported {
        return;
    }
    for agent in away.iter().filter(|agent| !reported.contains(&agent.name)) {
        let cause = agent.model_away.as_ref().map(|away| away.cause.as_str()).unwrap_or_default();
        tracing::warn!(
            agent = agent.name,
            waiting,
            cause,
            "the agent has no model that answers: its tasks that need one wait"
        );
    }
    for name in reported.iter().filter(|name| !names.contains(name)) {
        tracing::info!(agent = name, "the model of the agent answers again: the agent takes tasks that need one");
    }
    *reported = names;
}
