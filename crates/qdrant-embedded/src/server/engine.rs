//! What is particular to qdrant-edge 0.7: this file is what a newer engine replaces.
//!
//! - It writes a log of operations (WAL) but never reads it back, and a flush takes a few dozen writes. So what is
//!   acknowledged is in a [`Journal`] of ours first, one write for a group; a flush now and then makes a checkpoint, and
//!   what came after it is applied again when the shard is opened. The engine's log numbers the operations, so its tail
//!   must stay, but its closed segments are dead weight: they are removed whenever the shard is (re)opened.
//! - `flush` panics when it fails or runs twice at once: there is one writer, and panics are caught.
//! - After an I/O error a shard refuses every later operation: it is reopened from disk, as after a crash.
//! - `optimize` moves points between segments, during which readers may miss one, and keeps deletions in memory
//!   that a flush does not cover. It is never called: a shard is one appendable segment, searched exactly, and
//!   what deletions leave behind goes with [`Engine::copy_to`].
//! - A flush writes the parts of a shard one after the other, so a crash in its midst can leave an index ahead of the
//!   payload it was made from. The journal heals that: every point that was touched is written again, in the same order.
//!   What the journal does not hold, indexes made or dropped and the leavings of a failure, is under a mark meanwhile,
//!   and a shard that is found with it must be rebuilt: see [`Engine::is_torn`].
//! - It writes through memory maps of sparse files, where a full disk is a fatal signal instead of an error:
//!   [`Engine::check_space`] comes before every write.
//!
//! Knows nothing of gRPC, names or queues.

use std::fs;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use qdrant_edge::{
    CreateIndex, EdgeConfig, EdgeShard, FieldIndexOperations, OperationError, PayloadFieldSchema,
    PointInsertOperations, PointOperations, PointStructPersisted, ScrollRequest, UpdateOperation,
    VectorStructPersisted, WalOptions, WithPayloadInterface, WithVector,
};

use super::resolve::resolve;
use crate::journal::Journal;

mod files;

use files::{check_space, closed_log_segments, id_log_bytes, io_text, prune_log};

/// Size of one segment of the operation log in bytes; the file is sparse.
const LOG_SEGMENT: usize = 4 << 20;
/// Bytes that the id log of a live point takes.
const ID_ENTRY: u64 = 21;
/// An id log below this many bytes is not worth a rebuild.
const ID_LOG_SMALL: u64 = 256 << 10;
/// File in the folder of a shard that may hold what the journal does not repair.
const MARK: &str = "unclean";
/// Bytes of the journal after which a checkpoint is due.
const CHECKPOINT_BYTES: u64 = 4 << 20;
/// Points changed after which one is due: they are what takes time when the shard is opened after a crash.
const CHECKPOINT_POINTS: usize = 10_000;
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
    log: Mutex<Log>,
    /// Whether [`MARK`] must outlive this process: a flush failed, now or before.
    torn: AtomicBool,
}

/// What was applied since the last checkpoint.
struct Log {
    journal: Journal,
    /// Operations that the next commit makes durable, one after the other as CBOR.
    pending: Vec<u8>,
    /// About how many points were changed.
    points: usize,
}

impl Engine {
    /// Creates a shard in `folder`, which must not exist yet, and makes it durable.
    pub(crate) fn create(folder: &Path, config: EdgeConfig) -> Result<Self, EngineError> {
        fs::create_dir_all(folder).map_err(|error| EngineError::Broken(io_text(folder, &error)))?;
        check_space(folder, 0)?;
        let config = with_log_options(config);
        let shard = guarded(|| EdgeShard::new(folder, config.clone()))?.map_err(EngineError::Refused)?;
        let (journal, _) = open_journal(folder, None)?;
        let engine = Self::new(folder, config, shard, Log::new(journal), false);
        engine.checkpoint()?;
        Ok(engine)
    }

    /// Opens the shard in `folder` with all that was made durable in it.
    pub(crate) fn open(folder: &Path, config: EdgeConfig) -> Result<Self, EngineError> {
        let config = with_log_options(config);
        let torn = folder.join(MARK).exists();
        let (shard, log) = load(folder, &config, None)?;
        let is_behind = log.journal.bytes() > 0;
        let engine = Self::new(folder, config, shard, log, torn);
        if is_behind {
            engine.checkpoint()?;
        }
        Ok(engine)
    }

