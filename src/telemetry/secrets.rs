//! The secrets of this process, which logs, stored data, prompts, answers of the API and errors must not hold.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use super::large::beside_other_work;
use crate::domain::redaction::{Redactor, Secret};

#[derive(Default)]
struct Known {
    secrets: Vec<Secret>,
    /// Of all of them: for logs, errors and whatever else people read.
    of_all: Arc<Redactor>,
    /// Of those that ordinary text does not hold: for data.
    of_unmistakable: Arc<Redactor>,
}

static KNOWN: LazyLock<RwLock<Known>> = LazyLock::new(RwLock::default);

/// Adds `secrets` to those that are known. None is ever forgotten.
pub fn know(secrets: impl IntoIterator<Item = Secret>) {
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    let before = known.secrets.len();
    for secret in secrets {
        if !known.secrets.contains(&secret) {
            known.secrets.push(secret);
        }
    }
    if known.secrets.len() == before {
        return;
    }
    let unmistakable: Vec<Secret> = known.secrets.iter().filter(|secret| secret.is_unmistakable()).cloned().collect();
    match (Redactor::new(&known.secrets), Redactor::new(&unmistakable)) {
        (Ok(of_all), Ok(of_unmistakable)) => {
            (known.of_all, known.of_unmistakable) = (Arc::new(of_all), Arc::new(of_unmistakable));
        }
        (Err(error), _) | (_, Err(error)) => {
            known.secrets.truncate(before);
            drop(known);
            tracing::error!(%error, "new secrets of the configuration are not taken out of logs: they are too many");
        }
    }
}

/// What takes the known secrets out of data: tasks, prompts, outputs of tools, answers of the API. It leaves those alone that
/// are words of ordinary text.
#[must_use]
pub fn redactor() -> Arc<Redactor> {
    Arc::clone(&KNOWN.read().unwrap_or_else(PoisonError::into_inner).of_unmistakable)
}

/// What takes the known secrets out of lines of the log and errors.
#[must_use]
pub fn log_redactor() -> Arc<Redactor> {
    Arc::clone(&KNOWN.read().unwrap_or_else(PoisonError::into_inner).of_all)
}

/// `text`, a line of the log or an error, without the known secrets.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    match log_redactor().redact(text) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(redacted) => Cow::Owned(redacted),
    }
}

/// `bytes`, data, without the known secrets. Other tasks of the thread go on meanwhile when they are many.
#[must_use]
pub fn redact_bytes(bytes: &[u8]) -> Cow<'_, [u8]> {
    let redactor = redactor();
    beside_other_work(bytes.len(), || redactor.redact_bytes(bytes))
}

/// `json`, data, without the known secrets in its strings. Other tasks of the thread go on meanwhile when it is long.
#[must_use]
pub fn redact_json(json: &[u8]) -> Cow<'_, [u8]> {
    let redactor = redactor();
    beside_other_work(json.len(), || redactor.redact_json(json))
}
