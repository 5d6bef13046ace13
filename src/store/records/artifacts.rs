//! Artifacts: small ones inside their point, large ones as files beside the store.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use object_store::ObjectStoreExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use qdrant_client::Payload;
use qdrant_client::qdrant::{
    Condition, Filter, NamedVectors, PointStruct, RetrievedPoint, UpdateMode, Value as QdrantValue,
};
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::id::{TaskId, derived};
use crate::domain::time::Timestamp;
use crate::store::access::Access;
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::{Part, document, object, readable};
use crate::store::qdrant::values::to_payload;
use crate::store::{Artifact, ArtifactSettings, Store, StoreError};
use crate::telemetry::secrets;

/// Content of a small artifact.
const CONTENT: &str = "content";
/// Whether `content` is text as it is (`text`) or not UTF-8 (`base64`).
const ENCODING: &str = "encoding";
/// Where the content of a large one is, below the folder.
const FILE: &str = "file";
/// Longest name, in characters.
const MAX_NAME_CHARS: usize = 255;
/// Most artifacts of one task that are listed.
const MAX_LISTED: usize = 10_000;

impl Store {
    /// Writes an artifact without the secrets of this process; the same task and name replaces it. Durable on return.
    ///
    /// # Errors
    /// [`StoreError::Artifact`] for a bad name, an artifact over the limit or a file that cannot be written; otherwise a
    /// failure of the store.
    pub async fn save_artifact(
        &self,
        task: TaskId,
        step: &str,
        name: &str,
        media_type: &str,
        content: &[u8],
        now: Timestamp,
    ) -> Result<Artifact, StoreError> {
        let files = &self.local.files;
        check_name(name)?;
        let content = &*secrets::redact_bytes(content);
        if content.len() > files.settings.max_bytes {
            let limit = files.settings.max_bytes;
            return Err(refused(name, format!("{} bytes are more than the {limit} allowed", content.len())));
        }
        let artifact = Artifact {
            id: id_of(task, name),
            task_id: task,
            step: step.to_owned(),
            name: name.to_owned(),
            media_type: media_type.to_owned(),
            size: content.len() as u64,
            sha256: checksum(content),
            created_at: now,
        };
        let replaced = self.artifact_point(artifact.id, Part::Only(&[FILE])).await?.and_then(|point| file_of(&point));
        let mut payload = object("save_artifact", &artifact)?;
        let payload = if content.len() > files.settings.inline_bytes {
            // A new file each time: the old one is whole until nothing points at it any more.
            let file = format!("{task}/{}-{}", artifact.id, Uuid::new_v4().simple());
            files.write(name, &file, content).await?;
            payload.insert(FILE.to_owned(), json!(file));
            to_payload(payload)
        } else {
            let (encoding, text) = match std::str::from_utf8(content) {
                Ok(text) => ("text", text.to_owned()),
                Err(_) => ("base64", BASE64.encode(content)),
            };
            payload.insert(ENCODING.to_owned(), json!(encoding));
            let mut payload = to_payload(payload);
            // The secrets are out of it already.
            payload.insert(CONTENT.to_owned(), text.into());
            payload
        };
        let point = PointStruct::new(artifact.id, NamedVectors::default(), Payload::from(payload));
        self.inner.upsert("save_artifact", Collection::Artifacts, vec![point], UpdateMode::Upsert).await?;
        if let Some(file) = replaced {
            files.remove(name, &file).await;
        }
        Ok(artifact)
    }

    /// An artifact and its content, by task and name; its checksum is verified.
    ///
    /// # Errors
    /// [`StoreError::Artifact`] when the file is missing, unreadable or not what was written; otherwise a failure of the
    /// store.
    pub async fn artifact(&self, task: TaskId, name: &str) -> Result<Option<(Artifact, Vec<u8>)>, StoreError> {
        let Some(mut point) = self.artifact_point(id_of(task, name), Part::All).await? else { return Ok(None) };
        let content = match file_of(&point) {
            Some(file) => self.local.files.read(name, &file).await?,
            None => inline_content(name, &point)?,
        };
        point.payload.remove(CONTENT);
        let artifact: Artifact = document(Collection::Artifacts, point.id.as_ref(), point.payload)?;
        if checksum(&content) != artifact.sha256 {
            return Err(refused(name, "its content is not what was written: the checksum differs".into()));
        }
        Ok(Some((artifact, content)))
    }

    /// Largest artifact, in bytes.
    #[must_use]
    pub fn max_artifact_bytes(&self) -> usize {
        self.local.files.settings.max_bytes
    }

