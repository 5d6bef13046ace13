//! The collections in the data folder: which exist, creating and deleting them so that a crash leaves none by halves.
//!
//! Layout: `format.json`, `lock`, and per collection `collections/NAME/collection.json` with a folder `data-*`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use qdrant_edge::EdgeConfig;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::collection::Collection;
use super::engine::{Engine, EngineError};
use super::error::{EdgeError, Fault};
use super::lock::{self, FolderLock};
use super::meta::{self, Meta};

const FORMAT_FILE: &str = "format.json";
const FORMAT: u32 = 1;
const COLLECTIONS: &str = "collections";
const TRASH: &str = ".trash-";
const DATA: &str = "data-";
/// A folder name may have 255 bytes.
const NAME_LIMIT: usize = 200;

#[derive(Serialize, Deserialize)]
struct Format {
    qdrant_edge_server: u32,
}

/// All collections of one data folder.
pub(crate) struct Registry {
    folder: PathBuf,
    collections: RwLock<BTreeMap<String, Arc<Collection>>>,
    /// Serialises creating and deleting.
    changing: tokio::sync::Mutex<()>,
    /// Keeps other processes out until the registry is closed.
    lock: Mutex<Option<FolderLock>>,
}

impl Registry {
    /// Locks the folder and loads every collection. Blocks.
    pub(crate) fn open(folder: &Path) -> Result<Self, EdgeError> {
        let lock = prepare(folder)?;
        let root = folder.join(COLLECTIONS);
        let mut collections = BTreeMap::new();
        for entry in fs::read_dir(&root).map_err(|source| EdgeError::Io { path: root.clone(), source })? {
            let path = entry.map_err(|source| EdgeError::Io { path: root.clone(), source })?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if name.starts_with(TRASH) {
                fs::remove_dir_all(&path).map_err(|source| EdgeError::Io { path, source })?;
                continue;
            }
            if let Some(collection) = load(&name, path)? {
                collections.insert(name, Arc::new(collection));
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            collections: RwLock::new(collections),
            changing: tokio::sync::Mutex::new(()),
            lock: Mutex::new(Some(lock)),
        })
    }

    pub(crate) fn get(&self, name: &str) -> Result<Arc<Collection>, Fault> {
        check_name(name)?;
        self.find(name).ok_or_else(|| Fault::no_collection(name))
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.collections.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Creates a collection; it exists durably when this returns.
    pub(crate) async fn create(
        &self,
        name: &str,
        config: EdgeConfig,
        metadata: serde_json::Map<String, serde_json::Value>,
    ) -> Result<(), Fault> {
        check_name(name)?;
        let _changing = self.changing.lock().await;
        if self.exists(name) {
            return Err(Fault::AlreadyExists(format!("Collection `{name}` already exists!")));
        }
        let folder = self.folder.join(COLLECTIONS).join(name);
        let owned = name.to_owned();
        let made = blocking(move || make(&owned, folder, config, metadata)).await?;
        self.collections.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), Arc::new(made));
        Ok(())
    }

    /// Deletes a collection; false when there was none.
    pub(crate) async fn delete(&self, name: &str) -> Result<bool, Fault> {
        let _changing = self.changing.lock().await;
        let removed = self.collections.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        let Some(collection) = removed else { return Ok(false) };
        let gone = Fault::no_collection(name);
        let trash = self.folder.join(COLLECTIONS).join(format!("{TRASH}{}", Uuid::new_v4().simple()));
        blocking(move || {
            collection.close(gone);
            fs::rename(collection.folder(), &trash)
                .and_then(|()| fs::remove_dir_all(&trash))
                .map_err(|error| Fault::Internal(format!("cannot remove {}: {error}", collection.folder().display())))
        })
        .await?;
        Ok(true)
    }

    /// Flushes and closes every collection and releases the folder. Blocks.
    pub(crate) fn close(&self) {
        let all = std::mem::take(&mut *self.collections.write().unwrap_or_else(PoisonError::into_inner));
        for collection in all.values() {
            collection.close(Fault::Stopping);
        }
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn find(&self, name: &str) -> Option<Arc<Collection>> {
        self.collections.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|error| Err(Fault::Internal(format!("the work was cut off: {error}"))))
}

/// Makes sure the folder is usable and ours before anything is written into it.
fn prepare(folder: &Path) -> Result<FolderLock, EdgeError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| EdgeError::Io { path, source }
    };
    if folder.exists() && !folder.is_dir() {
        return Err(EdgeError::NotAFolder(folder.to_owned()));
    }
    fs::create_dir_all(folder).map_err(failed(folder))?;
    check_ours(folder)?;
    let lock = FolderLock::take(folder)?;
    let format = folder.join(FORMAT_FILE);
    match meta::read_json::<Format>(&format) {
        Ok(Format { qdrant_edge_server: found }) if found > FORMAT => {
            return Err(EdgeError::Newer { folder: folder.to_owned(), found, supported: FORMAT });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            meta::write_json(folder, FORMAT_FILE, &Format { qdrant_edge_server: FORMAT }).map_err(failed(&format))?;
        }
        Err(error) => return Err(failed(&format)(error)),
    }
    let root = folder.join(COLLECTIONS);
    fs::create_dir_all(&root).map_err(failed(&root))?;
    Ok(lock)
}

