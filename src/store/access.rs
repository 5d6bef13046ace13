//! Who else may use what qron creates in a folder: nobody, or the group for which a person opened that folder.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Once;

/// The group may create files: replicas of several users share the folder.
const GROUP_WRITES: u32 = 0o020;
/// Bits of a mode beside those of access. A new folder inherits that for its group from the folder above, and a service
/// manager may forbid a process to set it.
const SPECIAL: u32 = 0o7000;

/// The log tells once that modes cannot be set.
static TELL: Once = Once::new();

/// Access to what is created in one folder. Users outside of the group never have any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    is_shared: bool,
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
        Self { is_shared: mode & GROUP_WRITES != 0 }
    }

    /// Mode of a new file.
    #[must_use]
    pub const fn file_mode(self) -> u32 {
        if self.is_shared { 0o660 } else { 0o600 }
    }

    /// Mode of a new folder, without the bit for its group: the system takes that from the folder above.
    #[must_use]
    pub const fn folder_mode(self) -> u32 {
        if self.is_shared { 0o770 } else { 0o700 }
    }

    /// Mode to set on a file or folder that has the mode `found` and shall grant `wanted`, with all other bits as they are;
    /// `None` when it grants that already.
    #[must_use]
    pub const fn missing(wanted: u32, found: u32) -> Option<u32> {
        if found & 0o777 == wanted { None } else { Some(found & SPECIAL | wanted) }
    }

    /// The outcome of setting the mode of `path`. Where the system does not allow it, the log warns once: what was created
    /// is of use to this process all the same.
    ///
    /// # Errors
    /// Any other failure.
    pub fn unless_forbidden(path: &Path, outcome: io::Result<()>) -> io::Result<()> {
        let Err(error) = outcome else { return Ok(()) };
        if !matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) {
            return Err(error);
        }
        TELL.call_once(|| {
            tracing::warn!(
                path = %path.display(),
                %error,
                "the system does not let qron set the modes of files: users of the group may have no access, or others may \
                 have some; check the file system, and RestrictSUIDSGID= of the systemd unit"
            );
        });
        Ok(())
    }

    /// Gives a file and the folder that it is in, both created by this process, their modes.
    pub(super) fn give(self, file: &Path) -> io::Result<()> {
        grant(file, self.file_mode())?;
        file.parent().map_or(Ok(()), |folder| grant(folder, self.folder_mode()))
    }
}

/// Makes `path` grant the access of `wanted`, where the system allows it.
fn grant(path: &Path, wanted: u32) -> io::Result<()> {
    let found = fs::metadata(path)?.permissions().mode();
    let Some(mode) = Access::missing(wanted, found) else { return Ok(()) };
    Access::unless_forbidden(path, fs::set_permissions(path, Permissions::from_mode(mode)))
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
            (0o42770, 0o660, 0o770),
            (0o42775, 0o660, 0o770),
            (0o41777, 0o660, 0o770),
        ] {
            let access = Access::of_mode(mode);
            assert_eq!((access.file_mode(), access.folder_mode()), (file, folder), "{mode:o}");
        }
    }

    #[test]
    fn a_mode_is_set_only_where_it_differs_and_keeps_its_other_bits() {
        for (wanted, found, missing) in [
            (0o770, 0o42770, None),
            (0o770, 0o40770, None),
            (0o700, 0o42700, None),
            (0o770, 0o42700, Some(0o2770)),
            (0o770, 0o40700, Some(0o770)),
            (0o700, 0o41755, Some(0o1700)),
            (0o660, 0o100_600, Some(0o660)),
        ] {
            assert_eq!(Access::missing(wanted, found), missing, "{wanted:o} {found:o}");
        }
    }

    #[test]
    fn a_mode_that_the_system_does_not_let_qron_set_fails_nothing() {
        let outcome = |code| Access::unless_forbidden(Path::new("x"), Err(io::Error::from_raw_os_error(code)));
        for code in [libc::EPERM, libc::EACCES, libc::ENOTSUP] {
            assert!(outcome(code).is_ok(), "{code}");
        }
        for code in [libc::EIO, libc::EROFS, libc::ENOENT] {
            assert_eq!(outcome(code).expect_err("told").raw_os_error(), Some(code));
        }
        assert!(Access::unless_forbidden(Path::new("x"), Ok(())).is_ok());
    }
}
