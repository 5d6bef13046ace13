//! What is particular to qdrant-edge 0.7: this file is what a newer engine replaces.
//!
//! - It writes a log of operations (WAL) but never reads it back: only a flush makes an operation durable, so who
//!   writes must flush before acknowledging. The log's index numbers the operations, so its tail must stay, but
//!   its closed segments are dead weight: they are removed whenever the shard is (re)opened.
//! - `flush` panics when it fails or runs twice at once: there is one writer, and panics are caught.
//! - After an I/O error a shard refuses every later operation: it is reopened from disk, as after a crash.
//! - `optimize` moves points between segments, during which readers may miss one, and keeps deletions in memory
//!   that a flush does not cover. It is never called: a shard is one appendable segment, searched exactly, and
//!   what deletions leave behind goes with [`Engine::copy_to`].
//! - A flush writes the parts of a shard one after the other, so a crash in its midst can leave an index ahead of the
//!   payload it was made from. A shard carries a mark from its first write until it is closed well, and one that is
//!   found with it must be rebuilt: see [`Engine::is_torn`].
//! - It writes through memory maps of sparse files, where a full disk is a fatal signal instead of an error:
//!   [`Engine::check_space`] comes before every write.
//!
//! Knows nothing of gRPC, names or queues.

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use qdrant_edge::{
    CreateIndex, EdgeConfig, EdgeShard, FieldIndexOperations, OperationError, PayloadFieldSchema,
    PointInsertOperations, PointOperations, PointStructPersisted, ScrollRequest, UpdateOperation,
    VectorStructPersisted, WalOptions, WithPayloadInterface, WithVector,
};

/// Size of one segment of the operation log in bytes; the file is sparse.
const LOG_SEGMENT: usize = 4 << 20;
/// Bytes that must be free on the disk besides what a write brings along: the engine's files grow in steps.
const SPACE_RESERVE: u64 = 32 << 20;
/// Bytes that the id log of a live point takes.
const ID_ENTRY: u64 = 21;
/// An id log below this many bytes is not worth a rebuild.
const ID_LOG_SMALL: u64 = 256 << 10;
/// File in the folder of a shard that has been written to and not been closed well.
const MARK: &str = "unclean";
/// Points per page when a shard is copied.
const COPY_PAGE: usize = 1000;
/// Pages between flushes when a shard is copied: what is not flushed is held in memory.
const COPY_FLUSH: usize = 20;

/// Why the engine did not do what it was asked.
#[derive(Debug)]
pub(crate) enum EngineError {
    /// The operation is at fault; the shard is as good as before.
    Refused(OperationError),
    /// The shard is at fault: nothing since the last flush is certain and it must be reopened.
    Broken(String),
    /// There is no shard at the moment: reopening it failed, or it was closed.
    Absent(String),
    /// The disk is too full to try.
    Full(String),
}

/// One shard on disk. Reads may run at any time and in any number, writes only one at a time.
pub(crate) struct Engine {
    folder: PathBuf,
    config: EdgeConfig,
    shard: RwLock<Result<EdgeShard, String>>,
    /// Whether [`MARK`] is on disk.
    marked: AtomicBool,
    /// Whether [`MARK`] must outlive this process: a flush was cut off, now or before.
    torn: AtomicBool,
}

impl Engine {
    /// Creates a shard in `folder`, which must not exist yet, and makes it durable.
    pub(crate) fn create(folder: &Path, config: EdgeConfig) -> Result<Self, EngineError> {
        fs::create_dir_all(folder).map_err(|error| EngineError::Broken(io_text(folder, &error)))?;
        check_space(folder, 0)?;
        let config = with_log_options(config);
        let shard = guarded(|| EdgeShard::new(folder, config.clone()))?.map_err(EngineError::Refused)?;
        let engine = Self::new(folder, config, shard, false);
        engine.flush()?;
        Ok(engine)
    }

    /// Opens the shard in `folder` as the last flush left it.
    pub(crate) fn open(folder: &Path, config: EdgeConfig) -> Result<Self, EngineError> {
        let config = with_log_options(config);
        let torn = folder.join(MARK).exists();
        let shard = load(folder, &config).map_err(EngineError::Broken)?;
        Ok(Self::new(folder, config, shard, torn))
    }

    fn new(folder: &Path, config: EdgeConfig, shard: EdgeShard, torn: bool) -> Self {
        let (marked, torn) = (AtomicBool::new(torn), AtomicBool::new(torn));
        Self { folder: folder.to_owned(), config, shard: RwLock::new(Ok(shard)), marked, torn }
    }

