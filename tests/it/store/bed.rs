//! A store for one test, and a plain Qdrant client that sees the same points.

use qdrant_client::qdrant::{
    DeletePointsBuilder, GetPointsBuilder, NamedVectors, PointId, PointStruct, PointsIdsList, RetrievedPoint,
    SetPayloadPointsBuilder, UpsertPointsBuilder,
};
use qdrant_client::{Payload, Qdrant};
use qron::domain::id::TaskId;
use qron::domain::task::{Claim, Task};
use qron::domain::time::Timestamp;
use qron::store::{ArtifactSettings, DueExclusions, Settings, Store, StoreError};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::support::{qdrant_url, remove_now, unique_prefix};

/// The time at which every test begins.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// Names of the collections, without prefix.
pub(crate) const COLLECTIONS: [&str; 10] =
    ["tasks", "attempts", "dead_letters", "schedules", "replicas", "events", "artifacts", "memory", "state", "keys"];

/// A point as any other program would write it.
pub(crate) fn point(id: u64, payload: &Value) -> PointStruct {
    PointStruct::new(id, NamedVectors::default(), Payload::try_from(payload.clone()).expect("an object"))
}

/// A store of its own and what is needed to look behind it. Its collections go when it is dropped.
pub(crate) struct Bed {
    pub(crate) store: Store,
    pub(crate) settings: Settings,
    pub(crate) artifacts: ArtifactSettings,
    pub(crate) client: Qdrant,
    pub(crate) folder: TempDir,
}

impl Bed {
    pub(crate) async fn new() -> Self {
        Self::with_vectors(None).await
    }

    pub(crate) async fn with_vectors(size: Option<u64>) -> Self {
        let (settings, folder) = (settings(), tempfile::tempdir().expect("a folder"));
        let artifacts =
            ArtifactSettings { inline_bytes: 1000, folder: folder.path().join("artifacts"), max_bytes: 100_000 };
        let store = Store::connect(&settings, &artifacts, size).await.expect("a store");
        Self { store, client: client(&settings.url), settings, artifacts, folder }
    }

    /// Another process on the same data.
    pub(crate) async fn another(&self) -> Store {
        Store::connect(&self.settings, &self.artifacts, None).await.expect("a second store")
    }

    pub(crate) async fn connect(&self, size: Option<u64>) -> Result<Store, StoreError> {
        Store::connect(&self.settings, &self.artifacts, size).await
    }

    pub(crate) fn collection(&self, name: &str) -> String {
        format!("{}{name}", self.settings.prefix)
    }

    /// Writes points as any other program would.
    pub(crate) async fn upsert(&self, points: Vec<PointStruct>) {
        let request = UpsertPointsBuilder::new(self.collection("tasks"), points).wait(true);
        self.client.upsert_points(request).await.expect("foreign points");
    }

    /// A point as it is, with its vectors.
    pub(crate) async fn point(&self, id: impl Into<PointId>) -> RetrievedPoint {
        let request =
            GetPointsBuilder::new(self.collection("tasks"), [id.into()]).with_payload(true).with_vectors(true);
        let mut points = self.client.get_points(request).await.expect("points").result;
        points.pop().expect("the point is there")
    }

    pub(crate) async fn payload(&self, id: TaskId) -> Map<String, Value> {
        let id: PointId = match id {
            TaskId::Number(number) => number.into(),
            TaskId::Uuid(uuid) => uuid.into(),
        };
        json(self.point(id).await)
    }

    /// Removes a task as any other program would.
    pub(crate) async fn remove(&self, id: u64) {
        let points = PointsIdsList { ids: vec![id.into()] };
        let request = DeletePointsBuilder::new(self.collection("tasks")).points(points).wait(true);
        self.client.delete_points(request).await.expect("removed");
    }

    /// Gives a point a field nested so deeply that it can be written and not be read: an answer has a level more.
    pub(crate) async fn make_unreadable(&self, id: u64) {
        for depth in 20..120 {
            // A level of an object costs the protocol three, one of a list two.
            for value in [json!(1), json!({"a": 1})] {
                let nested = (0..depth).fold(value, |inner, _| json!([inner]));
                let payload = Payload::try_from(json!({"nested": nested})).expect("an object");
                let request = SetPayloadPointsBuilder::new(self.collection("tasks"), payload)
                    .points_selector(PointsIdsList { ids: vec![id.into()] })
                    .wait(true);
                if self.client.set_payload(request).await.is_err() {
                    continue;
                }
                let request = GetPointsBuilder::new(self.collection("tasks"), [id.into()]).with_payload(true);
                if self.client.get_points(request).await.is_err() {
                    return;
                }
            }
        }
        panic!("everything that can be written can be read");
    }

    /// Inserts `count` tasks that are due in the order of the answer.
    pub(crate) async fn insert_due(&self, count: usize) -> Vec<Task> {
        let tasks: Vec<Task> = (0..count)
            .map(|index| {
                let age = i64::try_from(count - index).expect("a small number");
                let mut task = Task::new(TaskId::fresh(), format!("task {index}"), NOW);
                task.spec.run_at = NOW.plus_millis(-age);
                task
            })
            .collect();
        let inserted = self.store.insert(&tasks).await.expect("inserted");
        assert!(inserted.iter().all(|one| one.created));
        tasks
    }

    /// Inserts one task and claims it.
    pub(crate) async fn running(&self, token: &str) -> Task {
        let task = self.insert_due(1).await.remove(0);
        self.store.claim(&[task.id], &claim(token), NOW).await.expect("claimed").remove(0)
    }

    pub(crate) async fn due_ids(&self, limit: u32, closed: &DueExclusions) -> Vec<TaskId> {
        let due = self.store.due(NOW, limit, closed).await.expect("due tasks");
        due.into_iter().map(|task| task.id).collect()
    }

    pub(crate) async fn task(&self, id: TaskId) -> Task {
        self.store.task(id).await.expect("readable").expect("there")
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        remove_now(vec![self.settings.prefix.clone()]);
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        url: qdrant_url(),
        api_key: String::new().into(),
        prefix: unique_prefix(),
        timeout_ms: 20_000,
        replication_factor: 1,
        zone: qron::domain::schedule::zone::Zone::UTC,
    }
}

pub(crate) fn client(url: &str) -> Qdrant {
    let timeout = std::time::Duration::from_secs(20);
    Qdrant::from_url(url).skip_compatibility_check().timeout(timeout).build().expect("a client")
}

pub(crate) fn claim(token: &str) -> Claim {
    Claim { token: token.to_owned(), owner: "replica".to_owned() }
}

pub(crate) fn json(point: RetrievedPoint) -> Map<String, Value> {
    point.payload.into_iter().map(|(key, value)| (key, value.into_json())).collect()
}
