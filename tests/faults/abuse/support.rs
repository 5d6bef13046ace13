//! The program under a hostile input: it is watched while the input is worked on, and must still stop afterwards.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use qdrant_client::qdrant::{NamedVectors, PointId, PointStruct, UpsertPointsBuilder};
use qdrant_client::{Payload, Qdrant};
use qron::domain::id::TaskId;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support;
use crate::support::eventually;
use crate::support::process::{Qron, steady_port};

/// Longest time in which `/healthz` must answer. An unoptimised program on a machine that runs other tests as well gets
/// more of it.
const ANSWER: Duration = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 });
/// Between two looks at `/healthz`.
const LOOK: Duration = Duration::from_millis(50);
/// Most memory that the program may ever have had.
const MEMORY_BYTES: u64 = 1024 * 1024 * 1024;
/// How long running tasks may go on after SIGTERM.
const GRACE_S: u64 = 2;
/// What comes before and after that: the last requests to the store, and its end.
const STOP: Duration = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 8 });
/// First part of the names of the collections.
const PREFIX: &str = "abuse_";

/// The real program with the store that it brings along, for one test.
pub(crate) struct Bed {
    folder: PathBuf,
    api: u16,
    store: u16,
    qron: Qron,
    client: reqwest::Client,
}

impl Bed {
    /// Starts the program and waits until it answers.
    pub(crate) async fn start(name: &str) -> Self {
        qron::app::install_crypto();
        let folder = std::env::temp_dir().join(format!("{}{name}", support::unique_prefix()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (api, store) = (steady_port(), steady_port());
        let shown = folder.display();
        let text = format!(
            r#"
            store = {{ prefix = "{PREFIX}" }}
            embedded = {{ data_dir = "{shown}/data", address = "127.0.0.1:{store}", next_free_port = false }}
            scheduler = {{ sweep = "* * * * * *" }}
            worker = {{ grace_s = {GRACE_S} }}
            tools = {{ workspace = "{shown}/workspace" }}
            artifacts = {{ folder = "{shown}/artifacts" }}
            api = {{ address = "127.0.0.1:{api}" }}
            "#
        );
        let file = folder.join("qron.toml");
        std::fs::write(&file, text).expect("written");
        let qron = Qron::start(&file, &folder.join("qron.log"));
        let bed = Self { folder, api, store, qron, client: reqwest::Client::new() };
        eventually("it answers", async || bed.healthy().await).await;
        bed
    }

    async fn healthy(&self) -> Result<(), String> {
        let url = format!("http://127.0.0.1:{}/healthz", self.api);
        let answer = self.client.get(url).timeout(ANSWER).send().await.map_err(|error| error.to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(answer.status().to_string()) }
    }

    /// Does `work` and asks `/healthz` all the while, which must answer in time each time.
    pub(crate) async fn watched<T>(&self, work: impl Future<Output = T>) -> T {
        let watch = async {
            loop {
                let began = Instant::now();
                if let Err(error) = self.healthy().await {
                    panic!("/healthz did not answer within {ANSWER:?}: {error} after {:?}", began.elapsed());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = watch => unreachable!("it goes on"),
            done = work => done,
        }
    }

    /// Sends `body` to `path` below `/api/v1/`.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        self.post_text(path, body.to_string()).await
    }

    /// Sends `body`, which may be no JSON.
    pub(crate) async fn post_text(&self, path: &str, body: String) -> (StatusCode, Value) {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.api);
        let request = self.client.post(url).header("content-type", "application/json").body(body);
        Self::read(request.send().await.expect("an answer")).await
    }

    /// Asks for `path` below `/api/v1/`.
    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.api);
        Self::read(self.client.get(url).send().await.expect("an answer")).await
    }

    async fn read(answer: reqwest::Response) -> (StatusCode, Value) {
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Writes a point into the collection of tasks, as any client of Qdrant can.
    pub(crate) async fn upsert(&self, id: TaskId, payload: Value) {
        let url = format!("http://127.0.0.1:{}", self.store);
        let client = Qdrant::from_url(&url).skip_compatibility_check().build().expect("a client");
        let id: PointId = match id {
            TaskId::Number(number) => number.into(),
            TaskId::Uuid(uuid) => uuid.to_string().into(),
        };
        let point = PointStruct::new(id, NamedVectors::default(), Payload::try_from(payload).expect("an object"));
        let request = UpsertPointsBuilder::new(format!("{PREFIX}tasks"), vec![point]).wait(true);
        client.upsert_points(request).await.expect("written");
    }

    /// The task once it has ended.
    pub(crate) async fn ended(&self, id: TaskId) -> Value {
        eventually("the task ends", async || {
            let (_, task) = self.get(&format!("tasks/{id}")).await;
            let has_ended = ["completed", "failed", "cancelled", "blocked"].iter().any(|end| task["status"] == *end);
            if has_ended { Ok(task) } else { Err(short(&task)) }
        })
        .await
    }

    /// What the dead letter of the point says.
    pub(crate) async fn dead_letter(&self, id: TaskId) -> String {
        eventually("there is a dead letter", async || {
            let (status, letter) = self.get(&format!("dead-letters/{id}")).await;
            if status.is_success() { Ok(letter.to_string()) } else { Err(short(&letter)) }
        })
        .await
    }

    /// Sends SIGTERM. The program must end in time and by itself, and have had no more memory than it may.
    pub(crate) async fn finish(mut self) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.qron.pid())).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
        assert!(peak * 1024 < MEMORY_BYTES, "it has had {peak} kB of memory");
        let began = Instant::now();
        self.qron.signal();
        let ended = self.qron.ended().await;
        let took = began.elapsed();
        assert!(took < Duration::from_secs(GRACE_S) + STOP, "it took {took:?} to stop");
        assert!(ended.success(), "{ended}: {}", self.qron.said());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// A task for the API: a goal and a plan.
pub(crate) fn task(plan: &Value) -> Value {
    json!({ "goal": "work on what an attacker sends", "plan": plan, "max_attempts": 2 })
}

/// The beginning of a long answer.
pub(crate) fn short(value: &Value) -> String {
    value.to_string().chars().take(500).collect()
}
