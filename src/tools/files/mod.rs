//! The file tools: read, write and list, each inside the folder of its own task and nowhere else.

mod first_use;
mod list;
mod read;
mod workspace;
mod write;

pub use first_use::FirstUse;
pub use list::ListFiles;
pub use read::ReadFile;
pub(crate) use read::{fail, read_whole};
pub use workspace::Workspace;
pub(crate) use workspace::{FileError, path_fault};
pub use write::WriteFile;
