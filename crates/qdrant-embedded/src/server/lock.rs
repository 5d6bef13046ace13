//! One process per data folder: an advisory lock that the system releases when the process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use super::error::ServerError;

/// Name of the lock file inside the data folder.
pub(crate) const FILE: &str = "lock";

/// Held as long as the server runs.
#[derive(Debug)]
pub(crate) struct FolderLock {
    /// Closing the file releases the lock.
    _file: File,
}

impl FolderLock {
    /// Takes the lock of `folder`, which must exist.
    ///
    /// # Errors
    /// [`ServerError::Locked`] when another process holds it, [`ServerError::Io`] when the file cannot be opened.
    pub(crate) fn take(folder: &Path) -> Result<Self, ServerError> {
        let path = folder.join(FILE);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|source| ServerError::Io { path: path.clone(), source })?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(ServerError::Locked(folder.to_owned())),
            Err(TryLockError::Error(source)) => Err(ServerError::Io { path, source }),
        }
    }
}
