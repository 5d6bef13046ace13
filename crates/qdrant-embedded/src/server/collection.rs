//! One collection: its shard, its description and its write queue.
//!
//! Group commit: whoever finds the queue idle becomes its writer, takes all that waits, applies it, makes it durable in
//! one write and answers everyone; what arrives meanwhile makes the next group. A lone write therefore waits for nobody, and an
//! idle collection has no thread. Knows nothing of gRPC or protobuf.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use qdrant_edge::{EdgeConfig, EdgeShard, OperationError, UpdateOperation};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::engine::{Engine, EngineError};
use super::error::Fault;
use super::meta::Meta;

/// Writes that may wait in the queue; more wait in their callers.
const QUEUE_LIMIT: usize = 4096;
/// Writes that are made durable together.
const GROUP_LIMIT: usize = 1024;
/// Bytes after which a group is full, so that a flood of big writes is acknowledged in steps.
const GROUP_BYTES: u64 = 32 << 20;
/// Groups between looks at the size of the operation log.
const LOG_CHECK: u64 = 16;
/// Bytes of dead log that are removed when no write waits: reopening takes a moment.
const LOG_WHEN_IDLE: u64 = 64 << 20;
/// Bytes of dead log that are removed even so.
const LOG_ALWAYS: u64 = 256 << 20;

/// Operations that are applied in order; the first that fails ends them, and what was applied before stays.
pub(crate) struct Change {
    pub(crate) operations: Vec<UpdateOperation>,
    /// About how many bytes they add to the disk.
    pub(crate) bytes: u64,
}

struct Write {
    change: Change,
    /// Who waits until it is durable; nobody when the client does not.
    done: Option<oneshot::Sender<Result<(), Fault>>>,
    _room: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Queue {
    writes: VecDeque<Write>,
    busy: bool,
    /// What callers are told once the collection is closed.
    closed: Option<Fault>,
}

/// A collection that is loaded.
pub(crate) struct Collection {
    name: String,
    folder: PathBuf,
    engine: Engine,
    meta: Mutex<Meta>,
    queue: Mutex<Queue>,
    idle: Condvar,
    room: Arc<Semaphore>,
    operations: AtomicU64,
    groups: AtomicU64,
}

impl Collection {
    pub(crate) fn new(name: String, folder: PathBuf, engine: Engine, meta: Meta) -> Self {
        Self {
            name,
            folder,
            engine,
            meta: Mutex::new(meta),
            queue: Mutex::default(),
            idle: Condvar::new(),
            room: Arc::new(Semaphore::new(QUEUE_LIMIT)),
            operations: AtomicU64::new(0),
            groups: AtomicU64::new(0),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn config(&self) -> &EdgeConfig {
        self.engine.config()
    }

    pub(crate) fn metadata(&self) -> serde_json::Map<String, serde_json::Value> {
        unpoisoned(&self.meta).metadata.clone()
    }

    /// Merges `patch` into the metadata, durably; null removes a key.
    pub(crate) fn update_metadata(&self, patch: serde_json::Map<String, serde_json::Value>) -> Result<(), Fault> {
        let mut meta = unpoisoned(&self.meta);
        let mut changed = meta.clone();
        for (key, value) in patch {
            if value.is_null() {
                changed.metadata.remove(&key);
            } else {
                changed.metadata.insert(key, value);
            }
        }
        changed.write(&self.folder).map_err(|error| self.unwritable(&error.to_string()))?;
        *meta = changed;
        Ok(())
    }

    /// Runs a read on a thread that may block.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&EdgeShard) -> Result<T, OperationError> + Send + 'static,
    ) -> Result<T, Fault> {
        let collection = Arc::clone(self);
        let result = tokio::task::spawn_blocking(move || collection.engine.read(read)).await;
        match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.fault(error)),
            Err(error) => Err(Fault::Internal(format!("the read was cut off: {error}"))),
        }
    }

