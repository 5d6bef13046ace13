//! A stage for one storm: a store, replicas of the program, an inserter that remembers what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use qron::config::Config;
use qron::domain::id::TaskId;
use qron::store::Store;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::effects::{ENDLESS, Effects};
use crate::support;
use crate::support::eventually;
use crate::support::process::{PROGRAM, Qron};
pub(crate) use crate::support::process::{any_below, steady_port};

/// The agent that the tasks of a storm are for; a process that only serves the store has none of that name.
const AGENT: &str = "worker";
/// Times and sizes of the replicas.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) lease: Duration,
    pub(crate) capacity: usize,
    /// How long running tasks may go on after SIGTERM, in seconds.
    pub(crate) grace_s: u64,
    /// How long a call of a tool takes.
    pub(crate) call_takes: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self { lease: Duration::from_secs(3), capacity: 8, grace_s: 10, call_takes: Duration::from_millis(30) }
    }
}

/// What was sent, and what the program said that it has.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Ids with the number of each task.
    pub(crate) sent: BTreeMap<TaskId, usize>,
    pub(crate) acknowledged: BTreeSet<TaskId>,
    pub(crate) interruptions: Vec<Interruption>,
}

/// Something that kept processes from recording what they did.
#[derive(Clone, Copy)]
pub(crate) struct Interruption {
    pub(crate) from: Instant,
    /// When the last of them had stopped.
    pub(crate) until: Instant,
    /// How many calls they can have had in hand.
    pub(crate) in_hand: usize,
}

pub(crate) struct Stage {
    pub(crate) terms: Terms,
    /// Where the store is.
    pub(crate) url: String,
    pub(crate) prefix: String,
    pub(crate) effects: Effects,
    pub(crate) ledger: Mutex<Ledger>,
    folder: TempDir,
    http: reqwest::Client,
    started: AtomicUsize,
}

/// A replica that has said where its API is.
pub(crate) struct Replica {
    pub(crate) qron: Qron,
    pub(crate) api: String,
}

impl Stage {
    /// A stage over a store that outlives every replica.
    pub(crate) async fn new(terms: Terms) -> Self {
        Self::over(support::qdrant_url(), terms).await
    }

