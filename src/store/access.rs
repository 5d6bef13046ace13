//! Who else may use what qron creates in a folder: nobody, or the group for which a person opened that folder.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

/// The group may create files: replicas of several users share the folder.
const GROUP_WRITES: u32 = 0o020;
/// New files belong to the group of the folder.
const SET_GROUP: u32 = 0o2000;

/// Access to what is created in one folder. Users outside of the group never have any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    is_shared: bool,
    set_group: u32,
}

impl Access {
    /// Access that `folder` grants. It is created, for this user alone, when it does not exist.
    ///
    /// # Errors
    /// When it cannot be created or looked at.
    pub fn within(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self::of_mode(fs::metadata(folder)?.permissions().mode()))
    }

    /// Access that a folder of `mode` grants.
    #[must_use]
    pub const fn of_mode(mode: u32) -> Self {
        Self { is_shared: mode & GROUP_WRITES != 0, set_group: mode & SET_GROUP }
    }

    /// Mode of a new file.
    #[must_use]
    pub const fn file_mode(self) -> u32 {
        if self.is_shared { 0o660 } else { 0o600 }
    }

    /// Mode of a new folder.
    #[must_use]
    pub const fn folder_mode(self) -> u32 {
        if self.is_shared { 0o770 | self.set_group } else { 0o700 }
    }

    /// Gives a file and the folder that it is in, both created by this process, their modes.
    pub(super) fn give(self, file: &Path) -> io::Result<()> {
        fs::set_permissions(file, Permissions::from_mode(self.file_mode()))?;
        let Some(folder) = file.parent() else { return Ok(()) };
        match fs::set_permissions(folder, Permissions::from_mode(self.folder_mode())) {
            // A replica of another user created it, and gave it its mode.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            given => given,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_group_that_may_write_in_the_folder_may_use_what_is_in_it() {
        for (mode, file, folder) in [
            (0o40700, 0o600, 0o700),
            (0o40755, 0o600, 0o700),
            (0o40750, 0o600, 0o700),
            (0o40770, 0o660, 0o770),
            (0o42770, 0o660, 0o2770),
            (0o42775, 0o660, 0o2770),
            (0o41777, 0o660, 0o770),
        ] {
            let access = Access::of_mode(mode);
            assert_eq!((access.file_mode(), access.folder_mode()), (file, folder), "{mode:o}");
        }
    }
}
