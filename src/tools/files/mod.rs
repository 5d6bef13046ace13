//! The file tools: read, write and list, each inside the folder of its own task, in those that the configuration opens, and
//! nowhere else.

mod first_use;
mod list;
mod opened;
mod path;
mod read;
mod workspace;
mod write;

pub use first_use::FirstUse;
pub use list::ListFiles;
pub use opened::OpenedFolder;
pub(crate) use path::path_fault;
pub use read::ReadFile;
pub(crate) use read::{fail, missing_beside, read_whole};
pub(crate) use workspace::FileError;
pub use workspace::Workspace;
pub use write::WriteFile;