    fn new(folder: &Path, config: EdgeConfig, shard: EdgeShard, log: Log, torn: bool) -> Self {
        let (shard, log) = (RwLock::new(Ok(shard)), Mutex::new(log));
        Self { folder: folder.to_owned(), config, shard, log, torn: AtomicBool::new(torn) }
    }

    /// Whether indexes need not agree with payloads, because something was cut off that the journal does not repair. All
    /// points and payloads that were made durable are there, and [`Engine::copy_to`] mends the rest.
    pub(crate) fn is_torn(&self) -> bool {
        self.torn.load(Ordering::Relaxed)
    }

    /// Notes that this shard failed half-way.
    pub(crate) fn set_torn(&self) {
        self.torn.store(true, Ordering::Relaxed);
        if let Err(error) = self.mark() {
            tracing::warn!("{error:?}: the collection will not be rebuilt at the next start, though it should be");
        }
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

    /// Applies an operation in memory; [`Engine::commit`] makes it durable. For the one writer.
    pub(crate) fn apply(&self, operation: UpdateOperation) -> Result<(), EngineError> {
        if matches!(operation, UpdateOperation::FieldIndexOperation(_) | UpdateOperation::VectorNameOperation(_)) {
            return self.restructure(operation);
        }
        let guard = self.shared();
        let shard = guard.as_ref().map_err(|reason| EngineError::Absent(reason.clone()))?;
        let Some(operation) = guarded(|| resolve(shard, operation))?.map_err(EngineError::Refused)? else {
            return Ok(());
        };
        let mut log = self.log();
        let before = log.pending.len();
        let written = ciborium::into_writer(&operation, &mut log.pending);
        log.points += changed(&operation);
        let applied = match written {
            Ok(()) => update(shard, operation),
            Err(error) => Err(EngineError::Broken(error.to_string())),
        };
        // The engine may have carried out a part of a refused operation, and refuses it in the same way when the log is
        // replayed.
        if matches!(applied, Err(EngineError::Broken(_))) {
            log.pending.truncate(before);
        }
        applied
    }

    /// Makes or drops an index or a vector; durable on return, and so is everything before it.
    fn restructure(&self, operation: UpdateOperation) -> Result<(), EngineError> {
        self.mark()?;
        let applied = {
            let guard = self.shared();
            update(guard.as_ref().map_err(|reason| EngineError::Absent(reason.clone()))?, operation)
        };
        if !matches!(applied, Err(EngineError::Broken(_))) {
            self.checkpoint()?;
            self.unmark();
        }
        applied
    }

    /// Makes everything applied so far durable.
    pub(crate) fn commit(&self) -> Result<(), EngineError> {
        let mut log = self.log();
        if log.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut log.pending);
        log.journal.append(&pending).map_err(|error| EngineError::Broken(io_text(&self.folder, &error)))
    }

    /// Whether opening the shard after a crash would take longer than it should.
    pub(crate) fn is_checkpoint_due(&self) -> bool {
        let log = self.log();
        log.journal.bytes() > CHECKPOINT_BYTES || log.points > CHECKPOINT_POINTS
    }

    /// Writes everything applied so far to the files of the engine, so that the journal begins anew.
    pub(crate) fn checkpoint(&self) -> Result<(), EngineError> {
        let guard = self.shared();
        let shard = guard.as_ref().map_err(|reason| EngineError::Absent(reason.clone()))?;
        let mut log = self.log();
        guarded(|| shard.flush())?;
        log.pending.clear();
        log.points = 0;
        log.journal.clear().map_err(|error| EngineError::Broken(io_text(&self.folder, &error)))
    }

    /// Leaves the mark on disk, durably: a power loss must not take it and keep what comes after it.
    fn mark(&self) -> Result<(), EngineError> {
        let marked = fs::File::create(self.folder.join(MARK)).and_then(|_| fs::File::open(&self.folder)?.sync_all());
        marked.map_err(|error| EngineError::Broken(io_text(&self.folder, &error)))
    }

    fn unmark(&self) {
        if self.is_torn() {
            return;
        }
        if let Err(error) = fs::remove_file(self.folder.join(MARK)) {
            tracing::warn!("{}; it will be rebuilt at the next start", io_text(&self.folder, &error));
        }
    }

