//! What the API tells probes.

use serde::{Deserialize, Serialize};

/// Whether this replica takes work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether it does.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// Agents that take nothing because a person has put them on hold; the replica is ready all the same.
    #[serde(default)]
    pub paused: Vec<String>,
}
