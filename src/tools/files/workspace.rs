//! The folder of a task, as a directory handle: every path is resolved beneath the handle by the operating system, so
//! that neither `..` nor a symbolic link, not even one swapped in between, leads out of it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{
    Dir, DirBuilder, DirBuilderExt, File, MetadataExt, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt,
};
use chrono::{DateTime, Utc};

use super::first_use::{FirstUse, FirstUses};
use super::opened::{OpenedFolder, OpenedFolders};
use crate::domain::failure::Failure;
use crate::domain::id::TaskId;
use crate::domain::time::Timestamp;
use crate::store::Access;

/// Names that start so are the tools' own: temporary files, and notes of appends.
pub(super) const OWN_PREFIX: &str = ".qron-";
/// The folder of the markers, beside the folders of the tasks: a file for each task, named by its id, and a note of when the
/// task was created.
const MARKERS: &str = ".qron";

/// Folders of the tasks: where they are, which store they belong to, and how large a file may be.
///
/// Several stores may use one workspace, and people may keep folders of their own in it. Each folder that a file tool creates
/// has a marker beside it, out of the tools' reach, that names the store of its task. Only marked folders are ever removed.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
    max_bytes: usize,
    store: Arc<str>,
    first_uses: FirstUses,
    opened: OpenedFolders,
}

/// Where a path of a file tool leads.
#[derive(Debug)]
pub(super) struct Place<'a> {
    /// The folder of the task, or the one that the configuration opens.
    pub(super) folder: Dir,
    /// The path below it, empty for the folder itself.
    pub(super) path: &'a Path,
    /// Name and settings of a folder that the configuration opens; `None` in the folder of the task.
    pub(super) opened: Option<(&'a str, &'a OpenedFolder)>,
}

/// Why a file was not opened.
#[derive(Debug)]
pub(crate) enum FileError {
    /// Policy forbids it: the reason.
    Refused(String),
    /// There is none: its path.
    Missing(String),
    /// It cannot be read or written.
    Failed(Failure),
}