    /// Fails when `bytes` more might not fit on the disk.
    pub(crate) fn check_space(&self, bytes: u64) -> Result<(), EngineError> {
        check_space(&self.folder, bytes)
    }

    /// Forgets what was not committed and loads the shard from disk again. Waits for running reads. Makes no checkpoint: where
    /// no file can grow it would fail, and what is durable can be read all the same.
    pub(crate) fn reopen(&self) -> Result<(), EngineError> {
        let (mut guard, mut log) = (self.exclusive(), self.log());
        discard(&mut guard, "it is being reopened");
        match load(&self.folder, &self.config, Some(log.journal.bytes())) {
            Ok((shard, loaded)) => {
                (*guard, *log) = (Ok(shard), loaded);
                Ok(())
            }
            Err(error) => {
                let reason = error.text();
                *guard = Err(reason.clone());
                Err(EngineError::Absent(reason))
            }
        }
    }

    /// Whether the shard is loaded.
    pub(crate) fn is_open(&self) -> bool {
        self.shared().is_ok()
    }

    /// Closes the shard for good. Waits for running reads.
    pub(crate) fn close(&self) {
        if self.is_open()
            && let Err(error) = self.checkpoint()
        {
            tracing::warn!("{}: what is in the journal is read at the next start", error.text());
        }
        discard(&mut self.exclusive(), "it was closed");
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
            // Until it is whole nobody looks at the copy, so it needs no journal.
            target.write(UpdateOperation::PointOperation(insert))?;
            if page % COPY_FLUSH == 0 {
                target.checkpoint()?;
            }
            if next.is_none() {
                break;
            }
            offset = next;
        }
        target.checkpoint()?;
        Ok(target)
    }

    fn write(&self, operation: UpdateOperation) -> Result<(), EngineError> {
        let guard = self.shared();
        update(guard.as_ref().map_err(|reason| EngineError::Absent(reason.clone()))?, operation)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> RwLockReadGuard<'_, Result<EdgeShard, String>> {
        self.shard.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, Result<EdgeShard, String>> {
        self.shard.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    const fn new(journal: Journal) -> Self {
        Self { journal, pending: Vec::new(), points: 0 }
    }
}

impl EngineError {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Refused(error) => error.to_string(),
            Self::Broken(reason) | Self::Absent(reason) | Self::Full(reason) => reason.clone(),
        }
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

/// Loads a shard as its last checkpoint left it and applies again what was committed since. `committed` is how many bytes of
/// the journal that is, where it is known: what is behind them was refused.
fn load(folder: &Path, config: &EdgeConfig, committed: Option<u64>) -> Result<(EdgeShard, Log), EngineError> {
    prune_log(folder).map_err(|error| EngineError::Broken(io_text(folder, &error)))?;
    let shard = guarded(|| EdgeShard::load(folder, Some(config.clone())))?
        .map_err(|error| EngineError::Broken(error.to_string()))?;
    let (journal, records) = open_journal(folder, committed)?;
    let mut log = Log::new(journal);
    for record in &records {
        log.points += replay(&shard, record)?;
    }
    Ok((shard, log))
}

fn open_journal(folder: &Path, committed: Option<u64>) -> Result<(Journal, Vec<Vec<u8>>), EngineError> {
    Journal::open(folder, committed).map_err(|error| EngineError::Broken(io_text(folder, &error)))
}

/// Applies what `record` holds; gives back about how many points that changes.
fn replay(shard: &EdgeShard, mut record: &[u8]) -> Result<usize, EngineError> {
    let mut points = 0;
    while !record.is_empty() {
        let operation: UpdateOperation = ciborium::from_reader(&mut record)
            .map_err(|error| EngineError::Broken(format!("the journal cannot be read: {error}")))?;
        points += changed(&operation);
        match update(shard, operation) {
            // As it was when it was written.
            Ok(()) | Err(EngineError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(points)
}

/// About how many points an operation changes.
fn changed(operation: &UpdateOperation) -> usize {
    operation.point_ids().map_or(1, |ids| ids.len())
}

fn update(shard: &EdgeShard, operation: UpdateOperation) -> Result<(), EngineError> {
    guarded(|| shard.update(operation))?.map_err(|error| match error {
        OperationError::ServiceError { .. }
        | OperationError::InconsistentStorage { .. }
        | OperationError::OutOfMemory { .. } => EngineError::Broken(error.to_string()),
        refused => EngineError::Refused(refused),
    })
}
