//! Where the demo keeps its data.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::cli::{CliError, output};

/// A folder that is removed at the end, unless it shall be kept.
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
        // Other users of this host have no business in it.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|error| CliError::Failed(format!("folder {} cannot be made: {error}", path.display())))?;
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
            output::complain(&format!("folder {} cannot be removed: {error}", self.path.display()));
        }
    }
}
