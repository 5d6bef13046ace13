//! Who this process is, and whose place it takes in its data folder.

use std::path::Path;

use uuid::Uuid;

use super::{AppError, file_error};
use crate::scheduler::Runner;

/// Name of the file in the data folder that holds the ids of its owners: the last one, and those whose tasks may not
/// have been taken over.
const FILE: &str = "replica";

/// An id that no other start of a process has: host, process, chance.
pub(super) fn fresh_id() -> String {
    let host = sysinfo::System::host_name().unwrap_or_else(|_| "host".to_owned());
    let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect();
    let chance = Uuid::new_v4().simple().to_string();
    format!("{host}-{}-{}", std::process::id(), &chance[..8])
}

/// Returns the tasks of earlier owners of `folder` at once: its lock is held here, so they are dead. Nobody waits for
/// their lease.
pub(super) async fn take_over(folder: &Path, id: &str, runner: &Runner) -> Result<(), AppError> {
    let path = folder.join(FILE);
    let earlier = match tokio::fs::read_to_string(&path).await {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(file_error(&path)(error)),
    };
    // Both are kept until the tasks are back, so that a crash in between leaves nobody's tasks behind.
    write(&path, &format!("{earlier}{id}\n")).await?;
    for owner in earlier.lines().filter(|owner| !owner.is_empty() && *owner != id) {
        match runner.rescue_now(owner).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(
                count,
                owner,
                "tasks that the previous process of this replica left running are back in the queue"
            ),
            Err(error) => {
                tracing::warn!(%error, owner, "tasks that the previous process of this replica left running are back in the queue once their lease has expired");
                return Ok(());
            }
        }
    }
    write(&path, &format!("{id}\n")).await
}

/// Replaces the file as a whole.
async fn write(path: &Path, text: &str) -> Result<(), AppError> {
    let draft = path.with_extension("new");
    tokio::fs::write(&draft, text).await.map_err(file_error(&draft))?;
    tokio::fs::rename(&draft, path).await.map_err(file_error(path))
}
