//! The collections that exist, creating and deleting them so that a crash leaves none by halves.
//!
//! On disk each is a folder `collections/NAME` with `collection.json` and one folder `data-*`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use qdrant_edge::EdgeConfig;
use uuid::Uuid;

use super::collection::Collection;
use super::engine::{Engine, EngineError};
use super::error::{Fault, ServerError};
use super::folders::{COLLECTIONS, TRASH, fresh_data_name};
use super::load;
use super::lock::FolderLock;
use super::meta::{self, Meta};
use crate::connections::FileLimit;

/// Collections of one data folder at least, however few files may be open, and at most: each takes memory, too.
const COLLECTIONS_LIMITS: (u64, u64) = (16, 4_096);
/// Part of the open files that may become collections. Each keeps two of them open, its log and its journal, so that some
/// are left beside those and the [connections](crate::connections).
const COLLECTIONS_SHARE: u64 = 5;
/// A folder name may have 255 bytes.
const NAME_LIMIT: usize = 200;

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
    pub(crate) fn open(folder: &Path) -> Result<Self, ServerError> {
        let lock = load::prepare(folder)?;
        let loaded = load::collections(&folder.join(COLLECTIONS))?;
        let collections = loaded.into_iter().map(|(name, collection)| (name, Arc::new(collection))).collect();
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
        let files = FileLimit::raise().files();
        let most = most_collections(files);
        if self.names().len() >= most {
            return Err(Fault::Exhausted(format!(
                "collection `{name}` cannot be created, there are {most} of them, the most for {files} open files: delete \
                 one, or raise that limit (ulimit -n)"
            )));
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

fn sync_parent(folder: &Path) -> io::Result<()> {
    folder.parent().map_or(Ok(()), meta::sync_folder)
}

fn most_collections(files: u64) -> usize {
    let (least, most) = COLLECTIONS_LIMITS;
    usize::try_from((files / COLLECTIONS_SHARE).clamp(least, most)).unwrap_or(usize::MAX)
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
    fn collections_leave_files_for_all_else() {
        for (files, collections) in [(0, 16), (256, 51), (1_024, 204), (65_536, 4_096)] {
            assert_eq!(most_collections(files), collections, "{files}");
        }
    }

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
