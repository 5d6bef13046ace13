//! Opening a data folder: is it ours, what did a crash leave behind, loading its collections, rebuilding torn and
//! wasteful ones.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::collection::Collection;
use super::engine::Engine;
use super::error::ServerError;
use super::folders::{COLLECTIONS, DATA, TRASH, fresh_data_name};
use super::lock::{self, FolderLock};
use super::meta::{self, Meta};

const FORMAT_FILE: &str = "format.json";
/// 2: what was acknowledged may be in a journal, which programs of format 1 would not read.
const FORMAT: u32 = 2;
/// The one folder that a freshly made file system brings along, where a volume is mounted as the data folder.
const FRESH_DISK: &str = "lost+found";

#[derive(Serialize, Deserialize)]
struct Format {
    #[serde(rename = "qdrant_edge_server")]
    version: u32,
}

/// Makes sure the folder is usable and ours before anything is written into it.
pub(crate) fn prepare(folder: &Path) -> Result<FolderLock, ServerError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ServerError::Io { path, source }
    };
    if folder.exists() && !folder.is_dir() {
        return Err(ServerError::NotAFolder(folder.to_owned()));
    }
    fs::create_dir_all(folder).map_err(failed(folder))?;
    check_ours(folder)?;
    let lock = FolderLock::take(folder)?;
    let format = folder.join(FORMAT_FILE);
    let found = match meta::read_json::<Format>(&format) {
        Ok(Format { version: found }) => Some(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(&format)(error)),
    };
    if let Some(found) = found.filter(|found| *found > FORMAT) {
        return Err(ServerError::Newer { folder: folder.to_owned(), found, supported: FORMAT });
    }
    if found != Some(FORMAT) {
        meta::write_json(folder, FORMAT_FILE, &Format { version: FORMAT }).map_err(failed(&format))?;
    }
    let root = folder.join(COLLECTIONS);
    fs::create_dir_all(&root).map_err(failed(&root))?;
    Ok(lock)
}

/// Anything else in a folder that is not yet ours belongs to someone else.
fn check_ours(folder: &Path) -> Result<(), ServerError> {
    let failed = |source| ServerError::Io { path: folder.to_owned(), source };
    if folder.join(FORMAT_FILE).exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(failed)? {
        let found = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if found != lock::FILE && found != FRESH_DISK && !found.starts_with(FORMAT_FILE) {
            return Err(ServerError::Foreign { folder: folder.to_owned(), found });
        }
    }
    Ok(())
}

/// Loads the collections below `root`, several at a time.
pub(crate) fn collections(root: &Path) -> Result<Vec<(String, Collection)>, ServerError> {
    let failed = |source| ServerError::Io { path: root.to_owned(), source };
    let mut folders = Vec::new();
    for entry in fs::read_dir(root).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if name.starts_with(TRASH) {
            fs::remove_dir_all(&path).map_err(|source| ServerError::Io { path, source })?;
        } else {
            folders.push((name, path));
        }
    }
    let waiting = Mutex::new(folders);
    let loaded = Mutex::new(Vec::new());
    let work = || {
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((name, path)) = next else { return };
            let result = load(&name, path).map(|found| found.map(|collection| (name, collection)));
            loaded.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let loaded = loaded.into_inner().unwrap_or_else(PoisonError::into_inner);
    loaded.into_iter().filter_map(Result::transpose).collect()
}

/// Loads a collection; none when it was never finished, which the crash of its creation explains.
fn load(name: &str, folder: PathBuf) -> Result<Option<Collection>, ServerError> {
    let broken = |reason: String| ServerError::Collection { name: name.to_owned(), folder: folder.clone(), reason };
    let meta = match Meta::read(&folder) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_unfinished(&folder) => {
            fs::remove_dir_all(&folder).map_err(|source| ServerError::Io { path: folder.clone(), source })?;
            return Ok(None);
        }
        Err(error) => return Err(broken(format!("{}: {error}", meta::FILE))),
    };
    remove_other_data(&folder, &meta.data).map_err(|source| ServerError::Io { path: folder.clone(), source })?;
    let opened = Engine::open(&folder.join(&meta.data), meta.config.clone()).map_err(|error| broken(error.text()))?;
    let (engine, meta) =
        if opened.is_torn() || opened.is_wasteful() { compact(name, &folder, opened, meta)? } else { (opened, meta) };
    Ok(Some(Collection::new(name.to_owned(), folder, engine, meta)))
}

/// Rebuilds the shard next to the old one and switches by replacing the description: a crash at any point leaves
/// one complete shard that the description names, and the other is removed at the next start. When the copy fails
/// the old one stays, which is only bigger than it need be.
fn compact(name: &str, folder: &Path, old: Engine, meta: Meta) -> Result<(Engine, Meta), ServerError> {
    let started = Instant::now();
    let renewed = Meta { data: fresh_data_name(), ..meta.clone() };
    let engine = match old.copy_to(&folder.join(&renewed.data)) {
        Ok(engine) => engine,
        Err(error) => {
            tracing::warn!(folder = %folder.display(), reason = error.text(), "collection not rebuilt");
            return Ok((old, meta));
        }
    };
    // Which description the disk holds after a failed write is unknown, so neither shard may take new writes.
    renewed.write(folder).map_err(|error| ServerError::Collection {
        name: name.to_owned(),
        folder: folder.to_owned(),
        reason: format!("{}: {error}", meta::FILE),
    })?;
    old.close();
    tracing::info!(folder = %folder.display(), elapsed_ms = started.elapsed().as_millis(), "collection rebuilt");
    if let Err(error) = remove_other_data(folder, &renewed.data) {
        tracing::warn!(folder = %folder.display(), %error, "the old data stays until the next start");
    }
    Ok((engine, renewed))
}

fn is_unfinished(folder: &Path) -> bool {
    let Ok(mut entries) = fs::read_dir(folder) else { return false };
    entries.all(|entry| {
        entry.is_ok_and(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.starts_with(DATA) || name.starts_with(meta::FILE)
        })
    })
}

fn remove_other_data(folder: &Path, current: &str) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(DATA) && name != current {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
