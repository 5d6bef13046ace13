//! What calls taught about the models, as records that outlive the process. The caller keeps them; nothing in them is secret.

use async_openai::config::Config as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use super::Models;
use super::wire::Dialect;

/// Version of the record. It is part of the key, so that no version reads a record of another.
const VERSION: u32 = 2;

/// What calls taught about a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LearntRecord {
    pub(super) dialect: Dialect,
    pub(super) output_limit: u32,
}

impl Models {
    /// The models of the configuration, the preferred one first.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.core.settings.models
    }

    /// The key of the record of `model`: endpoint, model and version of the record.
    #[must_use]
    pub fn record_key(&self, model: &str) -> String {
        format!("{} {model} v{VERSION}", self.core.client.config().api_base())
    }

    /// Takes over what an earlier process learnt about `model`. The settings win where they leave no choice.
    ///
    /// # Errors
    /// Why the record cannot be read. Nothing changes then.
    pub fn restore(&self, model: &str, record: &Value) -> Result<(), String> {
        let record = LearntRecord::deserialize(record).map_err(|error| error.to_string())?;
        self.core.model(model).restore(record);
        tracing::info!(model, dialect = ?record.dialect, "the model is called as an earlier start learnt");
        Ok(())
    }

    /// The records of all models about which a call or a record taught something, each with its key.
    ///
    /// A dialect that is only a guess is no part of a record.
    #[must_use]
    pub fn records(&self) -> Vec<(String, Value)> {
        let records = self.core.all().into_iter().filter_map(|model| {
            let record = serde_json::to_value(model.record()?).ok()?;
            Some((self.record_key(&model.name), record))
        });
        records.collect()
    }

    /// A counter that changes when a record may have changed.
    #[must_use]
    pub fn lessons(&self) -> watch::Receiver<u64> {
        self.core.lessons.subscribe()
    }
}
