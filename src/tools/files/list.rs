//! `list_files`.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use cap_std::fs::Dir;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::inputs::{blocking, object, parse};
use super::super::{Tool, ToolContext};
use super::read::fail;
use super::workspace::{FileError, OWN_PREFIX, Workspace, check_path, path_fault};
use crate::domain::tool::{Effect, ToolResult, ToolSpec};

/// Most entries of one answer.
const MAX_ENTRIES: usize = 1000;
/// Deepest folder that is listed.
const MAX_DEPTH: usize = 16;

/// The tool `list_files`.
#[derive(Debug)]
pub struct ListFiles {
    workspace: Workspace,
}

impl ListFiles {
    /// Lists the files in `workspace`.
    #[must_use]
    pub const fn new(workspace: Workspace) -> Self {
        Self { workspace }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    #[serde(default)]
    path: Option<String>,
}

#[async_trait]
impl Tool for ListFiles {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "list_files".into(),
            description: "Lists the files of this task's own folder, those in its folders too. Answers {\"files\": \
                          [{\"path\", \"kind\", \"bytes\"}], \"truncated\"}."
                .into(),
            parameters: object(
                &json!({ "path": { "type": "string", "description": "folder to list; the whole one when absent" } }),
                &[],
            ),
            output: object(
                &json!({
                    "files": { "type": "array", "items": object(
                        &json!({
                            "path": { "type": "string" },
                            "kind": { "type": "string", "enum": ["file", "folder", "other"] },
                            "bytes": { "type": "integer" },
                        }),
                        &["path", "kind", "bytes"],
                    )},
                    "truncated": { "type": "boolean", "description": "whether some are left out" },
                }),
                &["files", "truncated"],
            ),
            effect: Effect::Read,
            idempotent: true,
            untrusted: true,
        }
    }

    fn fault(&self, arguments: &Value) -> Option<String> {
        path_fault("list_files", arguments)
    }

    async fn call(&self, context: &ToolContext, arguments: Value) -> ToolResult {
        let Arguments { path } = parse(arguments)?;
        let (workspace, task) = (self.workspace.clone(), context.task_id);
        let outcome = blocking(move || {
            Ok(path.as_deref().map_or(Ok(Path::new("")), check_path).map_err(FileError::Refused).and_then(|path| {
                let folder = workspace.open(task)?;
                let folder = if path == Path::new("") { Ok(folder) } else { folder.open_dir(path) };
                let mut found = Vec::new();
                let truncated = folder
                    .and_then(|folder| collect(&folder, path, 0, &mut found))
                    .map_err(|error| FileError::from_io(path, &error))?;
                found.sort_by(|one, other| one["path"].as_str().cmp(&other["path"].as_str()));
                Ok(json!({ "files": found, "truncated": truncated }))
            }))
        });
        outcome.await?.map_err(|error| fail("list_files", context, error))
    }
}

/// Adds the entries of `folder` to `found`; `Ok(true)` when something was left out. Links are listed, never followed.
fn collect(folder: &Dir, path: &Path, depth: usize, found: &mut Vec<Value>) -> io::Result<bool> {
    let mut truncated = false;
    for entry in folder.entries()? {
        let entry = entry?;
        let name: PathBuf = entry.file_name().into();
        if name.to_string_lossy().starts_with(OWN_PREFIX) {
            continue;
        }
        if found.len() >= MAX_ENTRIES {
            return Ok(true);
        }
        let path = path.join(&name);
        let file_type = entry.file_type()?;
        let kind = match file_type {
            _ if file_type.is_file() => "file",
            _ if file_type.is_dir() => "folder",
            _ => "other",
        };
        let bytes = if file_type.is_file() { entry.metadata()?.len() } else { 0 };
        found.push(json!({ "path": path.display().to_string(), "kind": kind, "bytes": bytes }));
        if file_type.is_dir() {
            truncated |= depth >= MAX_DEPTH || collect(&entry.open_dir()?, &path, depth + 1, found)?;
        }
    }
    Ok(truncated)
}