    /// A stage over the store at `url`.
    pub(crate) async fn over(url: String, terms: Terms) -> Self {
        qron::app::install_crypto();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().expect("a client");
        Self {
            terms,
            url,
            prefix: support::unique_prefix(),
            effects: Effects::start(terms.call_takes).await,
            ledger: Mutex::default(),
            folder: tempfile::tempdir().expect("a folder"),
            http,
            started: AtomicUsize::new(0),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A replica on the store.
    pub(crate) async fn replica(&self) -> Replica {
        self.replica_by(Command::new(PROGRAM), &self.url).await
    }

    /// `count` replicas on the store, started together.
    pub(crate) async fn replicas(&self, count: usize) -> Vec<Replica> {
        futures_util::future::join_all((0..count).map(|_| self.replica())).await
    }

    /// A replica that is started by `command` and finds the store at `url`.
    pub(crate) async fn replica_by(&self, command: Command, url: &str) -> Replica {
        let capacity = self.terms.capacity;
        self.start(command, url, &format!("[agents.{AGENT}]\ncapacity = {capacity}")).await
    }

    /// A process that serves its embedded store on `port`, and has no agent for the tasks of the storm.
    pub(crate) async fn server(&self, command: Command, port: u16) -> Replica {
        let data = self.folder().join("data");
        let data = data.display();
        let embedded = format!("data_dir = \"{data}\"\naddress = \"127.0.0.1:{port}\"\nnext_free_port = false");
        self.start(command, "", &format!("[embedded]\n{embedded}")).await
    }

    async fn start(&self, command: Command, url: &str, sections: &str) -> Replica {
        let name = format!("replica{}", self.started.fetch_add(1, Ordering::Relaxed));
        let (folder, prefix) = (self.folder().display(), &self.prefix);
        let (lease, grace_s) = (self.terms.lease.as_millis(), self.terms.grace_s);
        let heartbeat = lease / 6;
        let text = format!(
            r#"
            [store]
            url = "{url}"
            prefix = "{prefix}"
            [scheduler]
            sweep = "* * * * * *"
            [worker]
            lease_ms = {lease}
            heartbeat_ms = {heartbeat}
            grace_s = {grace_s}
            [tools]
            workspace = "{folder}/workspace"
            [tools.http]
            allow = ["127.0.0.0/8"]
            [artifacts]
            folder = "{folder}/artifacts"
            [api]
            address = "127.0.0.1:0"
            [log]
            format = "json"
            {sections}
            "#,
        );
        let file = self.folder().join(format!("{name}.toml"));
        std::fs::write(&file, text).expect("written");
        let qron = Qron::start_by(command, &file, &self.folder().join(format!("{name}.log")));
        let api = eventually("it says where its api is", async || {
            let said = qron.said();
            let entries = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let api = entries.filter_map(|entry| Some(entry["api"].as_str()?.to_owned())).next_back();
            api.ok_or_else(|| format!("it says: {said}"))
        })
        .await;
        Replica { qron, api }
    }

    /// The store, once it answers.
    pub(crate) async fn store(&self) -> Store {
        let variables = [("QRON__STORE__URL", &self.url), ("QRON__STORE__PREFIX", &self.prefix)];
        let variables = variables.map(|(key, value)| (key.to_owned(), value.clone()));
        let config = Config::load_with(None, variables).expect("a valid configuration");
        eventually("the store answers", async || {
            Store::connect(&config.store, &config.artifacts, None).await.map_err(|error| error.to_string())
        })
        .await
    }

    /// Tasks of two steps: one that looks, and may be repeated, and one that has an effect, and may not.
    pub(crate) fn tasks(&self, count: usize) -> Vec<Value> {
        self.tasks_of(count, |task| {
            let step = |name: &str, method: &str, after: &[&str]| {
                let url = format!("{}/{task}/{name}", self.effects.base);
                json!({
                    "id": name, "tool": "http_request", "arguments": {"url": url, "method": method},
                    "depends_on": after,
                })
            };
            json!([step("look", "GET", &[]), step("act", "POST", &["look"])])
        })
    }

    /// Tasks of many steps in a row that only look.
    pub(crate) fn chains(&self, count: usize, steps: usize) -> Vec<Value> {
        self.tasks_of(count, |task| {
            let step = |index: usize| {
                let url = format!("{}/{task}/s{index}", self.effects.base);
                let after: Vec<String> = index.checked_sub(1).map(|before| format!("s{before}")).into_iter().collect();
                json!({
                    "id": format!("s{index}"), "tool": "http_request", "arguments": {"url": url, "method": "GET"},
                    "depends_on": after,
                })
            };
            (0..steps).map(step).collect()
        })
    }

    /// A task whose only call never comes back.
    pub(crate) fn endless(&self) -> Vec<Value> {
        self.tasks_of(1, |task| {
            let url = format!("{}/{task}/{ENDLESS}", self.effects.base);
            json!([{"id": "call", "tool": "http_request", "arguments": {"url": url, "method": "GET"}}])
        })
    }

    fn tasks_of(&self, count: usize, steps: impl Fn(usize) -> Value) -> Vec<Value> {
        let mut ledger = self.ledger.lock().expect("not poisoned");
        let mut bodies = Vec::with_capacity(count);
        for _ in 0..count {
            let (id, number) = (TaskId::fresh(), ledger.sent.len());
            ledger.sent.insert(id, number);
            bodies.push(json!({
                "id": id.to_string(), "goal": format!("task number {number} of the storm"), "agent": AGENT,
                "plan": {"steps": steps(number)},
            }));
        }
        bodies
    }

    /// Inserts tasks through the API of `replica`, all or none; notes them when that is acknowledged.
    ///
    /// # Errors
    /// What the API said, or that it said nothing.
    pub(crate) async fn insert(&self, replica: &Replica, bodies: &[Value]) -> Result<(), String> {
        let url = format!("{}/api/v1/tasks", replica.api);
        let answer = self.http.post(url).json(bodies).send().await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| error.to_string())?;
        if !status.is_success() {
            return Err(format!("{status}: {text}"));
        }
        let ids = bodies.iter().filter_map(|body| body["id"].as_str()?.parse::<TaskId>().ok());
        self.ledger.lock().expect("not poisoned").acknowledged.extend(ids);
        Ok(())
    }

    /// Inserts tasks of two steps through the API of `replica`, which must take them.
    pub(crate) async fn load(&self, replica: &Replica, count: usize) {
        for batch in self.tasks(count).chunks(200) {
            self.insert(replica, batch).await.expect("acknowledged");
        }
    }

    /// Inserts them again until that is acknowledged, as a client with a timeout does.
    pub(crate) async fn insist(&self, replica: &Replica, bodies: &[Value]) {
        eventually("the insert is acknowledged", async || self.insert(replica, bodies).await).await;
    }

    /// Notes that as many processes have just been interrupted.
    pub(crate) fn interrupted(&self, processes: usize) {
        // What was on its way to the world when they were still arrives.
        self.interrupted_until(
            Instant::now(),
            Instant::now() + Duration::from_secs(1),
            self.terms.capacity * processes,
        );
    }

    /// Notes that somebody could not record what he did from then on, and what he did until he stopped.
    pub(crate) fn interrupted_until(&self, from: Instant, until: Instant, in_hand: usize) {
        self.ledger.lock().expect("not poisoned").interruptions.push(Interruption { from, until, in_hand });
    }

    /// How many tasks were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.ledger.lock().expect("not poisoned").acknowledged.len()
    }

