//! Connecting: the client, the check of the server's version, the collections, and the group commit's writer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use qdrant_client::Qdrant;
use secrecy::ExposeSecret;
use tokio::sync::mpsc;

use super::completeness::Completeness;
use super::requests::Inner;
use super::rest_port;
use super::vectors::Dense;
use crate::domain::url;
use crate::store::records::artifacts::Files;
use crate::store::records::bm25::Words;
use crate::store::tasks::queues::Queues;
use crate::store::tasks::writer;
use crate::store::{ArtifactSettings, LocalState, Settings, Store, StoreError};

/// Older servers do not know insert-only upserts, and would silently replace existing tasks.
const OLDEST: (u64, u64) = (1, 17);
/// Servers from here on are what qron is tested with.
const TESTED: (u64, u64) = (1, 19);
/// What the embedded server calls itself.
const EMBEDDED: &str = "qdrant-edge";
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl Store {
    /// Connects, checks the server's version, creates missing collections and indexes and checks the schema version.
    /// `settings.url` must be set, also for the embedded server. Needs a tokio runtime.
    ///
    /// `vector_size` is the length of the embeddings kept with memories; `None` without an embeddings endpoint.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], or [`StoreError::Incompatible`] for a server below 1.17 or a newer schema.
    pub async fn connect(
        settings: &Settings,
        artifacts: &ArtifactSettings,
        vector_size: Option<u64>,
    ) -> Result<Self, StoreError> {
        let words = Words::new()?;
        let mut inner = Inner {
            client: client(settings)?,
            url: url::redacted(&settings.url),
            prefix: settings.prefix.clone(),
            identity: String::new(),
            zone: settings.zone,
            copies: settings.replication_factor.max(1),
        };
        if let Err(error) = inner.check_version().await {
            return Err(rest_port::explain(&settings.url, error).await);
        }
        let dense = vector_size.map(Dense::of_size);
        let has_dense = inner.prepare(dense.as_ref()).await?;
        inner.identity = inner.identify().await?;
        let inner = Arc::new(inner);
        let local = Arc::new(LocalState {
            files: Files::new(artifacts.clone()),
            words,
            dense: dense.filter(|_| has_dense),
            admission_scan: Mutex::new(None),
            overlooked_scan: Mutex::new(None),
            completeness: Completeness::new(),
            insertable: Completeness::new(),
            queues: Queues::default(),
        });
        let (sender, queue) = mpsc::channel(writer::QUEUE);
        tokio::spawn(writer::run(Arc::clone(&inner), queue));
        Ok(Self { inner, local, writer: sender })
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.inner.call("ping", self.inner.client.health_check()).await?;
        Ok(())
    }
}

fn client(settings: &Settings) -> Result<Qdrant, StoreError> {
    let timeout = Duration::from_millis(settings.timeout_ms.max(1));
    let mut builder = Qdrant::from_url(&settings.url)
        // The client's own check prints to standard output and blocks; ours follows right after.
        .skip_compatibility_check()
        .timeout(timeout)
        .connect_timeout(timeout.min(CONNECT_TIMEOUT))
        .keep_alive_while_idle();
    let api_key = settings.api_key.expose_secret().trim();
    if !api_key.is_empty() {
        builder = builder.api_key(api_key);
    }
    builder.build().map_err(|error| StoreError::Refused {
        operation: "connect",
        reason: format!("{:?} is no url of a Qdrant gRPC port: {error}", url::redacted(&settings.url)),
    })
}

impl Inner {
    async fn check_version(&self) -> Result<(), StoreError> {
        let reply = self.call("connect", self.client.health_check()).await?;
        match verdict(&reply.version) {
            Verdict::Fine => Ok(()),
            // qron is tested with the one it brings along, whichever release that follows.
            Verdict::Old if reply.title.contains(EMBEDDED) => Ok(()),
            Verdict::Old => {
                tracing::warn!(
                    version = reply.version,
                    url = self.url,
                    "this Qdrant is older than {}.{}, which qron is tested with",
                    TESTED.0,
                    TESTED.1
                );
                Ok(())
            }
            Verdict::TooOld => Err(StoreError::Incompatible(format!(
                "the Qdrant at {} has version {}: qron needs {}.{} or newer",
                self.url, reply.version, OLDEST.0, OLDEST.1
            ))),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    Old,
    TooOld,
}

/// What to think of a server's version. One that does not read as `major.minor` is refused: nothing is known of it.
fn verdict(version: &str) -> Verdict {
    let mut numbers = version.trim_start_matches('v').split(['.', '-', '+']).map(|part| part.parse::<u64>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) >= TESTED => Verdict::Fine,
        (Some(major), Some(minor)) if (major, minor) >= OLDEST => Verdict::Old,
        _ => Verdict::TooOld,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_judged_by_their_version() {
        for (version, expected) in [
            ("1.16.9", Verdict::TooOld),
            ("1.17.0", Verdict::Old),
            ("1.18.3", Verdict::Old),
            ("v1.19.0-dev", Verdict::Fine),
            ("1.20.1", Verdict::Fine),
            ("2.0.0", Verdict::Fine),
            ("", Verdict::TooOld),
            ("latest", Verdict::TooOld),
        ] {
            assert_eq!(verdict(version), expected, "{version}");
        }
    }
}
