//! A running qron process, as the others see it.

use serde::{Deserialize, Serialize};

use super::number;
use super::time::Timestamp;

/// What a replica says of itself with each heartbeat. Whether it lives is judged by `heartbeat` alone: one that
/// does not move for the lease time, on the observer's own monotonic clock, is dead.
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
    /// When it wrote this, by its own clock: for people, and to tell whose clock is wrong. Never to tell who is alive.
    pub updated_at: Timestamp,
    /// Grows with each heartbeat.
    #[serde(deserialize_with = "number::count")]
    pub heartbeat: u64,
    /// Whether it has stopped claiming and is finishing what it has.
    pub draining: bool,
    /// Grows with whatever it learns that may have made tasks due, for which it may have no agent or no room: the others look
    /// for due tasks, too, when it has changed.
    #[serde(default)]
    #[serde(deserialize_with = "number::count")]
    pub nudges: u64,
    /// Due tasks that need a model and name an agent whose model cannot be asked; all that need one while no agent of the
    /// replica has a model that can be asked.
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
    /// Whether a person has put it on hold.
    #[serde(default)]
    pub paused: bool,
    /// Why it takes no task that needs a model, if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_away: Option<ModelAway>,
}

/// A model that cannot be asked now.
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