    /// Whether a flush of this shard may have been cut off half-way: then its indexes need not agree with its
    /// payloads, while all points and payloads of every finished flush are there. [`Engine::copy_to`] mends it.
    pub(crate) fn is_torn(&self) -> bool {
        self.torn.load(Ordering::Relaxed)
    }

    /// Notes that a flush of this shard was cut off.
    pub(crate) fn set_torn(&self) {
        self.torn.store(true, Ordering::Relaxed);
    }

    /// The vectors and options the shard was made with.
    pub(crate) fn config(&self) -> &EdgeConfig {
        &self.config
    }

    /// Runs a read. Blocks the thread: call it where blocking is allowed.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&EdgeShard) -> Result<T, OperationError>) -> Result<T, EngineError> {
        let guard = self.shared();
        let shard = guard.as_ref().map_err(|reason| EngineError::Absent(reason.clone()))?;
        guarded(|| read(shard))?.map_err(EngineError::Refused)
    }

    /// Applies an operation in memory; [`Engine::flush`] makes it durable.
    pub(crate) fn apply(&self, operation: UpdateOperation) -> Result<(), EngineError> {
        self.mark()?;
        let guard = self.shared();
        let shard = guard.as_ref().map_err(|reason| EngineError::Absent(reason.clone()))?;
        guarded(|| shard.update(operation))?.map_err(|error| match error {
            OperationError::ServiceError { .. }
            | OperationError::InconsistentStorage { .. }
            | OperationError::OutOfMemory { .. } => EngineError::Broken(error.to_string()),
            refused => EngineError::Refused(refused),
        })
    }

    /// Makes everything applied so far durable.
    pub(crate) fn flush(&self) -> Result<(), EngineError> {
        let guard = self.shared();
        let shard = guard.as_ref().map_err(|reason| EngineError::Absent(reason.clone()))?;
        guarded(|| shard.flush())
    }

    /// Leaves the mark on disk before the first write, durably: a power loss must not take it and keep the write.
    fn mark(&self) -> Result<(), EngineError> {
        if self.marked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let marked = fs::File::create(self.folder.join(MARK)).and_then(|_| fs::File::open(&self.folder)?.sync_all());
        marked.map_err(|error| EngineError::Broken(io_text(&self.folder, &error)))?;
        self.marked.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Fails when `bytes` more might not fit on the disk.
    pub(crate) fn check_space(&self, bytes: u64) -> Result<(), EngineError> {
        check_space(&self.folder, bytes)
    }

    /// Forgets what was not flushed and loads the shard from disk again. Waits for running reads.
    pub(crate) fn reopen(&self) -> Result<(), EngineError> {
        let mut guard = self.exclusive();
        discard(&mut guard, "it is being reopened");
        match load(&self.folder, &self.config) {
            Ok(shard) => {
                *guard = Ok(shard);
                Ok(())
            }
            Err(reason) => {
                *guard = Err(reason.clone());
                Err(EngineError::Absent(reason))
            }
        }
    }

    /// Whether the shard is loaded.
    pub(crate) fn is_open(&self) -> bool {
        self.shared().is_ok()
    }

    /// Closes the shard for good, flushing it. Waits for running reads.
    pub(crate) fn close(&self) {
        let whole = self.flush().is_ok() && !self.is_torn();
        discard(&mut self.exclusive(), "it was closed");
        if whole
            && self.marked.swap(false, Ordering::Relaxed)
            && let Err(error) = fs::remove_file(self.folder.join(MARK))
        {
            tracing::warn!("{}; it will be rebuilt at the next start", io_text(&self.folder, &error));
        }
    }

    /// Bytes of the operation log that a [`Engine::reopen`] would free.
    pub(crate) fn dead_log_bytes(&self) -> u64 {
        let closed = closed_log_segments(&self.folder).unwrap_or_default();
        closed.iter().filter_map(|(_, path)| fs::metadata(path).ok()).map(|meta| meta.len()).sum()
    }

    /// Whether most of the shard is what deleted points left behind.
    pub(crate) fn is_wasteful(&self) -> bool {
        let live = self.read(|shard| Ok(shard.info().points_count)).unwrap_or(usize::MAX) as u64;
        let log = id_log_bytes(&self.folder);
        log > ID_LOG_SMALL && log / ID_ENTRY > live.saturating_mul(4)
    }

    /// Writes all live points and indexes into a new shard in `folder`, page by page, and flushes it.
    pub(crate) fn copy_to(&self, folder: &Path) -> Result<Self, EngineError> {
        let target = Self::create(folder, self.config.clone())?;
        for (field, info) in self.read(|shard| Ok(shard.info().payload_schema))? {
            let schema =
                info.params.map_or(PayloadFieldSchema::FieldType(info.data_type), PayloadFieldSchema::FieldParams);
            let index = CreateIndex { field_name: field, field_schema: Some(schema) };
            target.apply(UpdateOperation::FieldIndexOperation(FieldIndexOperations::CreateIndex(index)))?;
        }
        let mut offset = None;
        for page in 1.. {
            let request = ScrollRequest {
                offset,
                limit: Some(COPY_PAGE),
                filter: None,
                with_payload: Some(WithPayloadInterface::Bool(true)),
                with_vector: WithVector::Bool(true),
                order_by: None,
            };
            let (records, next) = self.read(|shard| shard.scroll(request))?;
            let points = records.into_iter().map(|record| PointStructPersisted {
                id: record.id,
                vector: record.vector.map_or_else(|| VectorStructPersisted::Named([].into()), Into::into),
                payload: record.payload,
            });
            let insert = PointOperations::UpsertPoints(PointInsertOperations::PointsList(points.collect()));
            target.check_space(0)?;
            target.apply(UpdateOperation::PointOperation(insert))?;
            if page % COPY_FLUSH == 0 {
                target.flush()?;
            }
            if next.is_none() {
                break;
            }
            offset = next;
        }
        target.flush()?;
        Ok(target)
    }

    fn shared(&self) -> RwLockReadGuard<'_, Result<EdgeShard, String>> {
        self.shard.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, Result<EdgeShard, String>> {
        self.shard.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

fn with_log_options(config: EdgeConfig) -> EdgeConfig {
    let options = WalOptions { segment_capacity: LOG_SEGMENT, segment_queue_len: 0, retain_closed: NonZeroUsize::MIN };
    EdgeConfig { wal_options: Some(options), ..config }
}

/// Runs engine code, which reports some failures by panicking.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        EngineError::Broken(text.unwrap_or("the engine panicked").to_owned())
    })
}

