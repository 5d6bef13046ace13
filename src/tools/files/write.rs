//! `write_file`: whole or not at all, and once however often the call is repeated.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use cap_std::fs::Dir;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::inputs::{TEXT_OR_JSON, base64_bytes, base64_fault, blocking, content_as_text, object, parse};
use super::super::{Tool, ToolContext};
use super::path::{check_path, path_fault};
use super::read::fail;
use super::workspace::{FileError, Links, OWN_PREFIX, Place, Workspace, access_of, create_folders, new_file};
use crate::domain::failure::Failure;
use crate::domain::id::{TaskId, derived};
use crate::domain::tool::{Effect, ToolResult, ToolSpec};

const NAME: &str = "write_file";

/// Parallel steps of a task may append to one file; each must see what the other wrote.
static APPENDING: Mutex<()> = Mutex::new(());

/// The tool `write_file`.
#[derive(Debug)]
pub struct WriteFile {
    workspace: Workspace,
}

impl WriteFile {
    /// Writes in `workspace`.
    #[must_use]
    pub const fn new(workspace: Workspace) -> Self {
        Self { workspace }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    path: String,
    content: String,
    #[serde(default)]
    encoding: Encoding,
    #[serde(default)]
    mode: Mode,
}

#[derive(Clone, Copy, Default, Deserialize)]
enum Encoding {
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "base64")]
    Base64,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Overwrite,
    Create,
    Append,
}

#[async_trait]
impl Tool for WriteFile {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: NAME.into(),
            description: format!(
                "Writes a file in this task's own folder; missing folders are created. Answers {{\"path\", \"bytes\": size of \
                 the file}}.{}",
                self.workspace.opened().sentence(true)
            ),
            parameters: object(
                &json!({
                    "path": { "type": "string", "description": "path below the folder, e.g. \"out/report.md\"" },
                    "content": { "type": TEXT_OR_JSON, "description": "text; JSON is written as its text" },
                    "encoding": { "type": "string", "enum": ["utf-8", "base64"], "description": "of content; utf-8 when absent" },
                    "mode": {
                        "type": "string", "enum": ["overwrite", "create", "append"],
                        "description": "overwrite when absent; create fails when the file exists"
                    },
                }),
                &["path", "content"],
            ),
            output: object(
                &json!({ "path": { "type": "string" }, "bytes": { "type": "integer" } }),
                &["path", "bytes"],
            ),
            effect: Effect::Write,
            idempotent: true,
            untrusted: false,
        }
    }

    fn prepare(&self, mut arguments: Value) -> Value {
        content_as_text(&mut arguments);
        arguments
    }

    fn fault(&self, arguments: &Value) -> Option<String> {
        path_fault(NAME, arguments).or_else(|| base64_fault(NAME, arguments))
    }

    async fn call(&self, context: &ToolContext, arguments: Value) -> ToolResult {
        let Arguments { path, content: given, encoding, mode } = parse(arguments)?;
        let document = match encoding {
            Encoding::Utf8 => given.into_bytes(),
            Encoding::Base64 => base64_bytes(&given).map_err(Failure::invalid)?,
        };
        let write = Writing { workspace: self.workspace.clone(), task: context.task_id, mode };
        let key = derived(&["append", &context.idempotency_key]).simple().to_string();
        let outcome = blocking(move || {
            Ok(check_path(&path)
                .map_err(FileError::Refused)
                .and_then(|checked| write.run(checked, &document, &key))
                .map(|bytes| json!({ "path": path, "bytes": bytes })))
        });
        outcome.await?.map_err(|error| fail(NAME, context, error))
    }
}

/// One call, on a thread that may block.
struct Writing {
    workspace: Workspace,
    task: TaskId,
    mode: Mode,
}

