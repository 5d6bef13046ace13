//! The file that describes a collection: which data folder is current, its vectors, its metadata.
//!
//! Replaced atomically, so a crash leaves the old or the new one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use qdrant_edge::EdgeConfig;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Name of the file inside the collection's folder.
pub(crate) const FILE: &str = "collection.json";

/// What is known of a collection besides its points.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Meta {
    /// Name of the subfolder that holds the shard; unique for ever, so a late writer of a deleted or rebuilt one
    /// can never touch its successor.
    pub(crate) data: String,
    /// What the client attached to the collection.
    pub(crate) metadata: serde_json::Map<String, serde_json::Value>,
    /// Vectors and options.
    pub(crate) config: EdgeConfig,
}

impl Meta {
    pub(crate) fn read(folder: &Path) -> io::Result<Self> {
        read_json(&folder.join(FILE))
    }

    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        write_json(folder, FILE, self)
    }
}

/// Reads a JSON file; what is no valid JSON is `InvalidData`.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    serde_json::from_slice(&fs::read(path)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Replaces `folder/name` in one step and waits until both file and folder are on the disk.
pub(crate) fn write_json<T: Serialize>(folder: &Path, name: &str, value: &T) -> io::Result<()> {
    let temporary = folder.join(format!("{name}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(&serde_json::to_vec_pretty(value)?)?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(name))?;
    sync_folder(folder)
}

/// Waits until the entries of `folder` are on the disk.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
