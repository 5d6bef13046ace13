//! What qron keeps, in Qdrant: collections, the payload codec, and typed operations.
//!
//! Knows Qdrant and the domain, and no policy: *when* a task is claimed, retried or buried is decided elsewhere.
//! Every change of a task goes through [`Store::transition`] and its siblings, which are fenced writes:
//! they change nothing when the task is no longer what the caller believed.
//!
//! The folders: [`qdrant`] is the connection and the one way every request takes, [`tasks`] the life of a task, [`records`]
//! what is kept beside it. Beside them: `error`; `access`, who else may read what qron creates in a folder; and `patience`, waiting for a
//! store that does not answer.

use std::sync::{Arc, Mutex};

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::id::TaskId;
use crate::domain::number;
use crate::domain::schedule::zone::Zone;
use crate::domain::task::Task;
use crate::domain::time::Timestamp;

mod access;
mod error;
mod patience;
mod qdrant;
mod records;
mod tasks;

use qdrant::completeness::Completeness;
use qdrant::vectors::Dense;
use records::artifacts::Files;
use records::bm25::Words;
use tasks::queues::Queues;

pub use crate::domain::task::TaskFilter;
pub use access::Access;
pub use error::{StoreError, TransitionError};
pub(crate) use patience::{MaybeTransient, STORE_RETRY, persist};
pub use records::dead_letters::SeenLetter;
pub use records::memory::MemoryOf;
pub use records::retention::{Ended, OwnedKind, OwnedRecord};
pub use records::schedules::UnreadableSchedule;
pub use tasks::codec::task_payload;
pub(crate) use tasks::dependents::MAX_DEPENDENTS;
pub use tasks::earlier::{EarlierRun, Holding};
pub use tasks::found::Found;
pub use tasks::newest::{InvalidCursor, Order, PageCursor};
pub use tasks::trees::{Standing, Taken, TreePlace};
pub use tasks::unique::KeyOf;

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
    /// Zone of times without an offset: that of `scheduler.zone`.
    #[serde(skip)]
    pub zone: Zone,
}

/// Section `[artifacts]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactSettings {
    /// Artifacts up to this many bytes are kept in the store, larger ones as files.
    pub inline_bytes: usize,
    /// Folder of the larger ones.
    pub folder: std::path::PathBuf,
    /// Largest artifact, in bytes.
    pub max_bytes: usize,
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
    /// Its concurrency key.
    pub key: Option<String>,
    /// Whether one more death of its process would end it.
    pub is_suspect: bool,
    /// Whether its run asks a model.
    pub needs_model: bool,
}

/// Which agent limit a claim counts against, for [`Store::running_as`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentLimitTag<'a> {
    /// No agent has a limit, so the claim does not record which agent runs the task.
    Untracked,
    /// The agent of the claim has no limit; others have one.
    Unlimited,
    /// The limit of this agent.
    Agent(&'a str),
}

/// Agents whose tasks are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentSet {
    /// All tasks, whichever agent they name.
    All,
    /// The tasks that name one of these agents.
    Named(Vec<String>),
}

/// Due tasks that nobody here could take now, left out of a scan so that they do not hide others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DueExclusions {
    /// Agents without free capacity.
    pub agents: Vec<String>,
    /// Capabilities that no agent with free capacity has.
    pub capabilities: Vec<String>,
    /// Capabilities of which no agent with free capacity has all.
    pub combinations: Vec<Vec<String>>,
    /// Concurrency keys whose limit is reached.
    pub keys: Vec<String>,
    /// Tasks without a concurrency key.
    pub keyless: bool,
    /// Tasks whose run asks a model, while no agent with free capacity has one that can be asked.
    pub needs_model: bool,
    /// Agents with free capacity whose model cannot be asked: only their tasks that need one.
    pub agents_without_model: Vec<String>,
    /// Capabilities that only such agents have: only tasks that need a model.
    pub capabilities_without_model: Vec<String>,
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

/// A stored artifact.
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
    #[serde(deserialize_with = "number::count")]
    pub size: u64,
    /// SHA-256 of its content, hexadecimal.
    pub sha256: String,
    /// When it was written.
    pub created_at: Timestamp,
}

/// The store. Cheap to clone; clones share one connection and one group commit.
#[derive(Clone)]
pub struct Store {
    inner: Arc<qdrant::requests::Inner>,
    local: Arc<LocalState>,
    /// Queue of the group commit; its writer ends when the last clone is gone.
    writer: mpsc::Sender<tasks::writer::Job>,
}

/// What operations remember or need beside the connection; clones of a store share it.
struct LocalState {
    files: Files,
    words: Words,
    dense: Option<Dense>,
    /// When points that wait for admission were last looked for without trusting the counts.
    admission_scan: Mutex<Option<Instant>>,
    /// Before this no points are looked for that no search finds.
    overlooked_scan: Mutex<Option<Instant>>,
    /// What the collections lacked when they were last looked at.
    completeness: Completeness,
    /// The same of the collections into which tasks are inserted.
    insertable: Completeness,
    queues: Queues,
}