impl Writing {
    fn run(&self, path: &Path, content: &[u8], key: &str) -> Result<usize, FileError> {
        let Place { folder, path: below, opened } = self.workspace.locate(self.task, path)?;
        if let Some((name, _)) = opened.filter(|(_, folder)| !folder.write) {
            let reason = format!(
                "is in the folder {name:?}, which is open for reading alone: write into the folder of the task, or set \
                 tools.files.folders.{name}.write"
            );
            return Err(FileError::refused(path, &reason));
        }
        let path = below;
        let folder = match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            None => folder,
            Some(parent) => match folder.open_dir(parent) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let created = access_of(&folder).and_then(|access| create_folders(&folder, parent, access));
                    created.and_then(|()| folder.open_dir(parent))
                }
                opened => opened,
            }
            .map_err(|error| FileError::from_io(path, &error))?,
        };
        let name = path.file_name().map(Path::new).ok_or_else(|| FileError::refused(path, "names no file"))?;
        let existing = self.existing(&folder, name)?;
        match (self.mode, existing) {
            // The same content is this call's own, made before its outcome was recorded.
            (Mode::Create, Some(existing)) if existing == content => Ok(content.len()),
            (Mode::Create, Some(_)) => {
                let path = path.display().to_string();
                Err(FileError::Failed(Failure::invalid(format!("{path:?} exists; use mode overwrite or append"))))
            }
            (Mode::Append, _) => self.append(&folder, name, content, key),
            _ => self.replace(&folder, name, content),
        }
    }

    /// The content of the file that is about to be written; anything but an ordinary file is refused.
    fn existing(&self, folder: &Dir, name: &Path) -> Result<Option<Vec<u8>>, FileError> {
        match folder.symlink_metadata(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::from_io(name, &error)),
            Ok(metadata) if !metadata.is_file() => Err(FileError::refused(name, "is no regular file")),
            Ok(_) => self.workspace.read_below(folder, name, Links::One).map(Some),
        }
    }

    /// Appends once: a note in the folder of the task says what the file was like after this very call.
    fn append(&self, folder: &Dir, name: &Path, content: &[u8], key: &str) -> Result<usize, FileError> {
        let _one_at_a_time = APPENDING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut whole = self.existing(folder, name)?.unwrap_or_default();
        let notes = self.workspace.open(self.task)?;
        let note_name = format!("{OWN_PREFIX}append-{key}");
        let note = self.existing(&notes, Path::new(&note_name))?;
        if note.is_some_and(|note| appended(&note, &whole)) {
            return Ok(whole.len());
        }
        whole.extend_from_slice(content);
        self.replace(&notes, Path::new(&note_name), note_of(&whole).as_bytes())?;
        self.replace(folder, name, &whole)
    }

    /// Puts `content` in the place of `name`, whole: a reader sees the old file or the new one.
    fn replace(&self, folder: &Dir, name: &Path, content: &[u8]) -> Result<usize, FileError> {
        if content.len() > self.workspace.max_bytes() {
            let reason = format!("would have {} bytes; at most {} allowed", content.len(), self.workspace.max_bytes());
            return Err(FileError::refused(name, &reason));
        }
        let temporary = format!("{OWN_PREFIX}{}", uuid::Uuid::new_v4().simple());
        let written = (|| {
            let mut file = new_file(folder, &temporary, access_of(folder)?)?;
            file.write_all(content)?;
            file.sync_all()?;
            folder.rename(&temporary, folder, name)
        })();
        if let Err(error) = written {
            // The write has failed already; a leftover is hidden from the tools and goes with the folder.
            folder.remove_file(&temporary).ok();
            return Err(FileError::from_io(name, &error));
        }
        Ok(content.len())
    }
}

/// What the note of an append says: length and checksum of the file after it.
fn note_of(whole: &[u8]) -> String {
    format!("{} {:x}", whole.len(), Sha256::digest(whole))
}

/// Whether `whole` starts with what `note` describes. Later appends leave that beginning as it is.
fn appended(note: &[u8], whole: &[u8]) -> bool {
    let note = String::from_utf8_lossy(note);
    let length = note.split(' ').next().and_then(|length| length.parse::<usize>().ok());
    length.and_then(|length| whole.get(..length)).is_some_and(|beginning| note_of(beginning) == note)
}
