//! Which models an agent may call, and whether one is usable now.

use tokio::sync::watch;

use super::Models;
use super::model::Model;
use crate::domain::outage::{Access, Outage};

impl Models {
    /// Whether an agent that prefers `model` can call any model now.
    #[must_use]
    pub fn access(&self, model: Option<&str>) -> Access {
        self.models_for(model).map(|model| model.circuit.access()).fold(Access::Absent, Access::or)
    }

    /// The first outage among the models of an agent that prefers `model`.
    #[must_use]
    pub fn outage(&self, model: Option<&str>) -> Option<Outage> {
        self.models_for(model).find_map(|model| model.circuit.outage())
    }

    /// Whether each model of an agent that prefers `model` has failed since it answered last; `false` without a model.
    #[must_use]
    pub fn all_fail(&self, model: Option<&str>) -> bool {
        let mut models = self.models_for(model).peekable();
        models.peek().is_some() && models.all(|model| model.circuit.outage().is_some())
    }

    /// A counter that changes when a model may have become usable or unusable.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.core.changed.subscribe()
    }

    /// How long a task waits for a model in an outage, in seconds.
    #[must_use]
    pub fn patience_s(&self) -> u64 {
        self.core.settings.patience_s
    }

    fn models_for(&self, preferred: Option<&str>) -> impl Iterator<Item = std::sync::Arc<Model>> {
        let preferred = preferred.filter(|name| !name.is_empty());
        let others = self.core.settings.models.iter().map(String::as_str).filter(move |name| Some(*name) != preferred);
        let names: Vec<&str> = preferred.into_iter().chain(others).collect();
        names.into_iter().map(|name| self.core.model(name)).collect::<Vec<_>>().into_iter()
    }
}
