//! Counts the tasks that wait for a model.

use qdrant_client::qdrant::{Condition, Filter, Range};

use super::claims::is_due;
use super::fields::{NEEDS_MODEL, PUT_OFF};
use crate::domain::time::Timestamp;
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::values::bound;
use crate::store::{AgentSet, Store, StoreError};

impl Store {
    /// How many tasks wait for a model: the due ones of `away` that need one, and those of `failing` that were put off for the
    /// sake of a model and are tried again by `until`.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn waiting_for_model(
        &self,
        now: Timestamp,
        until: Timestamp,
        away: &AgentSet,
        failing: &AgentSet,
    ) -> Result<u64, StoreError> {
        let by_now = Condition::range("run_at", Range { lte: Some(bound(now)), ..Range::default() });
        let put_off = Condition::range(PUT_OFF, Range { gte: Some(1.0), ..Range::default() });
        let of = |agents: &AgentSet, condition: Condition| match agents {
            AgentSet::All => Some(condition),
            AgentSet::Named(names) if names.is_empty() => None,
            AgentSet::Named(names) => {
                Some(Filter::must([condition, Condition::matches("agent", names.clone())]).into())
            }
        };
        let should: Vec<Condition> = of(away, by_now).into_iter().chain(of(failing, put_off)).collect();
        if should.is_empty() {
            return Ok(0);
        }
        let mut filter = Filter::must(is_due(until));
        filter.must.push(Condition::matches(NEEDS_MODEL, true));
        filter.should = should;
        self.inner.count("waiting_for_model", Collection::Tasks, Some(filter), true).await
    }
}