/// Drops the shard, whose destructor flushes and therefore may panic; what was acknowledged is on disk already.
fn discard(shard: &mut Result<EdgeShard, String>, reason: &str) {
    let old = std::mem::replace(shard, Err(reason.to_owned()));
    if let Err(EngineError::Broken(reason)) = guarded(|| drop(old)) {
        tracing::debug!(reason, "closing a shard failed");
    }
}

fn load(folder: &Path, config: &EdgeConfig) -> Result<EdgeShard, String> {
    prune_log(folder).map_err(|error| io_text(folder, &error))?;
    match guarded(|| EdgeShard::load(folder, Some(config.clone()))) {
        Ok(Ok(shard)) => Ok(shard),
        Ok(Err(error)) => Err(error.to_string()),
        Err(EngineError::Broken(reason)) => Err(reason),
        Err(_) => Err("the engine failed".to_owned()),
    }
}

/// Removes all closed log segments but the last, which carries the number of the next operation. Oldest first, so
/// that the rest is contiguous wherever a crash interrupts it.
fn prune_log(folder: &Path) -> io::Result<()> {
    let mut closed = closed_log_segments(folder)?;
    closed.sort();
    closed.pop();
    closed.into_iter().try_for_each(|(_, path)| fs::remove_file(path))
}

fn closed_log_segments(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut closed = Vec::new();
    for entry in fs::read_dir(folder.join("wal"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let start = name.and_then(|name| name.strip_prefix("closed-")).and_then(|start| start.parse().ok());
        closed.extend(start.map(|start| (start, path)));
    }
    Ok(closed)
}

fn id_log_bytes(folder: &Path) -> u64 {
    let Ok(segments) = fs::read_dir(folder.join("segments")) else { return 0 };
    segments
        .filter_map(Result::ok)
        .filter_map(|segment| fs::metadata(segment.path().join("mutable_id_tracker.mappings")).ok())
        .map(|meta| meta.len())
        .sum()
}

fn check_space(folder: &Path, bytes: u64) -> Result<(), EngineError> {
    let Ok(stat) = rustix::fs::statvfs(folder) else { return Ok(()) };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free >= SPACE_RESERVE.saturating_add(bytes) {
        return Ok(());
    }
    Err(EngineError::Full(format!("{} MiB are free, {} MiB are needed", free >> 20, (SPACE_RESERVE + bytes) >> 20)))
}

fn io_text(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
