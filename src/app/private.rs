//! The data folder is for the user of this process alone, whatever the umask was when it was created.
//!
//! New files are private because the program sets its umask. Here folders and files of earlier versions are closed. A folder
//! that a person made elsewhere for several replicas (`tools.workspace`, `artifacts.folder`) keeps its mode, and one that a
//! person opened for a group stays open to that group.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::{AppError, file_error};
use crate::config::Config;

/// Access of users other than the owner.
const OTHERS: u32 = 0o077;
/// Access of users who are neither the owner nor in the group.
const OUTSIDE_OF_GROUP: u32 = 0o007;
/// New files belong to the group of the folder.
const SET_GROUP: u32 = 0o2000;
/// What qron keeps in its data folder, and what a fresh file system brings along.
const OWN: [&str; 6] = [STORE, "workspace", "artifacts", "replica", "replica.new", "lost+found"];
/// Folder of the embedded Qdrant, below the data folder.
pub(super) const STORE: &str = "qdrant";

/// Creates the data folder when the embedded Qdrant runs, and closes it and what qron keeps in it to other users. Warns of
/// what cannot be closed.
///
/// # Errors
/// When the folder cannot be created.
pub(super) fn close(config: &Config) -> Result<(), AppError> {
    let folder = &config.embedded.data_dir;
    if config.store.url.is_empty() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(file_error(folder))?;
    }
    if !folder.is_dir() {
        return Ok(());
    }
    let own = [&config.tools.workspace, &config.artifacts.folder];
    let own: Vec<&PathBuf> = own.into_iter().filter(|path| path.parent() == Some(folder)).collect();
    // The group reaches its folder through the data folder.
    if holds_only_own(folder) && !own.iter().any(|path| is_opened_for_group(path)) {
        close_below(folder, 0);
    }
    // Beside the server of `store.url` the folder may be that of another program.
    if config.store.url.is_empty() {
        close_below(&folder.join(STORE), usize::MAX);
    }
    // Folders of tasks, and the markers beside them; what is in those is out of reach then.
    for path in own {
        close_below(path, 1);
    }
    OWN.iter().filter(|name| name.starts_with("replica")).for_each(|name| tighten(&folder.join(name), OTHERS));
    Ok(())
}

/// Whether a person opened `folder` for its group.
fn is_opened_for_group(folder: &Path) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir() && is_mode_for_group(metadata.mode()))
}

/// Whether `mode` opens a folder for its group: new files belong to the group, or the group may write and users outside of
/// it have no access. A wide umask leaves neither.
const fn is_mode_for_group(mode: u32) -> bool {
    mode & SET_GROUP != 0 || mode & 0o027 == 0o020
}

/// Whether nothing but files of qron is in `folder`. Else it may be the home of other programs.
fn holds_only_own(folder: &Path) -> bool {
    let Ok(mut entries) = fs::read_dir(folder) else { return false };
    entries.all(|entry| entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(|name| OWN.contains(&name))))
}

/// Closes `folder` and everything down to `depth` levels below it: to users outside of its group when it is opened for the
/// group, else to all but the owner. Follows no link, and does nothing when `folder` is one.
fn close_below(folder: &Path, depth: usize) {
    if fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_symlink()) {
        return;
    }
    let closed_to = if is_opened_for_group(folder) { OUTSIDE_OF_GROUP } else { OTHERS };
    let mut folders: Vec<(PathBuf, usize)> = vec![(folder.to_owned(), depth)];
    while let Some((folder, depth)) = folders.pop() {
        tighten(&folder, closed_to);
        if depth == 0 {
            continue;
        }
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push((entry.path(), depth - 1)),
                Ok(kind) if kind.is_file() => tighten(&entry.path(), closed_to),
                _ => {}
            }
        }
    }
}

/// Takes the access of the users in `closed_to` from `path`, if it is there and no link.
fn tighten(path: &Path, closed_to: u32) {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return unable(path, None, &error),
    };
    let mode = metadata.permissions().mode();
    if metadata.is_symlink() || mode & closed_to == 0 {
        return;
    }
    if let Err(error) = fs::set_permissions(path, Permissions::from_mode(mode & 0o7777 & !closed_to)) {
        unable(path, Some(&metadata), &error);
    }
}

