//! How the models of an agent are: for whoever gives it tasks, and for tasks that wait.

use tokio::sync::watch;

use super::Agent;
use crate::domain::agent::AgentProfile;
use crate::domain::outage::{Access, Outage};

impl Agent {
    /// Whether `profile` can ask a model now.
    #[must_use]
    pub fn access(&self, profile: &AgentProfile) -> Access {
        self.models.as_ref().map_or(Access::Absent, |models| models.access(profile.model.as_deref()))
    }

    /// The outage of the first of its models that has one.
    #[must_use]
    pub fn outage(&self, profile: &AgentProfile) -> Option<Outage> {
        self.models.as_ref()?.outage(profile.model.as_deref())
    }

    /// How long a task waits for a model that is away, in seconds; without end where no model is configured, because
    /// another replica may have one.
    #[must_use]
    pub fn patience_s(&self) -> Option<u64> {
        self.models.as_ref().map(crate::llm::Models::patience_s)
    }

    /// Tells when a model may have gone or come back; `None` where no model is configured.
    #[must_use]
    pub fn model_changes(&self) -> Option<watch::Receiver<u64>> {
        self.models.as_ref().map(crate::llm::Models::changes)
    }
}
