//! Keeps what calls taught about the models in the store, so that the next start does not learn it again.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::clock;
use crate::domain::time::Timestamp;
use crate::llm::Models;
use crate::store::Store;

/// Scope of the records among the state of the store. No tool reaches it.
const SCOPE: &str = "qron:models";
/// How long a record holds, in milliseconds: 7 days. A server may be upgraded, so qron asks it anew from time to time.
const KEPT_MS: i64 = 7 * 24 * 3_600 * 1_000;
/// Time after which a record that could not be written is written again.
const RETRY: Duration = Duration::from_mins(1);

/// The records of the models, and what the store has of them.
pub(super) struct ModelRecords {
    models: Models,
    store: Store,
    lessons: watch::Receiver<u64>,
    kept: HashMap<String, Value>,
}

impl ModelRecords {
    /// Gives `models` the records that the store has of them and of `others`. A record that cannot be read is left out with a
    /// warning.
    pub(super) async fn restore<'a>(models: &'a Models, store: &Store, others: impl Iterator<Item = &'a str>) -> Self {
        let lessons = models.lessons();
        let mut kept = HashMap::new();
        for name in models.names().iter().map(String::as_str).chain(others) {
            let key = models.record_key(name);
            if kept.contains_key(&key) {
                continue;
            }
            let record = store.state(SCOPE, &key, clock::now()).await.map_err(|error| error.to_string());
            let restored = record
                .and_then(|record| record.map(|record| models.restore(name, &record).map(|()| record)).transpose());
            match restored {
                Ok(record) => kept.extend(record.map(|record| (key, record))),
                Err(reason) => {
                    tracing::warn!(model = name, %reason, "what an earlier start learnt about the model cannot be read; qron learns it again");
                }
            }
        }
        Self { models: models.clone(), store: store.clone(), lessons, kept }
    }

    /// Writes each record that changes, until the handle is dropped.
    pub(super) fn keep(mut self) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(async move {
            while self.lessons.changed().await.is_ok() {
                while !self.write().await {
                    tokio::time::sleep(RETRY).await;
                }
            }
        }))
    }

    /// Writes the records that the store has not; returns whether all are written.
    async fn write(&mut self) -> bool {
        let expires_at = Timestamp::from_millis(clock::now().as_millis().saturating_add(KEPT_MS));
        for (key, record) in self.models.records() {
            if self.kept.get(&key) == Some(&record) {
                continue;
            }
            if let Err(error) = self.store.set_state(SCOPE, &key, &record, Some(expires_at)).await {
                tracing::warn!(%error, "what was learnt about a model cannot be written; qron tries again in a minute");
                return false;
            }
            self.kept.insert(key, record);
        }
        true
    }
}
