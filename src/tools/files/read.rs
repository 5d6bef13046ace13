//! `read_file`.

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::inputs::{blocking, object, parse, refused};
use super::super::{Tool, ToolContext};
use super::path::{check_path, path_fault};
use super::workspace::{FileError, Workspace, missing};
use crate::domain::failure::Failure;
use crate::domain::id::TaskId;
use crate::domain::tool::{Effect, ToolResult, ToolSpec};

/// The tool `read_file`.
#[derive(Debug)]
pub struct ReadFile {
    workspace: Workspace,
}

impl ReadFile {
    /// Reads in `workspace`.
    #[must_use]
    pub const fn new(workspace: Workspace) -> Self {
        Self { workspace }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    path: String,
}

#[async_trait]
impl Tool for ReadFile {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "read_file".into(),
            description: format!(
                "Reads a file from this task's own folder. Answers {{\"content\", \"encoding\": \"utf-8\" or \"base64\", \
                 \"bytes\"}}.{}",
                self.workspace.opened().sentence(false)
            ),
            parameters: object(
                &json!({ "path": { "type": "string", "description": "path below the folder, e.g. \"data/in.csv\"" } }),
                &["path"],
            ),
            output: object(
                &json!({
                    "path": { "type": "string" },
                    "content": { "type": "string" },
                    "encoding": { "type": "string", "enum": ["utf-8", "base64"] },
                    "bytes": { "type": "integer" },
                }),
                &["path", "content", "encoding", "bytes"],
            ),
            effect: Effect::Read,
            idempotent: true,
            untrusted: true,
        }
    }

    fn fault(&self, arguments: &Value) -> Option<String> {
        path_fault("read_file", arguments)
    }

    async fn call(&self, context: &ToolContext, arguments: Value) -> ToolResult {
        let Arguments { path } = parse(arguments)?;
        let (workspace, task) = (self.workspace.clone(), context.task_id);
        let outcome = blocking(move || match read_whole(&workspace, task, &path) {
            Ok(bytes) => Ok(Ok(describe(&path, bytes))),
            Err(FileError::Missing(path)) => Ok(Err((workspace.opened().hint(&path), FileError::Missing(path)))),
            Err(error) => Ok(Err((String::new(), error))),
        });
        outcome.await?.map_err(|(hint, error)| match error {
            FileError::Missing(path) => {
                let (most, failure) = (self.workspace.max_bytes(), missing(&path));
                let way_out = "read it with read_artifact, or query it with query_table";
                let message = format!(
                    "{failure_message}; a file of the task with more than {most} bytes is an artifact alone: {way_out}{hint}",
                    failure_message = failure.message
                );
                Failure { message, ..failure }
            }
            error => fail("read_file", context, error),
        })
    }
}

/// The content of the file `path` of `task`.
pub(crate) fn read_whole(workspace: &Workspace, task: TaskId, path: &str) -> Result<Vec<u8>, FileError> {
    let path = check_path(path).map_err(FileError::Refused)?;
    workspace.read(&workspace.locate(task, path)?)
}

/// The failure for a file that is not there, with the folders that are open.
///
/// # Errors
/// When the folders cannot be looked at.
pub(crate) async fn missing_beside(workspace: &Workspace, path: &str) -> Result<Failure, Failure> {
    let (workspace, of_path) = (workspace.clone(), path.to_owned());
    let hint = blocking(move || Ok(workspace.opened().hint(&of_path))).await?;
    let failure = missing(path);
    Ok(Failure { message: failure.message + &hint, ..failure })
}

/// The failure that the model gets.
pub(crate) fn fail(tool: &str, context: &ToolContext, error: FileError) -> Failure {
    match error {
        FileError::Refused(reason) => refused(tool, context, reason),
        FileError::Missing(path) => missing(&path),
        FileError::Failed(failure) => failure,
    }
}

fn describe(path: &str, content: Vec<u8>) -> Value {
    let bytes = content.len();
    match String::from_utf8(content) {
        Ok(text) => json!({ "path": path, "content": text, "encoding": "utf-8", "bytes": bytes }),
        Err(error) => {
            let content = BASE64_STANDARD.encode(error.as_bytes());
            json!({ "path": path, "content": content, "encoding": "base64", "bytes": bytes })
        }
    }
}
