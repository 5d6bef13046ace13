//! Work on large texts, which must not hold up the other tasks of its thread.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Bytes of a text from which on the other tasks go on meanwhile on another thread: reading a hostile one of the largest
/// size takes some 100 ms.
pub const LARGE_BYTES: usize = 64 * 1024;

/// Does `work` on a text of `bytes` bytes.
pub fn beside_other_work<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let has_threads = Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if has_threads && bytes > LARGE_BYTES { tokio::task::block_in_place(work) } else { work() }
}