    /// The artifacts of a task by name, without content.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn artifacts(&self, task: TaskId) -> Result<Vec<Artifact>, StoreError> {
        let filter = Filter::must([Condition::matches("task_id", task.to_string())]);
        let part = Part::Without(&[CONTENT]);
        let points = self.inner.scroll_all("artifacts", Collection::Artifacts, filter, part, MAX_LISTED).await?;
        let mut artifacts: Vec<Artifact> = readable(Collection::Artifacts, points);
        artifacts.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(artifacts)
    }

    async fn artifact_point(&self, id: Uuid, part: Part) -> Result<Option<RetrievedPoint>, StoreError> {
        Ok(self.inner.get("artifact", Collection::Artifacts, vec![id.into()], part).await?.pop())
    }
}

/// The files of large artifacts.
pub(in crate::store) struct Files {
    settings: ArtifactSettings,
}

impl Files {
    pub(in crate::store) const fn new(settings: ArtifactSettings) -> Self {
        Self { settings }
    }

    /// Opened for each use: the folder is made by the first large artifact, not by every command that connects.
    fn open(&self, name: &str) -> Result<LocalFileSystem, StoreError> {
        let folder = &self.settings.folder;
        LocalFileSystem::new_with_prefix(folder)
            .map(|files| files.with_fsync(true))
            .map_err(|error| refused(name, format!("folder {} cannot be opened: {error}", folder.display())))
    }

    async fn write(&self, name: &str, file: &str, content: &[u8]) -> Result<(), StoreError> {
        let folder = self.settings.folder.clone();
        let made = |error| refused(name, format!("folder {} cannot be made: {error}", self.settings.folder.display()));
        let access = blocking(move || Access::within(&folder)).await.map_err(made)?;
        let unwritten = |error: String| refused(name, format!("its file cannot be written: {error}"));
        let files = self.open(name)?;
        files.put(&Path::from(file), content.to_vec().into()).await.map_err(|error| unwritten(error.to_string()))?;
        let path = self.settings.folder.join(file);
        blocking(move || access.give(&path)).await.map_err(|error| unwritten(error.to_string()))
    }

    async fn read(&self, name: &str, file: &str) -> Result<Vec<u8>, StoreError> {
        let unreadable = |error: object_store::Error| refused(name, format!("its file cannot be read: {error}"));
        let found = self.open(name)?.get(&Path::from(file)).await.map_err(unreadable)?;
        // What somebody put there may be of any size.
        if found.meta.size > self.settings.max_bytes as u64 {
            return Err(refused(name, format!("its file has grown to {} bytes", found.meta.size)));
        }
        found.bytes().await.map(Vec::from).map_err(unreadable)
    }

    /// Removes the file of an artifact that was replaced or is no longer kept. What stays behind costs space, nothing else.
    pub(in crate::store) async fn remove(&self, name: &str, file: &str) {
        let Ok(files) = self.open(name) else { return };
        if let Err(error) = files.delete(&Path::from(file)).await {
            tracing::warn!(%error, file, "the file of an artifact stays behind");
        }
    }
}

/// Does `work` with files on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn id_of(task: TaskId, name: &str) -> Uuid {
    derived(&["artifact", &task.to_string(), name])
}

fn refused(name: &str, reason: String) -> StoreError {
    StoreError::Artifact { name: name.chars().take(MAX_NAME_CHARS).collect(), reason }
}

fn check_name(name: &str) -> Result<(), StoreError> {
    let chars = name.chars().count();
    let plain = !name.chars().any(|character| character.is_control() || matches!(character, '/' | '\\'));
    if (1..=MAX_NAME_CHARS).contains(&chars) && plain && name != "." && name != ".." {
        return Ok(());
    }
    Err(refused(name, format!("not a name: use 1 to {MAX_NAME_CHARS} characters without / \\ and control characters")))
}

fn checksum(content: &[u8]) -> String {
    format!("{:x}", Sha256::digest(content))
}

fn text_of<'a>(point: &'a RetrievedPoint, key: &str) -> Option<&'a str> {
    point.payload.get(key).and_then(QdrantValue::as_str).map(String::as_str)
}

fn file_of(point: &RetrievedPoint) -> Option<String> {
    text_of(point, FILE).map(str::to_owned)
}

fn inline_content(name: &str, point: &RetrievedPoint) -> Result<Vec<u8>, StoreError> {
    let content = text_of(point, CONTENT).ok_or_else(|| refused(name, "its content is missing".into()))?;
    match text_of(point, ENCODING) {
        Some("base64") => BASE64.decode(content).map_err(|error| refused(name, format!("its content: {error}"))),
        _ => Ok(content.as_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_the_task() {
        for name in ["report.md", "Bericht Größe 1", "..hidden", &"é".repeat(255)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "a/b", "a\\b", "a\0b", "a\nb", &"x".repeat(256)] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn the_checksum_is_sha_256() {
        assert_eq!(checksum(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
