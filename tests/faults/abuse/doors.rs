//! Strangers who hold connections to both ports of the program, while it may have few files open.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use qdrant_embedded::connections::FileLimit;
use reqwest::StatusCode;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::eventually;
use crate::support::process::{PROGRAM, Qron, steady_port};

/// How long the probe of the process may take, whatever strangers do.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How long running tasks may go on after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);
/// Connections that strangers hold to each port.
const STRANGERS: usize = 990;
/// Processor time that the program may use in [`WATCHED`] while it has nothing to do but to turn strangers away.
const CALM: Duration = Duration::from_millis(1_500);
const WATCHED: Duration = Duration::from_secs(4);

struct Place {
    folder: tempfile::TempDir,
    api: SocketAddr,
    store: SocketAddr,
    http: reqwest::Client,
}

impl Place {
    fn new() -> Self {
        qron::app::install_crypto();
        let address = || SocketAddr::from(([127, 0, 0, 1], steady_port()));
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30));
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            api: address(),
            store: address(),
            http: http.build().expect("a client"),
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("qron.log")
    }

    /// Starts the program, which may have so many files open and cannot raise that limit.
    async fn start(&self, files: u64) -> Qron {
        let folder = self.folder.path().display();
        let text = format!(
            r#"
            embedded = {{ data_dir = "{folder}/data", address = "{}", next_free_port = false }}
            worker = {{ grace_s = {} }}
            scheduler = {{ sweep = "* * * * * *" }}
            tools = {{ workspace = "{folder}/workspace" }}
            artifacts = {{ folder = "{folder}/artifacts" }}
            api = {{ address = "{}" }}
            "#,
            self.store,
            GRACE.as_secs(),
            self.api,
        );
        let file = self.folder.path().join("qron.toml");
        std::fs::write(&file, text).expect("written");
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\""), PROGRAM]);
        let qron = Qron::start_by(command, &file, &self.log());
        eventually("it is ready", async || {
            let answer = self.http.get(format!("http://{}/readyz", self.api)).send().await;
            match answer.map_err(|error| error.to_string())?.status() {
                StatusCode::OK => Ok(()),
                other => Err(other.to_string()),
            }
        })
        .await;
        qron
    }

    /// Asks whether the process lives, on a new connection; it must say so at once.
    async fn probe(&self) {
        let began = Instant::now();
        let asked = async {
            let mut stream = TcpStream::connect(self.api).await?;
            stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.map(|_| answer)
        };
        let answer = tokio::time::timeout(AT_ONCE * 5, asked).await.expect("an answer").expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    }

    /// Has a task carried out, each request on a connection of its own.
    async fn carry_out(&self) {
        let task = json!({
            "goal": "calculate 1 + 1, please",
            "plan": { "steps": [{ "id": "it", "tool": "calculate", "arguments": { "expression": "1 + 1" } }] },
        });
        let url = format!("http://{}/api/v1/tasks", self.api);
        let close = |request: reqwest::RequestBuilder| request.header("connection", "close");
        let answer = close(self.http.post(&url).json(&task)).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::CREATED);
        let id = answer.json::<Value>().await.expect("JSON")["id"].as_str().expect("an id").to_owned();
        eventually("the task is completed", async || {
            let answer = close(self.http.get(format!("{url}/{id}"))).send().await.map_err(|error| error.to_string())?;
            let task = answer.json::<Value>().await.map_err(|error| error.to_string())?;
            if task["status"] == "completed" { Ok(()) } else { Err(task["status"].to_string()) }
        })
        .await;
    }

    /// It stops within its grace, and some for slow machines.
    async fn stop(&self, qron: Qron) {
        let began = Instant::now();
        assert!(qron.terminate().await.success());
        assert!(began.elapsed() < GRACE + Duration::from_secs(10), "{:?}", began.elapsed());
    }
}

/// Processor time that a process has used.
fn used(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).expect("it lives");
    let (_, fields) = stat.rsplit_once(") ").expect("fields");
    let ticks: u64 = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

async fn is_calm(qron: &Qron) {
    let before = used(qron.pid());
    tokio::time::sleep(WATCHED).await;
    let spent = used(qron.pid()).saturating_sub(before);
    assert!(spent < CALM, "{spent:?} of processor time in {WATCHED:?}");
}

/// Connections of strangers, each of which has sent one of `texts`.
async fn strangers(address: SocketAddr, texts: &[&[u8]]) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for index in 0..STRANGERS {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        // The other side may have closed it already.
        drop(stream.write_all(texts[index % texts.len()]).await);
        held.push(stream);
    }
    held
}

const TO_STORE: &[&[u8]] =
    &[b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", b"nonsense"];
const TO_API: &[&[u8]] = &[
    b"",
    b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-slow: ",
    b"POST /api/v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
    b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
];

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_to_either_port_or_both_stop_nothing() {
    assert!(FileLimit::raise().connections() > 2 * STRANGERS / 4, "this test opens {} connections", 2 * STRANGERS);
    let place = Place::new();
    let qron = place.start(1_024).await;
    place.carry_out().await;
    let at_store = strangers(place.store, TO_STORE).await;
    for _ in 0..3 {
        place.probe().await;
        place.carry_out().await;
    }
    is_calm(&qron).await;
    drop(at_store);
    let at_api = strangers(place.api, TO_API).await;
    for _ in 0..3 {
        place.probe().await;
        place.carry_out().await;
    }
    is_calm(&qron).await;
    let at_store = strangers(place.store, TO_STORE).await;
    for _ in 0..3 {
        place.probe().await;
        place.carry_out().await;
    }
    is_calm(&qron).await;
    place.stop(qron).await;
    drop((at_api, at_store));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_low_limit_on_files_is_told_and_lived_with() {
    let place = Place::new();
    let qron = place.start(256).await;
    assert!(qron.said().contains("the limit on open files is low: raise it"), "{}", qron.said());
    let at_store = strangers(place.store, TO_STORE).await;
    let at_api = strangers(place.api, TO_API).await;
    place.probe().await;
    place.carry_out().await;
    place.stop(qron).await;
    drop((at_api, at_store));
}

#[tokio::test(flavor = "multi_thread")]
async fn running_out_of_files_never_spins_and_passes() {
    let place = Place::new();
    let qron = place.start(1_024).await;
    let pid = Pid::from_raw(i32::try_from(qron.pid()).expect("a pid"));
    // Fewer than it has open: nothing can be accepted any more.
    let limit = |files| Rlimit { current: Some(files), maximum: Some(1_024) };
    prlimit(pid, Resource::Nofile, limit(10)).expect("lowered");
    let mut waiting = Vec::new();
    for address in [place.api, place.store] {
        for _ in 0..20 {
            waiting.push(TcpStream::connect(address).await.expect("queued by the system"));
        }
    }
    qron.until_it_says("connections cannot be accepted").await;
    is_calm(&qron).await;
    let told = qron.said().matches("connections cannot be accepted").count();
    assert!(told <= 2, "it says so {told} times");
    prlimit(pid, Resource::Nofile, limit(1_024)).expect("raised");
    eventually("connections are accepted", async || {
        let answer = place.http.get(format!("http://{}/healthz", place.api)).send().await;
        answer.map(drop).map_err(|error| error.to_string())
    })
    .await;
    place.probe().await;
    place.carry_out().await;
    place.stop(qron).await;
    drop(waiting);
}
