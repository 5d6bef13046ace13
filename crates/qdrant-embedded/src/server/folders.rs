//! Names of the folders of a data folder.

use uuid::Uuid;

/// Folder of the collections inside the data folder.
pub(crate) const COLLECTIONS: &str = "collections";
/// How the folder of a collection begins that is being removed.
pub(crate) const TRASH: &str = ".trash-";
/// How the folder of a shard begins, inside its collection's.
pub(crate) const DATA: &str = "data-";

/// A name for the folder of a new shard.
pub(crate) fn fresh_data_name() -> String {
    format!("{DATA}{}", Uuid::new_v4().simple())
}
