//! Waiting until what a start has created can be seen.
//!
//! The nodes of a cluster agree on collections, indexes and metadata one after the other. A node may refuse to create what
//! another has just created, in several wordings, and not show it yet. What counts is whether it is there in the end.

use std::time::Duration;

use qdrant_client::qdrant::CollectionInfo;
use tokio::time::Instant;

use super::collections::Collection;
use super::requests::Inner;
use crate::store::StoreError;

/// Longest wait for the nodes of a cluster to agree.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks; doubles up to the longest.
pub(super) const FIRST_LOOK: Duration = Duration::from_millis(20);
pub(super) const LONGEST_LOOK: Duration = Duration::from_millis(500);
/// How often something is created that is refused for what may pass.
pub(in crate::store) const TRIES: u32 = 8;

/// What a look at a collection shows.
pub(super) enum Seen<T> {
    /// What was waited for.
    Yes(T),
    /// What is missing yet.
    NotYet(String),
}

impl StoreError {
    /// Whether the server refused to create what is there already, or what another node is creating. Servers and clusters
    /// say so with different codes, so that the words decide.
    pub(super) fn says_exists(&self) -> bool {
        let said = self.to_string().to_lowercase();
        ["already exist", "alreadyexists", "data already exists"].iter().any(|words| said.contains(words))
    }

    /// Whether the server does not know the collection, yet.
    fn says_missing(&self) -> bool {
        let said = self.to_string().to_lowercase();
        ["doesn't exist", "does not exist", "not found"].iter().any(|words| said.contains(words))
    }

    /// Whether what was refused may be there in a moment.
    pub(super) fn may_settle(&self) -> bool {
        self.is_transient() || self.says_exists() || self.says_missing()
    }
}

impl Inner {
    /// Looks at `collection` until `look` sees what it waits for. A failed look is repeated when it may pass.
    ///
    /// # Errors
    /// A failure that does not pass, or [`StoreError::Unavailable`] with what is missing once patience is at its end.
    pub(super) async fn until_seen<T>(
        &self,
        collection: Collection,
        mut look: impl FnMut(&CollectionInfo) -> Seen<T> + Send,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = FIRST_LOOK;
        loop {
            let missing = match self.info(collection).await {
                Ok(info) => match look(&info) {
                    Seen::Yes(seen) => return Ok(seen),
                    Seen::NotYet(missing) => missing,
                },
                Err(error) if error.may_settle() => error.to_string(),
                Err(error) => return Err(error),
            };
            if Instant::now() + pause >= deadline {
                let name = self.name(collection);
                let reason = format!(
                    "its nodes do not agree on collection {name} within {} s: {missing}; are all of them up?",
                    PATIENCE.as_secs()
                );
                return Err(StoreError::Unavailable { url: self.url.clone(), reason });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_LOOK);
        }
    }

    /// Waits until `collection` is there.
    ///
    /// # Errors
    /// As for [`Inner::until_seen`].
    pub(super) async fn until_there(&self, collection: Collection) -> Result<CollectionInfo, StoreError> {
        self.until_seen(collection, |info| Seen::Yes(info.clone())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wording_of_already_there_is_known() {
        for (reason, exists) in [
            ("Wrong input: Collection `qron_tasks` already exists!", true),
            ("Collection `qron_tasks` already exists!", true),
            ("Can't create collection with name x. Collection data already exists at ./storage/collections/x", true),
            ("Service internal error: AlreadyExists { description: \"…\" }", true),
            ("Wrong input: shard_number cannot be 0", false),
            ("disk full", false),
        ] {
            let refused = StoreError::Refused { operation: "create_collection", reason: reason.to_owned() };
            let away = StoreError::Unavailable { url: "http://q:6334".into(), reason: reason.to_owned() };
            assert_eq!((refused.says_exists(), away.says_exists()), (exists, exists), "{reason}");
            assert_eq!((refused.may_settle(), away.may_settle()), (exists, true), "{reason}");
        }
        let missing =
            StoreError::Refused { operation: "info", reason: "Not found: Collection `x` doesn't exist!".into() };
        assert!(missing.may_settle() && !missing.says_exists());
    }
}
