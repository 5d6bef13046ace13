//! Agents in answers of the API.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::replica::{AgentPresence, ReplicaRecord};
use crate::domain::time::Timestamp;

/// State of an agent of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Its replica takes tasks.
    Ok,
    /// A person has paused it: it finishes its running tasks and takes no more.
    Paused,
    /// Its replica is shutting down: it finishes its running tasks and takes no more.
    Draining,
    /// Its replica has sent no heartbeat for longer than the lease.
    Silent,
}

/// An agent of one replica.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Agent)]
pub struct AgentView {
    /// Name of the agent.
    pub name: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// Tasks in flight.
    pub in_flight: usize,
    /// Most tasks in flight.
    pub capacity: usize,
    /// Its state.
    pub health: Health,
    /// Why it takes no task that needs a model; absent when it takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_away: Option<ModelView>,
    /// Tasks that wait for a model: those that need one and are due while the models of their agents cannot be asked, and those
    /// that were put off while a model failed.
    #[serde(default)]
    pub waiting_for_model: u64,
    /// Its replica.
    pub replica: String,
    /// Host of the replica.
    pub host: String,
    /// Version of qron there.
    pub version: String,
    /// When the replica started.
    pub started_at: String,
    /// Time of the last heartbeat of the replica.
    pub updated_at: String,
    /// Share of one core in use by the replica.
    pub cpu: f64,
    /// Resident memory of the replica, in bytes.
    pub memory_bytes: u64,
}

/// A model that does not answer.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = ModelOutage)]
pub struct ModelView {
    /// Its name; empty when none is configured.
    pub model: String,
    /// Since when it does not answer; absent when none is configured.
    pub since: Option<String>,
    /// The first failure.
    pub cause: String,
}

impl AgentView {
    /// The agents of `replica` as they are at `now`.
    pub(in crate::api) fn list(replica: &ReplicaRecord, lease_ms: u64, now: Timestamp) -> Vec<Self> {
        let health = if now.millis_since(replica.updated_at) > lease_ms {
            Health::Silent
        } else if replica.draining {
            Health::Draining
        } else {
            Health::Ok
        };
        let view = |agent: &AgentPresence| Self {
            name: agent.name.clone(),
            capabilities: agent.capabilities.clone(),
            in_flight: agent.in_flight,
            capacity: agent.capacity,
            health: if agent.paused && health == Health::Ok { Health::Paused } else { health },
            model_away: agent.model_away.as_ref().map(|away| ModelView {
                model: away.model.clone(),
                since: away.since.map(Timestamp::to_rfc3339),
                cause: away.cause.clone(),
            }),
            waiting_for_model: replica.waiting_for_model,
            replica: replica.id.clone(),
            host: replica.host.clone(),
            version: replica.version.clone(),
            started_at: replica.started_at.to_rfc3339(),
            updated_at: replica.updated_at.to_rfc3339(),
            cpu: replica.cpu,
            memory_bytes: replica.memory_bytes,
        };
        replica.agents.iter().map(view).collect()
    }
}
