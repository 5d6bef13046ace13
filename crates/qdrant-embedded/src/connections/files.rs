//! The limit on open files of this process, and the share of it that each listener may use.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit that this process sets at most: far more than it needs, and little enough that starting a child process stays
/// fast on systems without a limit.
const TARGET: u64 = 65_536;
/// Below this many open files a warning is logged at start.
const COMFORTABLE: u64 = 1_024;
/// One part in this many of the open files is for the connections of one listener. There are two listeners, so that half of the
/// files stay for the store's segments, the journal, calls of models and tools, and logs.
const SHARE: u64 = 4;
/// Connections of one listener at least, however few files there are, and at most, however many.
const CONNECTIONS: (u64, u64) = (16, 4_096);

/// How many files this process may have open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLimit(u64);

impl FileLimit {
    /// Raises the soft limit to the hard one, as far as that is of use, and returns what holds then. Calling it again
    /// changes nothing.
    #[must_use]
    pub fn raise() -> Self {
        let now = getrlimit(Resource::Nofile);
        let soft = now.current.unwrap_or(TARGET);
        let target = now.maximum.unwrap_or(TARGET).min(TARGET);
        if soft >= target {
            return Self(soft);
        }
        let set = |files| setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum: now.maximum });
        match highest(soft, target, set) {
            Ok(files) => Self(files),
            Err(error) => {
                tracing::warn!(%error, soft, target, "the limit on open files cannot be raised: qron goes on with the lower one");
                Self(soft)
            }
        }
    }

    /// Logs the limit, and what to do about it when it is low.
    pub fn log(self) {
        let Self(files) = self;
        if files < COMFORTABLE {
            tracing::warn!(
                files,
                connections = self.connections(),
                "the limit on open files is low: raise it (ulimit -n, LimitNOFILE=, nofile) to {COMFORTABLE} or more"
            );
        } else {
            tracing::debug!(files, connections = self.connections(), "limit on open files");
        }
    }

    /// The number of files.
    #[must_use]
    pub const fn files(self) -> u64 {
        self.0
    }

    /// Connections that each listener may hold at a time.
    #[must_use]
    pub fn connections(self) -> usize {
        let (least, most) = CONNECTIONS;
        usize::try_from((self.0 / SHARE).clamp(least, most)).unwrap_or(usize::MAX)
    }
}

/// Sets `target`, or the first of its halves that the system takes and that is above `soft`, and returns what it set. A system
/// may allow less than its hard limit says: macOS has another limit for each process.
fn highest(soft: u64, target: u64, set: impl Fn(u64) -> Result<(), Errno>) -> Result<u64, Errno> {
    let mut files = target;
    loop {
        match set(files) {
            Ok(()) => return Ok(files),
            Err(Errno::INVAL | Errno::PERM) if files / 2 > soft => files /= 2,
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_listeners_leave_half_of_the_files() {
        for (files, connections) in [(0, 16), (64, 16), (256, 64), (1_024, 256), (65_536, 4_096), (u64::MAX, 4_096)] {
            assert_eq!(FileLimit(files).connections(), connections, "{files}");
        }
    }

    #[test]
    fn a_target_that_the_system_refuses_is_halved_down_to_the_soft_limit() {
        let allows = |most: u64, refusal: Errno| move |files| if files <= most { Ok(()) } else { Err(refusal) };
        for refusal in [Errno::INVAL, Errno::PERM] {
            assert_eq!(highest(256, 65_536, allows(65_536, refusal)), Ok(65_536));
            assert_eq!(highest(256, 65_536, allows(24_576, refusal)), Ok(16_384));
            assert_eq!(highest(256, 65_536, allows(600, refusal)), Ok(512));
            assert_eq!(highest(256, 65_536, allows(256, refusal)), Err(refusal), "the present limit stays");
        }
        assert_eq!(highest(256, 65_536, allows(1_024, Errno::FAULT)), Err(Errno::FAULT));
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let raised = FileLimit::raise();
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.current, Some(raised.0));
        assert!(raised.0 >= now.maximum.unwrap_or(TARGET).min(TARGET));
        assert_eq!(FileLimit::raise(), raised);
    }
}
