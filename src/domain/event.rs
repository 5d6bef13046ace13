//! Events: the history of tasks and replicas.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::id::TaskId;
use super::time::Timestamp;

mod kind;

pub use kind::EventKind;

/// How much attention an event deserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The normal course of things.
    Info,
    /// Something that may need attention.
    Warn,
    /// Something failed for good.
    Error,
}

impl<'de> Deserialize<'de> for Level {
    /// Reads a level that this version does not know as a warning.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match String::deserialize(deserializer)?.as_str() {
            "info" => Self::Info,
            "error" => Self::Error,
            _ => Self::Warn,
        })
    }
}

/// A recorded event: a transition of a task, progress of a run, or something a replica did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Ordered by creation time (UUIDv7).
    pub id: Uuid,
    /// When it happened.
    pub at: Timestamp,
    /// What happened, `snake_case`: the name of an [`EventKind`], or of a kind that a newer version knows.
    pub kind: String,
    /// How much attention it deserves.
    pub level: Level,
    /// The event in a sentence. Holds no secret.
    pub message: String,
    /// Task it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// Agent it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Replica that recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<String>,
    /// Details.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub data: Map<String, Value>,
}

impl Event {
    /// An event of `kind` at `at` that says `message`, at level info, about nothing in particular.
    #[must_use]
    pub fn new(kind: EventKind, message: impl Into<String>, at: Timestamp) -> Self {
        Self {
            id: Uuid::now_v7(),
            at,
            kind: kind.as_str().to_owned(),
            level: Level::Info,
            message: message.into(),
            task_id: None,
            agent: None,
            replica: None,
            data: Map::new(),
        }
    }

    /// The same event at another level.
    #[must_use]
    pub fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// The same event, about `task`.
    #[must_use]
    pub fn task(mut self, task: TaskId) -> Self {
        self.task_id = Some(task);
        self
    }

    /// The same event, about `agent`.
    #[must_use]
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.agent = Some(agent.into());
        self
    }

    /// The same event with one detail more.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.data.insert(key.to_owned(), value.into());
        self
    }
}