    /// Sends any other request to the API of `replica`.
    ///
    /// # Errors
    /// What the API said, or that it said nothing.
    pub(crate) async fn try_post(&self, replica: &Replica, path: &str, body: &Value) -> Result<Value, String> {
        let url = format!("{}/api/v1{path}", replica.api);
        let answer = self.http.post(url).json(body).send().await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| error.to_string())?;
        if !status.is_success() {
            return Err(format!("{path}: {status}: {text}"));
        }
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    /// Sends any other request to the API of `replica`, which must do it.
    pub(crate) async fn post(&self, replica: &Replica, path: &str, body: &Value) -> Value {
        self.try_post(replica, path, body).await.expect("done")
    }

    /// The sum of a metric of `replica` over all its labels.
    pub(crate) async fn metric(&self, replica: &Replica, name: &str) -> f64 {
        let answer = self.http.get(format!("{}/metrics", replica.api)).send().await.expect("an answer");
        let text = answer.text().await.expect("text");
        let of_name = |line: &str| {
            let rest = line.strip_prefix(name)?;
            if !rest.starts_with([' ', '{']) {
                return None;
            }
            rest.rsplit(' ').next()?.parse::<f64>().ok()
        };
        text.lines().filter_map(of_name).sum()
    }

    /// The sum of a metric over `replicas`.
    pub(crate) async fn total(&self, replicas: &[Replica], name: &str) -> f64 {
        let mut sum = 0.0;
        for replica in replicas {
            sum += self.metric(replica, name).await;
        }
        sum
    }

    /// Waits until every task that was acknowledged has ended, and what else is there: an insert without an answer may
    /// have been made all the same.
    pub(crate) async fn until_all_ended(&self, store: &Store) {
        let wanted = self.acknowledged() as u64;
        eventually(&format!("all of {wanted} tasks have ended"), async || {
            let counts = store.task_counts().await.map_err(|error| error.to_string())?;
            let ended: u64 = counts.iter().filter(|(status, _)| status.is_terminal()).map(|(_, count)| count).sum();
            if ended >= wanted && ended == counts.values().sum::<u64>() { Ok(()) } else { Err(format!("{counts:?}")) }
        })
        .await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The logs of a storm that was lost are worth keeping.
            self.folder.disable_cleanup(true);
            println!("logs are in {}", self.folder().display());
        }
    }
}

impl Replica {
    /// Whether `owner`, as it stands in claims, is this process.
    pub(crate) fn is(&self, owner: &str) -> bool {
        owner.contains(&format!("-{}-", self.qron.pid()))
    }

    /// Its name in the store, once it is there.
    pub(crate) async fn name(&self, store: &Store) -> String {
        eventually("the replica is listed", async || {
            let replicas = store.replicas().await.map_err(|error| error.to_string())?;
            let mine = replicas.into_iter().map(|replica| replica.id).find(|id| self.is(id));
            mine.ok_or_else(|| "it is not".to_owned())
        })
        .await
    }

    /// Ends it in order, and insists that it ends well.
    pub(crate) async fn stop(self) {
        let log = self.qron.said();
        let status = self.qron.terminate().await;
        assert!(status.success(), "it ended with {status}: {}", &log[log.len().saturating_sub(2_000)..]);
    }
}

/// Ends all of them in order.
pub(crate) async fn stop_all(replicas: Vec<Replica>) {
    futures_util::future::join_all(replicas.into_iter().map(Replica::stop)).await;
}

/// Says that something was not tried. Written past the capture of the harness: it has to be seen.
pub(crate) fn skipped(what: &str) {
    writeln!(std::io::stderr(), "SKIPPED: {what}").expect("standard error");
}

/// The value that `share` (0 to 1) of `times` do not exceed.
pub(crate) fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into a short list"
    )]
    let index = ((times.len().max(1) - 1) as f64 * share).round() as usize;
    times.get(index).copied().unwrap_or_default()
}
