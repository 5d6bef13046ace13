//! A running qron process, as the others see it.

use serde::{Deserialize, Serialize};

use super::number;
use super::time::Timestamp;

/// The record that a replica writes with each heartbeat. Only `heartbeat` decides whether the replica is alive: when
/// it does not change for the lease time, measured by the observer's monotonic clock, the replica is dead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    /// Unique for each start of a process.
    pub id: String,
    /// Name of the host.
    pub host: String,
    /// Version of qron.
    pub version: String,
    /// When it started, by its own clock.
    pub started_at: Timestamp,
    /// When it wrote the record, by its own clock: for people, and to detect a wrong clock. It never decides whether
    /// the replica is alive.
    pub updated_at: Timestamp,
    /// Grows with each heartbeat.
    #[serde(deserialize_with = "number::count")]
    pub heartbeat: u64,
    /// Whether it has stopped claiming and is finishing what it has.
    pub draining: bool,
    /// Grows whenever the replica learns that tasks may have become due that it may be unable to run itself. Other
    /// replicas search for due tasks when they see it change.
    #[serde(default)]
    #[serde(deserialize_with = "number::count")]
    pub nudges: u64,
    /// Tasks that wait for a model: those that need one and are due while the models of their agents are unusable, and those that
    /// were put off while a model failed.
    #[serde(default)]
    #[serde(deserialize_with = "number::count")]
    pub waiting_for_model: u64,
    /// Its agents and their load.
    pub agents: Vec<AgentPresence>,
    /// Share of one core in use; 2.0 is two cores.
    #[serde(deserialize_with = "number::amount")]
    pub cpu: f64,
    /// Resident memory, in bytes.
    #[serde(deserialize_with = "number::count")]
    pub memory_bytes: u64,
}

/// Load of one agent of a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentPresence {
    /// Name of the agent.
    pub name: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// Tasks in flight.
    #[serde(deserialize_with = "number::count")]
    pub in_flight: usize,
    /// Most tasks in flight.
    #[serde(deserialize_with = "number::count")]
    pub capacity: usize,
    /// Whether the agent is paused.
    #[serde(default)]
    pub paused: bool,
    /// The outage that keeps the agent from tasks that need a model; `None` when it has a usable model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_away: Option<ModelAway>,
}

/// A model that cannot be called now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelAway {
    /// Its name; empty when none is configured.
    pub model: String,
    /// Since when; absent when none is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What went wrong first.
    pub cause: String,
}