fn unable(path: &Path, metadata: Option<&Metadata>, error: &io::Error) {
    let mode = metadata.map_or_else(String::new, |metadata| format!("{:04o}", metadata.mode() & 0o7777));
    let owner = metadata.map(std::os::unix::fs::MetadataExt::uid);
    // The root of a volume belongs to the platform that mounts it, and so do its users.
    if metadata.is_some_and(|metadata| metadata.is_dir() && metadata.uid() != geteuid().as_raw()) {
        tracing::info!(path = %path.display(), mode, owner, "the owner of the folder decides which users may look into it");
        return;
    }
    tracing::warn!(
        path = %path.display(),
        mode,
        owner,
        %error,
        "other users of this machine may read data of qron: have the owner close it with chmod go-rwx"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("a file").mode() & 0o7777
    }

    fn made(path: &Path, mode: u32) {
        if path.extension().is_some() {
            fs::write(path, "x").expect("written");
        } else {
            fs::create_dir_all(path).expect("made");
        }
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("set");
    }

    #[test]
    fn everything_down_to_the_depth_is_closed_and_no_link_is_followed() {
        let root = tempfile::tempdir().expect("a folder");
        let (own, other) = (root.path().join("own"), root.path().join("other"));
        made(&other, 0o755);
        for (path, before) in [("", 0o777), ("a", 0o2775), ("a/x.txt", 0o666), ("a/b", 0o755), ("a/b/y.txt", 0o644)] {
            made(&own.join(path), before);
        }
        std::os::unix::fs::symlink(&other, own.join("link")).expect("a link");
        close_below(&own, 1);
        assert_eq!([mode(&own), mode(&own.join("a")), mode(&own.join("a/x.txt"))], [0o700, 0o2700, 0o666]);
        assert_eq!(mode(&own.join("a/b")), 0o755, "out of reach, because the folder above is closed");
        close_below(&own, usize::MAX);
        assert_eq!(
            [mode(&own.join("a/x.txt")), mode(&own.join("a/b")), mode(&own.join("a/b/y.txt"))],
            [0o600, 0o700, 0o600]
        );
        assert_eq!(mode(&other), 0o755);
        close_below(&root.path().join("absent"), 1);
    }

    #[test]
    fn a_folder_opened_for_a_group_stays_open_to_it() {
        for (before, after) in [
            (0o2770, 0o2770),
            (0o2750, 0o2750),
            (0o2775, 0o2770),
            (0o770, 0o770),
            (0o730, 0o730),
            (0o775, 0o700),
            (0o777, 0o700),
            (0o755, 0o700),
            (0o750, 0o700),
        ] {
            let root = tempfile::tempdir().expect("a folder");
            let (own, task) = (root.path().join("own"), root.path().join("own/task"));
            made(&task, before);
            made(&own, before);
            close_below(&own, 1);
            assert_eq!([mode(&own), mode(&task)], [after; 2], "{before:o}");
        }
    }

    #[test]
    fn a_link_in_the_place_of_the_folder_is_not_followed() {
        let root = tempfile::tempdir().expect("a folder");
        let (other, link) = (root.path().join("other"), root.path().join("link"));
        made(&other.join("a"), 0o755);
        made(&other.join("x.txt"), 0o644);
        made(&other, 0o755);
        std::os::unix::fs::symlink(&other, &link).expect("a link");
        close_below(&link, usize::MAX);
        assert_eq!([mode(&other), mode(&other.join("a")), mode(&other.join("x.txt"))], [0o755, 0o755, 0o644]);
    }

    #[test]
    fn a_folder_with_files_of_others_is_left_as_it_is() {
        let root = tempfile::tempdir().expect("a folder");
        made(&root.path().join("qdrant"), 0o755);
        assert!(holds_only_own(root.path()));
        made(&root.path().join("thesis.txt"), 0o644);
        assert!(!holds_only_own(root.path()));
    }
}
