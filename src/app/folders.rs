//! Whether this process can use the folders that the configuration names: looked at before anything starts, nothing is created.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::private::STORE;
use crate::config::Config;
use crate::tools::OpenedFolder;

/// What is wrong with the folders.
#[derive(Debug, Default)]
pub(super) struct Folders {
    /// What ends a start.
    pub(super) faults: Vec<String>,
    /// What does not.
    pub(super) warnings: Vec<String>,
}

/// Looks at the data folder of the embedded store, the workspace and the folder of artifacts.
pub(super) fn check(config: &Config) -> Folders {
    let mut found = Folders::default();
    let data = &config.embedded.data_dir;
    let is_embedded = config.store.url.is_empty();
    if is_embedded {
        let fault = fault("embedded.data_dir", data).or_else(|| fault("embedded.data_dir", &data.join(STORE)));
        found.faults.extend(fault);
    }
    for (key, folder) in [("tools.workspace", &config.tools.workspace), ("artifacts.folder", &config.artifacts.folder)]
    {
        let is_within_data = folder.parent() == Some(data);
        if is_within_data && !found.faults.is_empty() {
            continue;
        }
        let Some(fault) = fault(key, folder) else { continue };
        // Beside the server of `store.url` a task may never need the folder that stands below the data folder.
        let may_stay_unused = is_within_data && !is_embedded && !folder.exists();
        let list = if may_stay_unused { &mut found.warnings } else { &mut found.faults };
        list.push(fault);
    }
    let opened = &config.tools.files.folders;
    found.faults.extend(opened.iter().filter_map(|(name, folder)| opened_fault(config, name, folder)));
    found.faults.extend(opened.iter().filter_map(|(name, folder)| nested_fault(opened, name, folder)));
    found
}

/// Why the folder `name` cannot be opened to tasks, and the way out.
fn opened_fault(config: &Config, name: &str, folder: &OpenedFolder) -> Option<String> {
    let path = &folder.path;
    let needed = if folder.write { Access::WRITE_OK | Access::READ_OK } else { Access::READ_OK };
    let problem = match fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => Some("is no folder".to_owned()),
        Ok(_) => match accessat(CWD, path, needed | Access::EXEC_OK, AtFlags::EACCESS) {
            Ok(()) | Err(Errno::NOSYS | Errno::INVAL) => {
                own_folder(config, path).map(|key| format!("holds {key} or lies in it, which no task may see"))
            }
            Err(error) => Some(format!("is closed to the user {}, who runs this ({error})", geteuid().as_raw())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some("does not exist".to_owned()),
        Err(error) => Some(format!("cannot be looked at ({error})")),
    };
    let key = format!("tools.files.folders.{name}.path");
    problem.map(|problem| {
        let whole = std::path::absolute(path).ok().filter(|_| path.is_relative());
        let whole = whole.map_or_else(String::new, |whole| {
            format!(" (a relative path begins where qron is started: {})", whole.display())
        });
        format!("{key} = {:?}{whole} {problem}: correct it, or name another folder", path.display().to_string())
    })
}

/// Why the folder `name`, which is for reading alone, could be written all the same: another one that tasks may write in holds it.
fn nested_fault(opened: &BTreeMap<String, OpenedFolder>, name: &str, folder: &OpenedFolder) -> Option<String> {
    let path = real(&folder.path);
    let holds = |(_, other): &(&String, &OpenedFolder)| other.write && path.starts_with(real(&other.path));
    let (outer, _) = opened.iter().find(holds).filter(|_| !folder.write)?;
    Some(format!(
        "tools.files.folders.{name} is for reading alone, but it lies in tools.files.folders.{outer}, where tasks may write: \
         move one of them, or open both for the same"
    ))
}

/// The setting of qron's own folder that lies in `path`, or that `path` lies in.
fn own_folder(config: &Config, path: &Path) -> Option<&'static str> {
    let own = [
        ("embedded.data_dir", &config.embedded.data_dir),
        ("tools.workspace", &config.tools.workspace),
        ("artifacts.folder", &config.artifacts.folder),
    ];
    let path = real(path);
    let meets = |own: &Path| own.starts_with(&path) || path.starts_with(own);
    own.into_iter().find(|(_, own)| meets(&real(own))).map(|(key, _)| key)
}

/// `path` without links, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let existing = path.ancestors().find_map(|folder| Some((folder, fs::canonicalize(folder).ok()?)));
    existing.map_or_else(|| path.clone(), |(folder, real)| real.join(path.strip_prefix(folder).unwrap_or(&path)))
}

/// Why `folder`, the value of the setting `key`, cannot be used, and the way out.
fn fault(key: &str, folder: &Path) -> Option<String> {
    let problem = problem(folder)?;
    Some(format!("{key} = {:?}: {problem}, or name another folder", folder.display().to_string()))
}

fn problem(folder: &Path) -> Option<String> {
    let existing = folder.ancestors().map(or_current).find(|path| fs::symlink_metadata(path).is_ok())?;
    let shown = existing.display();
    match fs::metadata(existing) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Some(format!("{shown} is a file, and qron needs a folder: move the file away")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Some(format!("{shown} is a link that leads nowhere: create its target"));
        }
        Err(error) => return Some(format!("{shown} cannot be looked at ({error}): correct its access")),
    }
    match accessat(CWD, existing, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        // Kernels that cannot tell leave it to the first write.
        Ok(()) | Err(Errno::NOSYS | Errno::INVAL) => None,
        Err(error) => {
            let user = geteuid().as_raw();
            Some(format!("the user {user}, who runs this, may not write in {shown} ({error}): give that user access"))
        }
    }
}

/// The folder of this process in the place of the empty path above a relative one.
fn or_current(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}
