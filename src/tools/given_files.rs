//! Files that came with a task, in its folder: the file tools find them where they find what the task writes.

use super::Toolbox;
use super::inputs::{blocking, store_failure};
use crate::domain::failure::Failure;
use crate::domain::files::{TaskFile, name_fault};
use crate::domain::id::TaskId;

impl Toolbox {
    /// Writes those of `files` into the folder of `task` on this replica that are not there. A file larger than the file tools
    /// read is left out: it is an artifact alone, which `query_table` and `read_artifact` read.
    ///
    /// # Errors
    /// When a file is gone, or cannot be written.
    pub async fn place_files(&self, task: TaskId, files: &[TaskFile]) -> Result<(), Failure> {
        for file in files {
            // Another client may have written any name into the context.
            let is_readable = usize::try_from(file.bytes).is_ok_and(|bytes| bytes <= self.workspace().max_bytes());
            if !is_readable || name_fault(&file.name).is_some() {
                continue;
            }
            let (workspace, name) = (self.workspace().clone(), file.name.clone());
            if blocking(move || workspace.has(task, &name)).await? {
                continue;
            }
            let content = self.file(task, &file.name).await?;
            let (workspace, name) = (self.workspace().clone(), file.name.clone());
            blocking(move || workspace.place(task, &name, &content)).await?;
        }
        Ok(())
    }

    /// The content of a file that came with `task`.
    pub(super) async fn file(&self, task: TaskId, name: &str) -> Result<Vec<u8>, Failure> {
        let found = self.store().artifact(task, name).await.map_err(|error| store_failure(&error))?;
        found.map(|(_, content)| content).ok_or_else(|| {
            Failure::invalid(format!(
                "the file {name:?} of the task is no longer there (retention.artifacts_days): add the task again with it"
            ))
        })
    }
}
