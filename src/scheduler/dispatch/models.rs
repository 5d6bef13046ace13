//! When tasks that need a model may be claimed: while the models of an agent are away, none; then one at a time, until a
//! model has answered.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock;
use crate::domain::agent::AgentLoad;
use crate::domain::outage::Access;
use crate::domain::time::Timestamp;
use crate::worker::context::ReplicaContext;

/// Least time between two claims of tasks that shall find out whether a model is back. One whose run begins with other
/// work does not hold up the others.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Paces the probes of this replica.
#[derive(Debug, Default)]
pub(super) struct Probes {
    not_before: Option<Instant>,
}

impl Probes {
    /// The agents with their load, and how many tasks that need a model each may take now.
    pub(super) fn loads<'a>(&self, context: &'a ReplicaContext, in_flight: &[usize]) -> Vec<AgentLoad<'a>> {
        let mut loads = context.loads(in_flight);
        if self.wait().is_some() {
            // Only agents whose model is on probe have room for a limited number.
            for load in loads.iter_mut().filter(|load| load.model_room != usize::MAX) {
                load.model_room = 0;
            }
        }
        loads
    }

    /// Notes that a task was picked for an agent with this room.
    pub(super) fn picked(&mut self, needs_model: bool, model_room: usize) {
        if needs_model && model_room != usize::MAX {
            self.not_before = Some(Instant::now() + PROBE_EVERY);
        }
    }

    /// When a model that is away now may be asked again.
    pub(super) fn next_look(&self, context: &ReplicaContext, now: Timestamp) -> Option<Timestamp> {
        let waits = context.slots.profiles().iter().filter_map(|profile| match context.agent.access(profile) {
            Access::Away(left) => Some(left),
            Access::Probe => Some(self.wait().unwrap_or(Duration::ZERO)),
            Access::Usable | Access::Absent => None,
        });
        let soonest = waits.min()?;
        // Just after it, not just before.
        let ms = i64::try_from(soonest.as_millis()).unwrap_or(i64::MAX).saturating_add(1);
        Some(now.max(clock::now()).plus_millis(ms))
    }

    fn wait(&self) -> Option<Duration> {
        let left = self.not_before?.saturating_duration_since(Instant::now());
        Some(left).filter(|left| !left.is_zero())
    }
}
