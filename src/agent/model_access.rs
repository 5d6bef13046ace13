//! Whether the models of an agent are usable, for routing and for postponed tasks.

use tokio::sync::watch;

use super::Agent;
use crate::domain::agent::AgentProfile;
use crate::domain::outage::{Access, Outage};

impl Agent {
    /// Whether `profile` can call a model now.
    #[must_use]
    pub fn access(&self, profile: &AgentProfile) -> Access {
        self.models.as_ref().map_or(Access::Absent, |models| models.access(profile.model.as_deref()))
    }

    /// The outage of the first of its models that has one.
    #[must_use]
    pub fn outage(&self, profile: &AgentProfile) -> Option<Outage> {
        self.models.as_ref()?.outage(profile.model.as_deref())
    }

    /// Whether each of its models has failed since it answered last; `false` where no model is configured.
    #[must_use]
    pub fn all_fail(&self, profile: &AgentProfile) -> bool {
        self.models.as_ref().is_some_and(|models| models.all_fail(profile.model.as_deref()))
    }

    /// How long a task waits for a model in an outage, in seconds; `None` for ever, where no model is configured,
    /// because another replica may have one.
    #[must_use]
    pub fn patience_s(&self) -> Option<u64> {
        self.models.as_ref().map(crate::llm::Models::patience_s)
    }

    /// A counter that changes when a model may have become usable or unusable; `None` where no model is configured.
    #[must_use]
    pub fn model_changes(&self) -> Option<watch::Receiver<u64>> {
        self.models.as_ref().map(crate::llm::Models::changes)
    }
}
