//! The folder of a task, as a directory handle: every path is resolved beneath the handle by the operating system, so
//! that neither `..` nor a symbolic link, not even one swapped in between, leads out of it.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, MetadataExt, OpenOptions, OpenOptionsExt};
use chrono::{DateTime, Utc};

use crate::domain::failure::Failure;
use crate::domain::id::TaskId;
use crate::domain::time::Timestamp;

/// Longest path, in bytes.
const MAX_PATH: usize = 1024;
/// Longest name of a file or folder, in bytes.
const MAX_NAME: usize = 255;
/// Names that start so are the tools' own: temporary files, and notes of appends.
pub(super) const OWN_PREFIX: &str = ".qron-";

/// Where the folders of the tasks are, and how large a file may be.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
    max_bytes: usize,
}

/// Why a file was not opened.
#[derive(Debug)]
pub(super) enum FileError {
    /// Policy forbids it: the reason.
    Refused(String),
    /// It does not exist, or cannot be read or written.
    Failed(Failure),
}

impl Workspace {
    /// Folders below `root`, files of at most `max_bytes`. Nothing is created before a file tool is called.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, max_bytes: usize) -> Self {
        Self { root: root.into(), max_bytes }
    }

    /// Largest file, in bytes.
    pub(super) const fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Opens the folder of `task`, creating it when it does not exist.
    pub(super) fn open(&self, task: TaskId) -> Result<Dir, FileError> {
        let name = task.to_string();
        let open = || {
            std::fs::create_dir_all(&self.root)?;
            let root = Dir::open_ambient_dir(&self.root, ambient_authority())?;
            match root.create_dir(&name) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            root.open_dir(&name)
        };
        open().map_err(|error| FileError::Failed(Failure::permanent(format!("the folder of the task: {error}"))))
    }

    /// The tasks that have a folder, none when there is no workspace yet.
    ///
    /// # Errors
    /// When the workspace cannot be read.
    pub fn tasks(&self) -> io::Result<Vec<TaskId>> {
        let entries = match std::fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut tasks = Vec::new();
        for entry in entries {
            let entry = entry?;
            // What is not named like a task, or is no folder, is not ours.
            let task = entry.file_name().to_str().and_then(|name| name.parse::<TaskId>().ok());
            if entry.file_type()?.is_dir() {
                tasks.extend(task.filter(|task| entry.file_name() == *task.to_string()));
            }
        }
        Ok(tasks)
    }

    /// Removes the folder of `task` with all in it; does nothing when there is none.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn remove(&self, task: TaskId) -> io::Result<()> {
        let removed = Dir::open_ambient_dir(&self.root, ambient_authority())
            .and_then(|root| root.remove_dir_all(task.to_string()));
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Removes the folder of `task` when nothing was written into it since `created`: it is left from another task of
    /// the same id.
    ///
    /// # Errors
    /// When it cannot be read or removed.
    pub fn remove_older(&self, task: TaskId, created: Timestamp) -> io::Result<()> {
        let modified = match std::fs::metadata(self.root.join(task.to_string())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            metadata => metadata?.modified()?,
        };
        let modified = DateTime::<Utc>::from(modified).timestamp_millis();
        if modified < created.as_millis() { self.remove(task) } else { Ok(()) }
    }

    /// The content of the regular file `path` below `folder`.
    pub(super) fn read(&self, folder: &Dir, path: &Path) -> Result<Vec<u8>, FileError> {
        let file = open_regular(folder, path)?;
        let mut content = Vec::new();
        let limit = u64::try_from(self.max_bytes).unwrap_or(u64::MAX).saturating_add(1);
        file.take(limit).read_to_end(&mut content).map_err(|error| FileError::from_io(path, &error))?;
        if content.len() > self.max_bytes {
            return Err(FileError::refused(path, &format!("is larger than {} bytes", self.max_bytes)));
        }
        Ok(content)
    }
}

impl FileError {
    pub(super) fn refused(path: &Path, reason: &str) -> Self {
        Self::Refused(format!("path {:?} {reason}", path.display().to_string()))
    }

    pub(super) fn from_io(path: &Path, error: &io::Error) -> Self {
        let path_text = path.display().to_string();
        match error.kind() {
            io::ErrorKind::NotFound => Self::Failed(Failure::invalid(format!("there is no file {path_text:?}"))),
            // cap-std answers so when a path leads out of the folder.
            io::ErrorKind::PermissionDenied => Self::refused(path, "leads out of the folder of the task"),
            io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => {
                Self::Failed(Failure::invalid(format!("{path_text:?}: {error}")))
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Failed(Failure::transient(format!("{path_text:?}: {error}")))
            }
            _ => Self::Failed(Failure::permanent(format!("{path_text:?}: {error}"))),
        }
    }
}

/// Opens a regular file that has one name only.
///
/// Without waiting: a named pipe would block for ever. Of a file with a second name nobody can say whose it is.
fn open_regular(folder: &Dir, path: &Path) -> Result<File, FileError> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = folder.open_with(path, &options).map_err(|error| match error.raw_os_error() {
        // Sockets, and devices without a driver.
        Some(libc::ENXIO) => FileError::refused(path, "is no regular file"),
        _ => FileError::from_io(path, &error),
    })?;
    let metadata = file.metadata().map_err(|error| FileError::from_io(path, &error))?;
    if !metadata.is_file() {
        return Err(FileError::refused(path, "is no regular file"));
    }
    if metadata.nlink() > 1 {
        return Err(FileError::refused(path, "is a hard link"));
    }
    Ok(file)
}

/// Checks a path as a model wrote it, before the file system sees it.
///
/// # Errors
/// The reason, naming the path.
pub(super) fn check_path(path: &str) -> Result<&Path, String> {
    let shown = super::super::inputs::excerpt(path, 200);
    let refuse = |reason: &str| Err(format!("path {shown:?} {reason}"));
    if path.is_empty() {
        return refuse("is empty");
    }
    if path.len() > MAX_PATH {
        return refuse(&format!("has {} bytes; at most {MAX_PATH} are allowed", path.len()));
    }
    if path.chars().any(char::is_control) {
        return refuse("holds a control character");
    }
    if path.starts_with('/') || path.contains('\\') {
        return refuse("is absolute or of another system: use names below the folder of the task, separated by /");
    }
    for name in path.split('/') {
        match name {
            "" => return refuse("has an empty name in it"),
            ".." => return refuse("leads out of the folder of the task"),
            _ if name.len() > MAX_NAME => return refuse("has a name of more than 255 bytes"),
            _ if name.starts_with(OWN_PREFIX) => return refuse("is a name that qron keeps for itself"),
            _ => {}
        }
    }
    Ok(Path::new(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_pass() {
        for path in ["report.txt", "./a.csv", "data/2026/ä.json", "...", "a b", "..a/b.."] {
            assert_eq!(check_path(path), Ok(Path::new(path)));
        }
    }

    #[test]
    fn a_path_that_could_lead_out_is_refused_by_name() {
        for path in
            ["", "../x", "a/../../x", "/etc/passwd", "//etc", "a//b", "a/", "a\0b", "C:\\x", ".qron-tmp", "a/.."]
        {
            let reason = check_path(path).expect_err(path);
            assert!(reason.contains(&format!("{path:?}")), "{reason}");
        }
        assert!(check_path(&"n".repeat(4096)).expect_err("too long").contains("4096 bytes"));
        assert!(check_path(&"n".repeat(256)).expect_err("too long").contains("255 bytes"));
    }
}