    /// Queues a change and returns its number; with `wait`, only once it is durable.
    pub(crate) async fn write(self: &Arc<Self>, change: Change, wait: bool) -> Result<u64, Fault> {
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| Fault::no_collection(&self.name))?;
        let (done, result) = oneshot::channel();
        let number = self.operations.fetch_add(1, Ordering::Relaxed);
        let start = {
            let mut queue = unpoisoned(&self.queue);
            if let Some(fault) = &queue.closed {
                return Err(fault.clone());
            }
            queue.writes.push_back(Write { change, done: wait.then_some(done), _room: room });
            !std::mem::replace(&mut queue.busy, true)
        };
        if start {
            let collection = Arc::clone(self);
            tokio::task::spawn_blocking(move || collection.drain());
        }
        if wait {
            result.await.map_err(|_| self.unwritable("the writer failed"))??;
        }
        Ok(number)
    }

    /// Answers everyone with `fault` from now on, finishes the queued writes and closes the shard. Blocks.
    pub(crate) fn close(&self, fault: Fault) {
        let mut queue = unpoisoned(&self.queue);
        queue.closed = Some(fault);
        while queue.busy {
            queue = self.idle.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        drop(queue);
        self.engine.close();
    }

    fn drain(&self) {
        loop {
            let group = {
                let mut queue = unpoisoned(&self.queue);
                if queue.writes.is_empty() {
                    queue.busy = false;
                    self.idle.notify_all();
                    return;
                }
                next_group(&mut queue.writes)
            };
            // A panic here would leave the queue without a writer for ever; the waiters see their channel close.
            if catch_unwind(AssertUnwindSafe(|| self.commit(group))).is_err() {
                tracing::error!(collection = self.name, "a group of writes was cut off by a panic");
            }
        }
    }

    fn commit(&self, group: Vec<Write>) {
        let bytes = group.iter().map(|write| write.change.bytes).sum();
        if let Err(fault) = self.make_ready(bytes) {
            tracing::error!(collection = self.name, "{fault}");
            for write in group {
                answer(write.done, Err(fault.clone()));
            }
            return;
        }
        let mut applied = Vec::with_capacity(group.len());
        for write in group {
            match write.change.operations.into_iter().try_for_each(|operation| self.engine.apply(operation)) {
                Ok(()) => applied.push(write.done),
                Err(EngineError::Refused(error)) => answer(write.done, Err(error.into())),
                Err(error) => {
                    self.settle(std::mem::take(&mut applied));
                    let fault = self.fault(error);
                    tracing::error!(collection = self.name, "{fault}");
                    answer(write.done, Err(fault));
                    self.recover();
                }
            }
        }
        self.settle(applied);
        self.tidy();
    }

    /// Makes all of it durable and tells everyone how that went.
    fn settle(&self, applied: Vec<Option<oneshot::Sender<Result<(), Fault>>>>) {
        let result = self.engine.commit().map_err(|error| self.fault(error));
        if let Err(fault) = &result {
            tracing::error!(collection = self.name, "{fault}");
            self.recover();
        }
        for done in applied {
            answer(done, result.clone());
        }
    }

    fn make_ready(&self, bytes: u64) -> Result<(), Fault> {
        self.engine.check_space(bytes).map_err(|error| self.fault(error))?;
        if self.engine.is_open() { Ok(()) } else { self.engine.reopen().map_err(|error| self.fault(error)) }
    }

    /// Goes back to what is durable after a failure that may have left half of something.
    fn recover(&self) {
        self.engine.set_torn();
        self.reopen();
    }

    /// Loads the shard again; when that fails the next write tries once more.
    fn reopen(&self) {
        if let Err(error) = self.engine.reopen() {
            tracing::error!(collection = self.name, "{}", self.fault(error));
        }
    }

    /// After everyone was answered: what keeps the next start short and the folder small.
    fn tidy(&self) {
        let is_idle = unpoisoned(&self.queue).writes.is_empty();
        if self.engine.is_open()
            && self.engine.is_checkpoint_due()
            && let Err(error) = self.engine.checkpoint()
        {
            tracing::error!(collection = self.name, "{}", self.fault(error));
            self.recover();
        }
        if self.groups.fetch_add(1, Ordering::Relaxed) % LOG_CHECK != LOG_CHECK - 1 {
            return;
        }
        let dead = self.engine.dead_log_bytes();
        if dead > LOG_ALWAYS || (dead > LOG_WHEN_IDLE && is_idle) {
            // What is in the files need not be applied again.
            if let Err(error) = self.engine.checkpoint() {
                tracing::error!(collection = self.name, "{}", self.fault(error));
                return self.recover();
            }
            self.reopen();
        }
    }

    fn fault(&self, error: EngineError) -> Fault {
        match error {
            EngineError::Refused(error) => error.into(),
            EngineError::Broken(reason) => self.unwritable(&reason),
            EngineError::Absent(reason) => {
                let closed = unpoisoned(&self.queue).closed.clone();
                closed.unwrap_or_else(|| self.unwritable(&reason))
            }
            EngineError::Full(reason) => Fault::Exhausted(format!(
                "collection `{}` cannot be written, the disk under {} is full ({reason}): free some space and retry",
                self.name,
                self.folder.display()
            )),
        }
    }

    fn unwritable(&self, reason: &str) -> Fault {
        Fault::Internal(format!(
            "collection `{}` in {} failed: {reason}; check its permissions and free space, then retry",
            self.name,
            self.folder.display()
        ))
    }
}

fn next_group(writes: &mut VecDeque<Write>) -> Vec<Write> {
    let mut bytes = 0;
    let full = writes.iter().take(GROUP_LIMIT).take_while(|write| {
        bytes += write.change.bytes;
        bytes <= GROUP_BYTES
    });
    let count = full.count().max(1);
    writes.drain(..count).collect()
}

fn answer(done: Option<oneshot::Sender<Result<(), Fault>>>, result: Result<(), Fault>) {
    if let Some(done) = done {
        // The client may have gone; then nobody needs the answer.
        drop(done.send(result));
    }
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
