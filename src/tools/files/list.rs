//! `list_files`.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use cap_std::fs::Dir;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::inputs::{blocking, object, parse};
use super::super::{Tool, ToolContext};
use super::path::{check_path, path_fault};
use super::read::fail;
use super::workspace::{FileError, OWN_PREFIX, Workspace};
use crate::domain::id::TaskId;
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
            description: format!(
                "Lists the files of this task's own folder, those in its folders too. Answers {{\"files\": [{{\"path\", \
                 \"kind\", \"bytes\"}}], \"truncated\"}}.{}",
                self.workspace.opened().sentence(false)
            ),
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
            let path = path.as_deref().map_or(Ok(Path::new("")), check_path).map_err(FileError::Refused);
            Ok(path.and_then(|path| files(&workspace, task, path)))
        });
        outcome.await?.map_err(|error| fail("list_files", context, error))
    }
}

/// What is in the folder `path` of `task`. Beside its own folder stand those that the configuration opens, each as one entry.
fn files(workspace: &Workspace, task: TaskId, path: &Path) -> Result<Value, FileError> {
    let place = workspace.locate(task, path)?;
    let mut found = Vec::new();
    if path == Path::new("") {
        let opened = workspace.opened().names();
        found.extend(opened.map(|name| json!({ "path": name, "kind": "folder", "bytes": 0 })));
    }
    let opened = if place.path == Path::new("") { Ok(None) } else { place.folder.open_dir(place.path).map(Some) };
    let listed = opened.and_then(|below| collect(below.as_ref().unwrap_or(&place.folder), path, 0, &mut found));
    let truncated = listed.map_err(|error| place.explain(FileError::from_io(place.path, &error)))?;
    found.sort_by(|one, other| one["path"].as_str().cmp(&other["path"].as_str()));
    Ok(json!({ "files": found, "truncated": truncated }))
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
