//! The secrets of this process, which logs, stored data, prompts, answers of the API and errors must not hold.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use crate::domain::redaction::{Redactor, Secret};

#[derive(Default)]
struct Known {
    secrets: Vec<Secret>,
    redactor: Arc<Redactor>,
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
    match Redactor::new(&known.secrets) {
        Ok(redactor) => known.redactor = Arc::new(redactor),
        Err(error) => {
            known.secrets.truncate(before);
            drop(known);
            tracing::error!(%error, "new secrets of the configuration are not taken out of logs: they are too many");
        }
    }
}

/// What takes the known secrets out of text.
#[must_use]
pub fn redactor() -> Arc<Redactor> {
    Arc::clone(&KNOWN.read().unwrap_or_else(PoisonError::into_inner).redactor)
}

/// `text` without the known secrets.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    redactor().redact(text)
}
