//! The files of a shard that the engine does not look after itself: its closed log segments, the log of its ids, and the room on
//! the disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::EngineError;

/// Bytes that must be free on the disk besides what a write brings along: the engine's files grow in steps.
const SPACE_RESERVE: u64 = 32 << 20;

/// Removes all closed log segments but the last, which carries the number of the next operation. Oldest first, so
/// that the rest is contiguous wherever a crash interrupts it.
pub(super) fn prune_log(folder: &Path) -> io::Result<()> {
    let mut closed = closed_log_segments(folder)?;
    closed.sort();
    closed.pop();
    closed.into_iter().try_for_each(|(_, path)| fs::remove_file(path))
}

pub(super) fn closed_log_segments(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut closed = Vec::new();
    for entry in fs::read_dir(folder.join("wal"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let start = name.and_then(|name| name.strip_prefix("closed-")).and_then(|start| start.parse().ok());
        closed.extend(start.map(|start| (start, path)));
    }
    Ok(closed)
}

pub(super) fn id_log_bytes(folder: &Path) -> u64 {
    let Ok(segments) = fs::read_dir(folder.join("segments")) else { return 0 };
    segments
        .filter_map(Result::ok)
        .filter_map(|segment| fs::metadata(segment.path().join("mutable_id_tracker.mappings")).ok())
        .map(|meta| meta.len())
        .sum()
}

pub(super) fn check_space(folder: &Path, bytes: u64) -> Result<(), EngineError> {
    let Ok(stat) = rustix::fs::statvfs(folder) else { return Ok(()) };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free >= SPACE_RESERVE.saturating_add(bytes) {
        return Ok(());
    }
    Err(EngineError::Full(format!("{} MiB are free, {} MiB are needed", free >> 20, (SPACE_RESERVE + bytes) >> 20)))
}

pub(super) fn io_text(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
