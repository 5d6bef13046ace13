//! Which agents the fleet has.

use std::collections::BTreeSet;

use super::Queue;
use crate::domain::agent::AgentProfile;
use crate::store::StoreError;

/// Names of the agents of all replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownAgents(BTreeSet<String>);

/// No replica has an agent of this name: what names it would wait for ever, unnoticed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown agent {name:?}; known are {}", known.join(", "))]
pub struct UnknownAgent {
    /// The name.
    pub name: String,
    /// The names that there are, sorted.
    pub known: Vec<String>,
}

impl KnownAgents {
    /// Checks that a replica has an agent called `name`.
    ///
    /// # Errors
    /// [`UnknownAgent`] when none has.
    pub fn check(&self, name: &str) -> Result<(), UnknownAgent> {
        if self.0.contains(name) {
            return Ok(());
        }
        Err(UnknownAgent { name: name.to_owned(), known: self.0.iter().cloned().collect() })
    }
}

impl<S: Into<String>> FromIterator<S> for KnownAgents {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }
}

impl Queue {
    /// The agents of all replicas, and those of this one, `here`, although its heartbeat may not tell of them yet.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn known_agents(&self, here: &[AgentProfile]) -> Result<KnownAgents, StoreError> {
        let replicas = self.store().replicas().await?;
        let elsewhere = replicas.into_iter().flat_map(|replica| replica.agents).map(|agent| agent.name);
        Ok(here.iter().map(|profile| profile.name.clone()).chain(elsewhere).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_agent_is_refused_with_the_names_that_there_are() {
        let known: KnownAgents = ["writer", "analyst", "writer"].into_iter().collect();
        assert_eq!(known.check("writer"), Ok(()));
        let error = known.check("wirter").expect_err("no such agent");
        assert_eq!(error.to_string(), r#"unknown agent "wirter"; known are analyst, writer"#);
    }
}
