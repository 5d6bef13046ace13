//! What the whole fleet runs and starts, for limits that hold across replicas.

use std::collections::HashMap;

use qdrant_client::Payload;
use qdrant_client::qdrant::{
    Condition, FacetCountsBuilder, Filter, NamedVectors, PointStruct, UpdateMode, facet_value,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::domain::id::derived;
use crate::domain::limit::{RateAccount, RateGrant};
use crate::domain::number;
use crate::domain::task::TaskStatus;
use crate::domain::time::Timestamp;
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::Part;
use crate::store::qdrant::values::{exactly, from_payload, to_payload};
use crate::store::tasks::fields::RUNS_AS;
use crate::store::tasks::writer::set_payload;
use crate::store::{Store, StoreError};

/// How often an account is tried that others change at the same moment.
const TRIES: u32 = 32;

impl Store {
    /// How many tasks of each of these concurrency keys run, in all replicas, exactly.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn running_by_key(&self, keys: &[String]) -> Result<HashMap<String, u32>, StoreError> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let filter = Filter::must([running(), Condition::matches("concurrency_key", keys.to_vec())]);
        let mut request = FacetCountsBuilder::new(self.inner.name(Collection::Tasks), "concurrency_key")
            .filter(filter)
            .exact(true)
            .limit(keys.len() as u64)
            .build();
        request.read_consistency = self.inner.consistency();
        let answer = self.inner.call("running_by_key", self.inner.client.facet(request)).await?;
        let mut counts = HashMap::new();
        for hit in answer.hits {
            if let Some(facet_value::Variant::StringValue(key)) = hit.value.and_then(|value| value.variant) {
                counts.insert(key, u32::try_from(hit.count).unwrap_or(u32::MAX));
            }
        }
        Ok(counts)
    }

    /// How many tasks run as `agent`, in all replicas, exactly; those claimed by [`Store::claim_as`].
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn running_as(&self, agent: &str) -> Result<u32, StoreError> {
        let filter = Filter::must([running(), exactly(RUNS_AS, agent.to_owned())]);
        let count = self.inner.count("running_as", Collection::Tasks, Some(filter), true).await?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Takes up to `wanted` of `starts` in each `per_s` seconds from the account called `name`, which all replicas share.
    /// What is given back has been taken, once, whatever else happens; when the process dies, it is lost.
    ///
    /// # Errors
    /// A failure of the store, after which some may have been taken in vain.
    pub async fn take_starts(
        &self,
        name: &str,
        wanted: u32,
        (starts, per_s): (u32, u32),
        now: Timestamp,
    ) -> Result<RateGrant, StoreError> {
        let id = derived(&["starts", name]);
        for _ in 0..TRIES {
            let found = self.inner.get("starts", Collection::Keys, vec![id.into()], Part::All).await?.pop();
            let before = found.map(|point| from_payload(point.payload));
            let account = before.as_ref().and_then(|before| account_of(before.get("account")?)).unwrap_or_default();
            let allowed = RateAccount(account).take(wanted, starts, per_s, now);
            if allowed.starts == 0 {
                return Ok(allowed);
            }
            let version = Uuid::new_v4().simple().to_string();
            let after = json!({"account": allowed.account.0, "version": version, "starts_of": name});
            let after = if let Value::Object(after) = after { after } else { Map::new() };
            match before.as_ref().and_then(|before| before.get("version")?.as_str()) {
                None => {
                    let point = PointStruct::new(id, NamedVectors::default(), Payload::from(to_payload(after)));
                    self.inner.upsert("take_starts", Collection::Keys, vec![point], UpdateMode::InsertOnly).await?;
                }
                Some(read) => {
                    let unchanged =
                        Filter::must([Condition::has_id([id]), Condition::matches("version", read.to_owned())]);
                    let operations = vec![set_payload(after, unchanged)];
                    self.inner.update_batch("take_starts", Collection::Keys, operations).await?;
                }
            }
            let after =
                self.inner.get("starts", Collection::Keys, vec![id.into()], Part::Only(&["version"])).await?.pop();
            // Should another have taken starts right after, this looks like a loss: then these are lost, not doubled.
            let is_mine = after
                .and_then(|point| from_payload(point.payload).get("version").cloned())
                .is_some_and(|found| found == version.as_str());
            if is_mine {
                return Ok(allowed);
            }
        }
        let reason = format!("too many replicas start tasks of {name} at this moment");
        Err(StoreError::Unavailable { url: self.inner.url.clone(), reason })
    }
}

/// The account as it was written, or by a program that knows floats alone.
fn account_of(value: &Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "a float beyond the range becomes its end")]
    value.as_i64().or_else(|| number::number_of(value).map(|account| account as i64))
}

fn running() -> Condition {
    Condition::matches("status", TaskStatus::Running.as_str().to_owned())
}
