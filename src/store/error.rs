//! What can go wrong in the store, and how an answer of the server is told.

use qdrant_client::QdrantError;
use tonic::Code;

use crate::domain::id::TaskId;
use crate::domain::task::IllegalTransition;

/// A failed operation of the store.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The server could not be reached or did not answer in time; trying again may help.
    #[error("the store at {url} does not answer: {reason}")]
    Unavailable {
        /// Where it was expected.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The server refused.
    #[error("the store refused {operation}: {reason}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// What it said.
        reason: String,
    },
    /// A collection that was there at the start is gone.
    #[error(
        "{operation} is impossible: {reason} Another program removed the collection: restore it from a backup, or restart \
         qron, which creates it empty"
    )]
    CollectionMissing {
        /// What was asked.
        operation: &'static str,
        /// What the server said, with the name of the collection.
        reason: String,
    },
    /// A stored point does not read as what it should be.
    #[error("point {id} of {collection} cannot be read: {reason}")]
    Corrupt {
        /// Collection of the point.
        collection: String,
        /// Id of the point.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server or the stored data is of a version this program does not work with.
    #[error("{0}")]
    Incompatible(String),
    /// An artifact is too large, has a bad name, or its file cannot be read or written.
    #[error("artifact {name:?}: {reason}")]
    Artifact {
        /// Name of the artifact.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

impl StoreError {
    /// Whether the same operation may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether the client could not read the answer, which happens with payloads nested deeper than its decoder goes.
    pub(super) fn is_undecodable(&self) -> bool {
        matches!(self, Self::Refused { reason, .. } if is_undecodable(reason))
    }
}

/// Why a task was not moved on.
#[derive(Debug, thiserror::Error)]
pub enum TransitionError {
    /// The task is no longer in that status, or no longer held by that claim. Somebody else has the say now.
    #[error("task {0} was changed by another request or replica at the same time")]
    Lost(TaskId),
    /// The status does not allow the event.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// It would be pending again, and another task has its unique key by now.
    #[error(
        "task {id} cannot be requeued: its unique key {key:?} is held by task {holder}; cancel that one, or wait for its end"
    )]
    KeyTaken {
        /// The task.
        id: TaskId,
        /// Its key.
        key: String,
        /// Who has it.
        holder: TaskId,
    },
    /// The store failed; the outcome is unknown and the same call may be made again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Tells an error of the client in the words of the store.
pub(super) fn explain(operation: &'static str, url: &str, error: &QdrantError) -> StoreError {
    let status = match error {
        QdrantError::ResponseError { status } | QdrantError::ResourceExhaustedError { status, .. } => status,
        other => return StoreError::Refused { operation, reason: other.to_string() },
    };
    let reason = without_debug_text(status.message());
    match status.code() {
        // An answer that cannot be decoded stays so, however often it is asked for.
        Code::Internal if is_undecodable(&reason) => StoreError::Refused { operation, reason },
        // A failed connection is `Internal`, a time limit of the client `Cancelled`, a full disk `Internal`.
        Code::Internal
        | Code::Unavailable
        | Code::Cancelled
        | Code::Unknown
        | Code::Aborted
        | Code::DeadlineExceeded
        | Code::ResourceExhausted => StoreError::Unavailable { url: url.to_owned(), reason },
        Code::NotFound if reason.contains("Collection") => StoreError::CollectionMissing { operation, reason },
        Code::Unauthenticated | Code::PermissionDenied => {
            StoreError::Refused { operation, reason: format!("{reason} (check store.api_key or QDRANT_API_KEY)") }
        }
        _ => StoreError::Refused { operation, reason },
    }
}

/// The message of a failed connection without the inner structs that the client writes: what the system said, after the address.
fn without_debug_text(message: &str) -> String {
    let Some((head, inner)) = message.split_once(": tonic::transport::Error(") else { return message.to_owned() };
    let said = inner.rsplit_once("message: \"").and_then(|(_, said)| said.split('"').next());
    let said = said.or_else(|| {
        // The kinds of error that have no message of the system.
        let known =
            [("dns error", "its name cannot be resolved"), ("InvalidCertificate", "its certificate is not valid")];
        known.iter().find(|(part, _)| inner.contains(part)).map(|(_, said)| *said)
    });
    said.map_or_else(|| head.to_owned(), |said| format!("{head}: {said}"))
}

fn is_undecodable(reason: &str) -> bool {
    reason.contains("failed to decode") || reason.contains("recursion limit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_connection_is_told_in_words() {
        let refused = "Failed to connect to http://127.0.0.1:1/: tonic::transport::Error(Transport, ConnectError(ConnectError(\"tcp \
                       connect error\", 127.0.0.1:1, Os { code: 111, kind: ConnectionRefused, message: \"Connection refused\" })))";
        assert_eq!(without_debug_text(refused), "Failed to connect to http://127.0.0.1:1/: Connection refused");
        assert_eq!(without_debug_text("Collection `x` doesn't exist!"), "Collection `x` doesn't exist!");
        let other = "Failed to connect to http://h:1/: tonic::transport::Error(Transport, ConnectError(H2))";
        assert_eq!(without_debug_text(other), "Failed to connect to http://h:1/");
    }
}
