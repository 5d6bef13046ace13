//! The two kinds of failure: the server cannot start or stop ([`ServerError`]), or one request fails ([`Fault`]).
//!
//! Knows how a fault is told to a gRPC client; must not know where it came from.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use qdrant_edge::OperationError;
use tonic::{Code, Status};

/// Why the embedded server cannot start, or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another process (or another server in this one) holds the data folder.
    #[error("data folder {} is in use by another process: stop it, or set another folder", .0.display())]
    Locked(PathBuf),
    /// The path exists and is no folder.
    #[error("data folder {} is not a folder: remove the file, or set another folder", .0.display())]
    NotAFolder(PathBuf),
    /// The folder holds something that this server did not write.
    #[error("data folder {} holds {found:?}, which is not data of this server: set an empty folder", folder.display())]
    Foreign {
        /// The configured folder.
        folder: PathBuf,
        /// The first entry that is not ours.
        found: String,
    },
    /// The data was written by a newer version.
    #[error("data folder {} has format {found}, this version reads up to {supported}: upgrade", folder.display())]
    Newer {
        /// The configured folder.
        folder: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format understood.
        supported: u32,
    },
    /// The folder cannot be read or written.
    #[error("cannot use {}: {source}; check its permissions and free space, or set another folder", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A collection is damaged, or the engine refuses it.
    #[error("cannot load collection {name:?} from {}: {reason}; restore the folder from a backup or remove it", folder.display())]
    Collection {
        /// The collection.
        name: String,
        /// Its folder.
        folder: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Nothing can listen on the address.
    #[error("cannot listen on {address}: {source}; set another address")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Other hosts could reach an unprotected store.
    #[error("address {0} is reachable by other hosts: set an API key, or listen on 127.0.0.1")]
    Unprotected(SocketAddr),
    /// The API key cannot be sent as a header.
    #[error("the API key has characters that no header can carry: use letters, digits and signs, no spaces")]
    ApiKey,
    /// The server stopped with an error.
    #[error("the server on {address} failed: {reason}")]
    Server {
        /// Where it listened.
        address: SocketAddr,
        /// What went wrong.
        reason: String,
    },
    /// Not everything could be written at the end.
    #[error("collection {name:?} could not be written at shutdown: {reason}")]
    Flush {
        /// The collection.
        name: String,
        /// What went wrong.
        reason: String,
    },
}

/// Why one request fails. Cheap to clone, because one failure fails every write that waits for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("Wrong input: {0}")]
    BadInput(String),
    #[error("Not found: {0}")]
    NotFound(String),
    #[error("Wrong input: {0}")]
    AlreadyExists(String),
    #[error("{0} is not supported by the embedded server: use a Qdrant server")]
    Unsupported(String),
    #[error("{0}")]
    Exhausted(String),
    #[error("the embedded server is shutting down")]
    Stopping,
    #[error("Service internal error: {0}")]
    Internal(String),
}

impl Fault {
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::BadInput(message.into())
    }

    pub(crate) fn no_collection(name: &str) -> Self {
        Self::NotFound(format!("Collection `{name}` doesn't exist!"))
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let code = match fault {
            Fault::BadInput(_) => Code::InvalidArgument,
            Fault::NotFound(_) => Code::NotFound,
            Fault::AlreadyExists(_) => Code::AlreadyExists,
            Fault::Unsupported(_) => Code::Unimplemented,
            Fault::Exhausted(_) => Code::ResourceExhausted,
            Fault::Stopping => Code::Unavailable,
            Fault::Internal(_) => Code::Internal,
        };
        Self::new(code, fault.to_string())
    }
}

impl From<OperationError> for Fault {
    fn from(error: OperationError) -> Self {
        match error {
            OperationError::PointIdError { .. } => Self::NotFound(error.to_string()),
            OperationError::ServiceError { description, .. } => Self::Internal(description),
            OperationError::InconsistentStorage { .. }
            | OperationError::OutOfMemory { .. }
            | OperationError::Cancelled { .. }
            | OperationError::Timeout { .. } => Self::Internal(error.to_string()),
            _ => Self::BadInput(error.to_string()),
        }
    }
}
