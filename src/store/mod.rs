//! What qron keeps, in Qdrant: collections, the payload codec, and typed operations.
//!
//! Knows Qdrant and the domain, and no policy: *when* a task is claimed, retried or buried is decided elsewhere.
//! Every change of a task goes through [`Store::transition`] and its siblings, which are fenced writes:
//! they change nothing when the task is no longer what the caller believed.

use std::collections::HashMap;

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::domain::attempt::Attempt;
use crate::domain::dead_letter::DeadLetter;
use crate::domain::event::Event;
use crate::domain::failure::Failure;
use crate::domain::id::TaskId;
use crate::domain::memory::{Memory, Recalled};
use crate::domain::replica::Replica;
use crate::domain::task::{Claim, IllegalTransition, Task, TaskEvent, TaskStatus};
use crate::domain::time::Timestamp;

/// Section `[store]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// URL of the server's gRPC port; empty for the embedded one.
    pub url: String,
    /// API key of the server; empty for none.
    pub api_key: SecretString,
    /// First part of the name of every collection.
    pub prefix: String,
    /// Time limit of one request, in milliseconds.
    pub timeout_ms: u64,
    /// Copies of each collection in a cluster.
    pub replication_factor: u32,
}

/// Section `[artifacts]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactSettings {
    /// Documents up to this many bytes are kept in the store, larger ones as files.
    pub inline_bytes: usize,
    /// Folder of the larger ones.
    pub folder: std::path::PathBuf,
    /// Largest document, in bytes.
    pub max_bytes: usize,
}

/// A failed operation of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The server could not be reached or did not answer in time; trying again may help.
    #[error("the store at {url} does not answer: {reason}")]
    Unavailable {
        /// Where it was expected.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The server refused.
    #[error("the store refused {operation}: {reason}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// What it said.
        reason: String,
    },
    /// A stored point does not read as what it should be.
    #[error("point {id} of {collection} cannot be read: {reason}")]
    Corrupt {
        /// Collection of the point.
        collection: String,
        /// Id of the point.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server or the stored data is of a version this program does not work with.
    #[error("{0}")]
    Incompatible(String),
    /// An artifact is too large, has a bad name, or its file cannot be read or written.
    #[error("artifact {name:?}: {reason}")]
    Artifact {
        /// Name of the artifact.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

impl StoreError {
    /// Whether the same operation may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// Why a task was not moved on.
#[derive(Debug, thiserror::Error)]
pub enum TransitionError {
    /// The task is no longer in that status, or no longer held by that claim. Somebody else has the say now.
    #[error("task {0} has been moved on by somebody else")]
    Lost(TaskId),
    /// The status does not allow the event.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// The store failed; the outcome is unknown and the same call may be made again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of one inserted task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inserted {
    /// Id of the task, an earlier one when its unique key or id was taken.
    pub id: TaskId,
    /// Whether it is new.
    pub created: bool,
}

/// A point of the tasks collection that has not been admitted yet.
#[derive(Clone, Debug)]
pub struct RawTask {
    /// Id of the point.
    pub id: TaskId,
    /// Its payload as somebody wrote it.
    pub payload: Map<String, Value>,
}

/// A due task, with just what routing needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueTask {
    /// Id of the task.
    pub id: TaskId,
    /// Its place in the order.
    pub rank: i64,
    /// Agent it must go to.
    pub agent: Option<String>,
    /// What its agent must be able to do.
    pub capabilities: Vec<String>,
}

/// Due tasks that nobody here could take now, left out of a scan so that they do not hide others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// Agents without free capacity.
    pub agents: Vec<String>,
    /// Capabilities that no agent with free capacity has.
    pub capabilities: Vec<String>,
}

/// Which tasks to list. Empty fields let everything through.
#[derive(Clone, Debug, Default)]
pub struct TaskFilter {
    /// Any of these statuses.
    pub statuses: Vec<TaskStatus>,
    /// This agent.
    pub agent: Option<String>,
    /// This tag.
    pub tag: Option<String>,
    /// This user.
    pub user: Option<String>,
    /// This schedule.
    pub schedule_id: Option<String>,
}

/// One page of a listing.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// What to ask for to get the next page; `None` on the last one.
    pub next: Option<String>,
}

/// What the death of a replica meant for its tasks.
#[derive(Clone, Debug, Default)]
pub struct Rescue {
    /// How many went back to pending.
    pub returned: u64,
    /// Those that ended because their process died too often.
    pub poisoned: Vec<Task>,
}