/// Anything else in a folder that is not yet ours belongs to someone else.
fn check_ours(folder: &Path) -> Result<(), EdgeError> {
    let failed = |source| EdgeError::Io { path: folder.to_owned(), source };
    if folder.join(FORMAT_FILE).exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(failed)? {
        let found = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if found != lock::FILE && !found.starts_with(FORMAT_FILE) {
            return Err(EdgeError::Foreign { folder: folder.to_owned(), found });
        }
    }
    Ok(())
}

fn make(
    name: &str,
    folder: PathBuf,
    config: EdgeConfig,
    metadata: serde_json::Map<String, serde_json::Value>,
) -> Result<Collection, Fault> {
    let data = fresh_data_name();
    let made = Engine::create(&folder.join(&data), config).map_err(|error| match error {
        EngineError::Refused(error) => error.into(),
        EngineError::Full(reason) => Fault::Exhausted(format!(
            "collection `{name}` cannot be created, the disk under {} is full ({reason}): free some space",
            folder.display()
        )),
        EngineError::Broken(reason) | EngineError::Absent(reason) => Fault::Internal(reason),
    });
    let described = made.and_then(|engine| {
        let meta = Meta { data, metadata, config: engine.config().clone() };
        let failed = |error| Fault::Internal(format!("cannot write {}: {error}", folder.display()));
        meta.write(&folder).and_then(|()| sync_parent(&folder)).map_err(failed)?;
        Ok((engine, meta))
    });
    match described {
        Ok((engine, meta)) => Ok(Collection::new(name.to_owned(), folder, engine, meta)),
        Err(fault) => {
            if let Err(error) = fs::remove_dir_all(&folder) {
                tracing::debug!(folder = %folder.display(), %error, "a half-made collection stays until the next start");
            }
            Err(fault)
        }
    }
}

/// Loads a collection; none when it was never finished, which the crash of its creation explains.
fn load(name: &str, folder: PathBuf) -> Result<Option<Collection>, EdgeError> {
    let broken = |reason: String| EdgeError::Collection { name: name.to_owned(), folder: folder.clone(), reason };
    let meta = match Meta::read(&folder) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_unfinished(&folder) => {
            fs::remove_dir_all(&folder).map_err(|source| EdgeError::Io { path: folder.clone(), source })?;
            return Ok(None);
        }
        Err(error) => return Err(broken(format!("{}: {error}", meta::FILE))),
    };
    remove_other_data(&folder, &meta.data).map_err(|source| EdgeError::Io { path: folder.clone(), source })?;
    let opened = Engine::open(&folder.join(&meta.data), meta.config.clone()).map_err(|error| broken(reason(error)))?;
    let (engine, meta) = if opened.is_wasteful() { compact(name, &folder, opened, meta)? } else { (opened, meta) };
    Ok(Some(Collection::new(name.to_owned(), folder, engine, meta)))
}

/// Rebuilds the shard next to the old one and switches by replacing the description: a crash at any point leaves
/// one complete shard that the description names, and the other is removed at the next start. When the copy fails
/// the old one stays, which is only bigger than it need be.
fn compact(name: &str, folder: &Path, old: Engine, meta: Meta) -> Result<(Engine, Meta), EdgeError> {
    let started = std::time::Instant::now();
    let renewed = Meta { data: fresh_data_name(), ..meta.clone() };
    let engine = match old.copy_to(&folder.join(&renewed.data)) {
        Ok(engine) => engine,
        Err(error) => {
            tracing::warn!(folder = %folder.display(), reason = reason(error), "collection not compacted");
            return Ok((old, meta));
        }
    };
    // Which description the disk holds after a failed write is unknown, so neither shard may take new writes.
    renewed.write(folder).map_err(|error| EdgeError::Collection {
        name: name.to_owned(),
        folder: folder.to_owned(),
        reason: format!("{}: {error}", meta::FILE),
    })?;
    old.close();
    tracing::info!(folder = %folder.display(), elapsed_ms = started.elapsed().as_millis(), "collection compacted");
    if let Err(error) = remove_other_data(folder, &renewed.data) {
        tracing::warn!(folder = %folder.display(), %error, "the old data stays until the next start");
    }
    Ok((engine, renewed))
}

fn reason(error: EngineError) -> String {
    match error {
        EngineError::Refused(error) => error.to_string(),
        EngineError::Broken(reason) | EngineError::Absent(reason) | EngineError::Full(reason) => reason,
    }
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

fn fresh_data_name() -> String {
    format!("{DATA}{}", Uuid::new_v4().simple())
}

fn sync_parent(folder: &Path) -> io::Result<()> {
    folder.parent().map_or(Ok(()), meta::sync_folder)
}

/// Collection names become folder names, so they must be harmless as such.
fn check_name(name: &str) -> Result<(), Fault> {
    let odd = |character: char| character.is_control() || "<>:\"/\\|?*".contains(character);
    if name.is_empty() || name.len() > NAME_LIMIT {
        return Err(Fault::bad(format!("collection name must have 1 to {NAME_LIMIT} bytes, it has {}", name.len())));
    }
    if name.starts_with('.') || name.contains(odd) {
        return Err(Fault::bad(format!(
            "collection name {name:?} must not start with a dot or contain control characters or any of <>:\"/\\|?*"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_refused() {
        for name in ["qron_tasks", "My Tasks", "täsk-1.2", &"x".repeat(200)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", ".", "..", ".trash-1", "../up", "a/b", "a\\b", "a\0b", "a\nb", "a:b", &"x".repeat(201)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