impl Workspace {
    /// Folders below `root` for the tasks of the store whose identity is `store`, with files of at most `max_bytes`.
    /// A file tool creates missing folders when it is called.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, max_bytes: usize, store: impl Into<Arc<str>>) -> Self {
        Self {
            root: root.into(),
            max_bytes,
            store: store.into(),
            first_uses: FirstUses::default(),
            opened: OpenedFolders::default(),
        }
    }

    /// The same with these folders beside those of the tasks: the first name of a path leads into them.
    #[must_use]
    pub fn with_opened(mut self, folders: &BTreeMap<String, OpenedFolder>) -> Self {
        self.opened = OpenedFolders::new(folders);
        self
    }

    /// The folders that the configuration opens.
    pub(super) const fn opened(&self) -> &OpenedFolders {
        &self.opened
    }

    /// Where `path` of `task` leads.
    pub(super) fn locate<'a>(&'a self, task: TaskId, path: &'a Path) -> Result<Place<'a>, FileError> {
        match self.opened.split(path) {
            Some((name, opened, path)) => {
                let folder = Dir::open_ambient_dir(&opened.path, ambient_authority()).map_err(|error| {
                    let key = format!("tools.files.folders.{name}.path");
                    FileError::Failed(Failure::permanent(format!("the folder {name:?} ({key}): {error}")))
                })?;
                Ok(Place { folder, path, opened: Some((name, opened)) })
            }
            None => Ok(Place { folder: self.open(task)?, path, opened: None }),
        }
    }

    /// Largest file, in bytes.
    pub(in crate::tools) const fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Makes the next call that opens the folder of `task` remove one that is older than `created`, the time at which the task
    /// was created: another task of the same id left it. Drop what it gives back when the run ends.
    pub fn begin(&self, task: TaskId, created: Timestamp) -> FirstUse {
        self.first_uses.expect(task, created)
    }

    /// Opens the folder of `task`, creating it with its marker when it does not exist.
    pub(super) fn open(&self, task: TaskId) -> Result<Dir, FileError> {
        let name = task.to_string();
        let open = || {
            let access = Access::within(&self.root)?;
            self.first_uses.begin(task, |created| self.prepare(task, created, access))?;
            let root = Dir::open_ambient_dir(&self.root, ambient_authority())?;
            match root.open_dir(&name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.create(&root, &name, access),
                Ok(_) if self.is_of_another_store(&root, &name)? => {
                    let folder = self.root.join(&name);
                    Err(io::Error::other(format!(
                        "{} belongs to another store: give each store a tools.workspace of its own, or remove the folder",
                        folder.display()
                    )))
                }
                Ok(folder) => close(&root, &name, access).map(|()| folder),
                failed => failed,
            }
        };
        open().map_err(|error| FileError::Failed(Failure::permanent(format!("the folder of the task: {error}"))))
    }

    /// Whether the folder of `task` has an entry `name`.
    ///
    /// # Errors
    /// When the folder cannot be opened.
    pub(in crate::tools) fn has(&self, task: TaskId, name: &str) -> Result<bool, Failure> {
        let folder = self.open(task).map_err(FileError::into_failure)?;
        folder.try_exists(name).map_err(|error| not_placed(name, &error))
    }

    /// Writes `content` as the file `name` into the folder of `task`, whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(in crate::tools) fn place(&self, task: TaskId, name: &str, content: &[u8]) -> Result<(), Failure> {
        let folder = self.open(task).map_err(FileError::into_failure)?;
        let written = access_of(&folder).and_then(|access| write_whole(&folder, name, content, access));
        written.map_err(|error| not_placed(name, &error))
    }

    /// Creates the folder `name`. Its marker comes first, so that no crash leaves a folder that is never removed.
    fn create(&self, root: &Dir, name: &str, access: Access) -> io::Result<Dir> {
        create_folders(root, Path::new(MARKERS), access)?;
        let markers = root.open_dir(MARKERS)?;
        write_whole(&markers, name, self.store.as_bytes(), access)?;
        // Another step of the task may be faster.
        create_folders(root, Path::new(name), access)?;
        root.open_dir(name)
    }

    /// The identity of the store that the folder `name` belongs to; `None` when it has no marker.
    fn owner(root: &Dir, name: &str) -> io::Result<Option<Vec<u8>>> {
        match root.read(Path::new(MARKERS).join(name)) {
            Ok(store) => Ok(Some(store)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_of_another_store(&self, root: &Dir, name: &str) -> io::Result<bool> {
        Ok(Self::owner(root, name)?.is_some_and(|owner| owner != self.store.as_bytes()))
    }

    fn is_of_this_store(&self, root: &Dir, name: &str) -> io::Result<bool> {
        Ok(Self::owner(root, name)?.is_some_and(|owner| owner == self.store.as_bytes()))
    }

    /// The tasks of this store that have a folder, none when there is no workspace yet.
    ///
    /// # Errors
    /// When the workspace cannot be read.
    pub fn tasks(&self) -> io::Result<Vec<TaskId>> {
        let Some(root) = self.root()? else { return Ok(Vec::new()) };
        let entries = match root.read_dir(MARKERS) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut tasks = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            let task = name.parse::<TaskId>().ok().filter(|task| task.to_string() == name);
            if let Some(task) = task
                && self.is_of_this_store(&root, name)?
            {
                tasks.push(task);
            }
        }
        Ok(tasks)
    }

    /// The workspace as a directory; `None` when there is none yet.
    fn root(&self) -> io::Result<Option<Dir>> {
        match Dir::open_ambient_dir(&self.root, ambient_authority()) {
            Ok(root) => Ok(Some(root)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the folder of `task` with all in it. Leaves a folder alone that has no marker of this store.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn remove(&self, task: TaskId) -> io::Result<()> {
        let name = task.to_string();
        let Some(root) = self.root()? else { return Ok(()) };
        if !self.is_of_this_store(&root, &name)? {
            return Ok(());
        }
        // The marker is removed last: when the folder cannot be removed now, the next pass of the retention finds it
        // again.
        unless_gone(root.remove_dir_all(&name))?;
        unless_gone(root.remove_file(Path::new(MARKERS).join(note_of(&name))))?;
        unless_gone(root.remove_file(Path::new(MARKERS).join(&name)))
    }

    /// Removes the folder of `task` when another task of the same id left it, and notes that the next one is for the task that
    /// was created at `created`. Leaves a folder alone that has no marker of this store.
    fn prepare(&self, task: TaskId, created: Timestamp, access: Access) -> io::Result<()> {
        let name = task.to_string();
        let Some(root) = self.root()? else { return Ok(()) };
        // A person's own folder has no marker.
        let is_of_this_store = self.is_of_this_store(&root, &name)?;
        if !is_of_this_store && root.try_exists(&name)? {
            return Ok(());
        }
        let (note, text) = (note_of(&name), created.as_millis().to_string());
        match root.read_to_string(Path::new(MARKERS).join(&note)) {
            Ok(noted) if noted == text => return Ok(()),
            Ok(_) => self.remove(task)?,
            // Versions before this one wrote no note.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.remove_older(task, created)?,
            Err(error) => return Err(error),
        }
        create_folders(&root, Path::new(MARKERS), access)?;
        write_whole(&root.open_dir(MARKERS)?, &note, text.as_bytes(), access)
    }

    /// Removes the folder of `task` when nothing was written into it since `created`.
    fn remove_older(&self, task: TaskId, created: Timestamp) -> io::Result<()> {
        let modified = match std::fs::metadata(self.root.join(task.to_string())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            metadata => metadata?.modified()?,
        };
        let modified = DateTime::<Utc>::from(modified).timestamp_millis();
        if modified < created.as_millis() { self.remove(task) } else { Ok(()) }
    }

    /// The content of the regular file at `place`.
    pub(super) fn read(&self, place: &Place<'_>) -> Result<Vec<u8>, FileError> {
        let links = if place.opened.is_some() { Links::Any } else { Links::One };
        self.read_below(&place.folder, place.path, links).map_err(|error| place.explain(error))
    }

    /// The content of the regular file `path` below `folder`.
    pub(super) fn read_below(&self, folder: &Dir, path: &Path, links: Links) -> Result<Vec<u8>, FileError> {
        let file = open_regular(folder, path, links)?;
        let mut content = Vec::new();
        let limit = u64::try_from(self.max_bytes).unwrap_or(u64::MAX).saturating_add(1);
        file.take(limit).read_to_end(&mut content).map_err(|error| FileError::from_io(path, &error))?;
        if content.len() > self.max_bytes {
            return Err(FileError::refused(path, &format!("is larger than {} bytes", self.max_bytes)));
        }
        Ok(content)
    }
}

impl Place<'_> {
    /// `error`, with the folder that it is about.
    pub(super) fn explain(&self, error: FileError) -> FileError {
        match (self.opened, error) {
            (Some((name, _)), FileError::Missing(path)) => {
                FileError::Failed(Failure::invalid(format!("there is no file {path:?} in the folder {name:?}")))
            }
            (_, error) => error,
        }
    }
}

/// How many names a file may have that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    /// One: in the folder of a task, the owner of a file with a second name is unknown.
    One,
    /// Any number: a person opened the folder with what is in it.
    Any,
}

/// Access to what is created in `folder`.
pub(super) fn access_of(folder: &Dir) -> io::Result<Access> {
    Ok(Access::of_mode(folder.dir_metadata()?.mode()))
}

/// Creates the folders of `path` that are missing below `root`.
pub(super) fn create_folders(root: &Dir, path: &Path, access: Access) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.mode(access.folder_mode());
    let mut made = PathBuf::new();
    for name in path {
        made.push(name);
        match root.create_dir_with(&made, &builder) {
            // The umask may have taken from the mode.
            Ok(()) => {
                let found = root.metadata(&made)?.mode();
                if let Some(mode) = Access::missing(access.folder_mode(), found) {
                    let outcome = root.set_permissions(&made, Permissions::from_mode(mode));
                    Access::unless_forbidden(&made, outcome)?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Creates the file `name` in `folder`, where there must be none.
pub(super) fn new_file(folder: &Dir, name: &str, access: Access) -> io::Result<File> {
    let mode = access.file_mode();
    let file = folder.open_with(name, OpenOptions::new().write(true).create_new(true).mode(mode))?;
    if let Some(mode) = Access::missing(mode, file.metadata()?.mode()) {
        Access::unless_forbidden(Path::new(name), file.set_permissions(Permissions::from_mode(mode)))?;
    }
    Ok(file)
}

/// Puts `content` in the place of the file `name`, whole.
fn write_whole(folder: &Dir, name: &str, content: &[u8], access: Access) -> io::Result<()> {
    let temporary = format!("{OWN_PREFIX}{}", uuid::Uuid::new_v4().simple());
    new_file(folder, &temporary, access)?.write_all(content)?;
    folder.rename(&temporary, folder, name)
}

/// Name of the note, beside the marker `name`, that says when the task of the folder was created.
fn note_of(name: &str) -> String {
    format!("{name}.created")
}

/// Takes the access from the folder `name` that an earlier version gave to users who have none now.
fn close(root: &Dir, name: &str, access: Access) -> io::Result<()> {
    let mode = root.metadata(name)?.mode() & 0o7777;
    let allowed = mode & (access.folder_mode() | 0o7000);
    if mode == allowed {
        return Ok(());
    }
    match root.set_permissions(name, Permissions::from_mode(allowed)) {
        Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) => {
            tracing::warn!(
                folder = name,
                mode = format!("{mode:04o}"),
                "other users may read the folder of a task: its owner must close it"
            );
            Ok(())
        }
        closed => closed,
    }
}

fn not_placed(name: &str, error: &io::Error) -> Failure {
    Failure::transient(format!("the file {name:?} could not be put into the folder of the task: {error}"))
}

/// The failure for a file that is not there.
pub(super) fn missing(path: &str) -> Failure {
    Failure::invalid(format!(
        "there is no file {path:?} in the folder of the task: give it with the task (qron add --file), or have an earlier step \
         write it"
    ))
}

/// A missing file or folder needs no removal.
fn unless_gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

impl FileError {
    pub(super) fn refused(path: &Path, reason: &str) -> Self {
        Self::Refused(format!("path {:?} {reason}", path.display().to_string()))
    }

    fn into_failure(self) -> Failure {
        match self {
            Self::Refused(reason) => Failure::permanent(reason),
            Self::Missing(path) => missing(&path),
            Self::Failed(failure) => failure,
        }
    }

    pub(super) fn from_io(path: &Path, error: &io::Error) -> Self {
        let path_text = path.display().to_string();
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing(path_text),
            // cap-std answers so when a path leads out of the folder.
            io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => {
                Self::refused(path, "leads out of its folder")
            }
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

/// Opens a regular file, without waiting: a named pipe would block for ever.
fn open_regular(folder: &Dir, path: &Path, links: Links) -> Result<File, FileError> {
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
    if links == Links::One && metadata.nlink() > 1 {
        return Err(FileError::refused(path, "is a hard link"));
    }
    Ok(file)
}