/// A stored document.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, Deserialize)]
pub struct Artifact {
    /// Derived from task and name: writing the same name again replaces it.
    pub id: Uuid,
    /// The task it belongs to.
    pub task_id: TaskId,
    /// The step that made it.
    pub step: String,
    /// Its name within the task.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Its size, in bytes.
    pub size: u64,
    /// SHA-256 of its content, hexadecimal.
    pub sha256: String,
    /// When it was written.
    pub created_at: Timestamp,
}

/// The store. Cheap to clone; clones share one connection and one group commit.
#[derive(Clone)]
pub struct Store {}

impl Store {
    /// Connects, checks the server's version, creates missing collections and indexes and checks the schema version.
    ///
    /// `vector_size` is the length of the embeddings kept with memories; `None` without an embeddings endpoint.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], or [`StoreError::Incompatible`] for a server below 1.17 or a newer schema.
    pub async fn connect(
        settings: &Settings,
        artifacts: &ArtifactSettings,
        vector_size: Option<u64>,
    ) -> Result<Self, StoreError> {
        let _ = (settings, artifacts, vector_size);
        todo!()
    }
    /// Whether the store answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        todo!()
    }

    // Tasks: insert, read.

    /// Inserts tasks, already admitted. One with a `unique_key` that is taken, or an id that is, is left as it is.
    /// Durable on return; the answers are in the order of `tasks`.
    pub async fn insert(&self, tasks: &[Task]) -> Result<Vec<Inserted>, StoreError> {
        let _ = tasks;
        todo!()
    }
    /// A task by id.
    pub async fn task(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        let _ = id;
        todo!()
    }
    /// Tasks, in the order of their ids, from `after` (the `next` of the page before).
    pub async fn tasks(&self, filter: &TaskFilter, limit: u32, after: Option<&str>) -> Result<Page<Task>, StoreError> {
        let _ = (filter, limit, after);
        todo!()
    }
    /// How many tasks there are of each status; approximate while many change.
    pub async fn task_counts(&self) -> Result<HashMap<TaskStatus, u64>, StoreError> {
        todo!()
    }
    /// When the task that has been due longest became due; `None` when nothing is due.
    pub async fn oldest_due(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let _ = now;
        todo!()
    }

    // Admission of points that other clients wrote.

    /// Points not admitted yet, at most `limit`.
    pub async fn unadmitted(&self, limit: u32) -> Result<Vec<RawTask>, StoreError> {
        let _ = limit;
        todo!()
    }
    /// Writes the fields of `task` into its point unless it has been admitted meanwhile; keeps unknown fields and vectors.
    /// `Ok(false)` when another replica was first.
    pub async fn admit(&self, task: &Task) -> Result<bool, StoreError> {
        let _ = task;
        todo!()
    }
    /// Marks an unreadable point as failed with `failure`, so that it is not read again. `Ok(false)` as in [`Store::admit`].
    pub async fn reject(&self, raw: &RawTask, failure: &Failure, now: Timestamp) -> Result<bool, StoreError> {
        let _ = (raw, failure, now);
        todo!()
    }

    // Claims and transitions.

    /// Due tasks in the order of their rank, at most `limit`, without those that `closed` excludes.
    pub async fn due(&self, now: Timestamp, limit: u32, closed: &Closed) -> Result<Vec<DueTask>, StoreError> {
        let _ = (now, limit, closed);
        todo!()
    }
    /// Claims those of `ids` that are still pending, in one conditional write, and gives back what was won, running.
    pub async fn claim(&self, ids: &[TaskId], claim: &Claim, now: Timestamp) -> Result<Vec<Task>, StoreError> {
        let _ = (ids, claim, now);
        todo!()
    }
    /// Applies `event` to `task` as the caller knows it, fenced by its status and claim, and gives back the new task.
    /// Transitions of one moment are written together.
    pub async fn transition(&self, task: &Task, event: &TaskEvent, now: Timestamp) -> Result<Task, TransitionError> {
        let _ = (task, event, now);
        todo!()
    }
    /// Takes every running task from the dead replica `owner`: back to pending, or ended when it died too often.
    pub async fn rescue(&self, owner: &str, now: Timestamp) -> Result<Rescue, StoreError> {
        let _ = (owner, now);
        todo!()
    }
    /// Tasks that `owner` runs and somebody wants stopped.
    pub async fn cancel_requests(&self, owner: &str) -> Result<Vec<TaskId>, StoreError> {
        let _ = owner;
        todo!()
    }
    /// Waiting tasks, for the check of their dependencies, from `after`.
    pub async fn waiting(&self, limit: u32, after: Option<&str>) -> Result<Page<Task>, StoreError> {
        let _ = (limit, after);
        todo!()
    }

    // Attempts.

    /// Writes the record of an attempt, whole. Durable on return.
    pub async fn save_attempt(&self, attempt: &Attempt) -> Result<(), StoreError> {
        let _ = attempt;
        todo!()
    }
    /// The attempts of a task, oldest first.
    pub async fn attempts(&self, task: TaskId) -> Result<Vec<Attempt>, StoreError> {
        let _ = task;
        todo!()
    }
    /// The newest attempt of a task that has a checkpoint.
    pub async fn last_checkpoint(&self, task: TaskId) -> Result<Option<Attempt>, StoreError> {
        let _ = task;
        todo!()
    }

    // Dead letters.

    /// Writes a dead letter; replaces an earlier one of the same task.
    pub async fn bury(&self, letter: &DeadLetter) -> Result<(), StoreError> {
        let _ = letter;
        todo!()
    }
    /// A dead letter by task.
    pub async fn dead_letter(&self, task: TaskId) -> Result<Option<DeadLetter>, StoreError> {
        let _ = task;
        todo!()
    }
    /// Dead letters, from `after`.
    pub async fn dead_letters(&self, limit: u32, after: Option<&str>) -> Result<Page<DeadLetter>, StoreError> {
        let _ = (limit, after);
        todo!()
    }
    /// How many dead letters there are.
    pub async fn dead_letter_count(&self) -> Result<u64, StoreError> {
        todo!()
    }
    /// Removes dead letters; gives back how many there were of these.
    pub async fn purge_dead_letters(&self, tasks: &[TaskId]) -> Result<u64, StoreError> {
        let _ = tasks;
        todo!()
    }

    // Replicas.

    /// Writes what a replica says of itself.
    pub async fn beat(&self, replica: &Replica) -> Result<(), StoreError> {
        let _ = replica;
        todo!()
    }
    /// Every replica that has written and not been removed.
    pub async fn replicas(&self) -> Result<Vec<Replica>, StoreError> {
        todo!()
    }
    /// Removes a replica that left or died.
    pub async fn remove_replica(&self, id: &str) -> Result<(), StoreError> {
        let _ = id;
        todo!()
    }

    // Events.

    /// Writes events.
    pub async fn record(&self, events: &[Event]) -> Result<(), StoreError> {
        let _ = events;
        todo!()
    }
    /// The newest events of a task, or of all, oldest of them first.
    pub async fn events(&self, task: Option<TaskId>, limit: u32) -> Result<Vec<Event>, StoreError> {
        let _ = (task, limit);
        todo!()
    }

    // Artifacts.

    /// Writes a document; the same task and name replaces it.
    pub async fn save_artifact(
        &self,
        task: TaskId,
        step: &str,
        name: &str,
        media_type: &str,
        content: &[u8],
        now: Timestamp,
    ) -> Result<Artifact, StoreError> {
        let _ = (task, step, name, media_type, content, now);
        todo!()
    }
    /// A document and its content, by task and name; its checksum is verified.
    pub async fn artifact(&self, task: TaskId, name: &str) -> Result<Option<(Artifact, Vec<u8>)>, StoreError> {
        let _ = (task, name);
        todo!()
    }
    /// The documents of a task, without content.
    pub async fn artifacts(&self, task: TaskId) -> Result<Vec<Artifact>, StoreError> {
        let _ = task;
        todo!()
    }

    // Shared state.

    /// Sets a key of `scope` until `expires_at`.
    pub async fn set_state(
        &self,
        scope: &str,
        key: &str,
        value: &Value,
        expires_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let _ = (scope, key, value, expires_at);
        todo!()
    }
    /// A key of `scope` that has not expired at `now`.
    pub async fn state(&self, scope: &str, key: &str, now: Timestamp) -> Result<Option<Value>, StoreError> {
        let _ = (scope, key, now);
        todo!()
    }

    // Memory and search.

    /// Remembers a finished task; `embedding` only when the store was connected with a vector size.
    pub async fn remember(&self, memory: &Memory, embedding: Option<Vec<f32>>) -> Result<(), StoreError> {
        let _ = (memory, embedding);
        todo!()
    }
    /// Memories alike `text` (BM25, fused with `embedding` when given), of this user or of none, best first.
    pub async fn recall(
        &self,
        text: &str,
        embedding: Option<Vec<f32>>,
        user: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Recalled>, StoreError> {
        let _ = (text, embedding, user, limit);
        todo!()
    }
    /// Points of any collection nearest to `vector` (of the vector named `using`), as objects with `id`, `score`, `payload`.
    pub async fn search_collection(
        &self,
        collection: &str,
        using: Option<&str>,
        vector: Vec<f32>,
        filter: Option<Value>,
        limit: u32,
    ) -> Result<Vec<Value>, StoreError> {
        let _ = (collection, using, vector, filter, limit);
        todo!()
    }
}
