//! The folder for the data of the demo.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::console::{CliError, output};

/// A folder that is removed on drop, unless the user asked to keep it.
pub(super) struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    pub(super) fn open(keep: Option<&Path>) -> Result<Self, CliError> {
        let path = match keep {
            Some(path) => path.to_owned(),
            None => std::env::temp_dir().join(format!("qron-demo-{}", Uuid::new_v4().simple())),
        };
        // The data is for the user of the demo alone.
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|error| {
            CliError::Failed(format!("folder {} for the data of the demo cannot be created: {error}", path.display()))
        })?;
        Ok(Self { path, keep: keep.is_some() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            output::print_error(&format!(
                "folder {} of the demo cannot be removed: {error}; remove it yourself",
                self.path.display()
            ));
        }
    }
}
