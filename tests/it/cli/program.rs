//! Running the binary, and a `qron run` to speak to.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::process::steady_port;

/// The binary with nothing of the environment that could change what it does.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qron"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if ["QRON", "OPENAI_", "QDRANT_"].iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

/// What a finished command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }
}

pub(crate) fn run(arguments: &[&str]) -> Said {
    command(arguments).output().expect("runs").into()
}

/// A `qron run` with a store of its own. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    _folder: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// One, and the port of its embedded store.
    pub(crate) fn with_store_port() -> (Self, u16) {
        let port = steady_port();
        let address = format!("127.0.0.1:{port}");
        (Self::with(&[("QRON__EMBEDDED__ADDRESS", &address), ("QRON__EMBEDDED__NEXT_FREE_PORT", "false")]), port)
    }

    /// One with these variables.
    pub(crate) fn with(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let within = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let mut child = command(&["run", "--no-model"])
            .current_dir(folder.path())
            .env("QRON__API__ADDRESS", "127.0.0.1:0")
            .env("QRON__EMBEDDED__ADDRESS", "127.0.0.1:0")
            .env("QRON__EMBEDDED__DATA_DIR", within("data"))
            .env("QRON__LOG__FORMAT", "json")
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stderr.take().expect("its log")).lines().map_while(Result::ok);
        let mut log = Vec::new();
        let url = lines.by_ref().find_map(|line| {
            let entry: Option<Value> = serde_json::from_str(&line).ok();
            log.push(line);
            entry.and_then(|entry| Some(entry["api"].as_str()?.to_owned()))
        });
        let url = url.unwrap_or_else(|| panic!("it does not say where its api is: {log:#?}"));
        // Its log must be read, or it would stop when the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url, _folder: folder }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        command.env("QRON_URL", &self.url);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        self.command(arguments).output().expect("runs").into()
    }

    /// Runs a command that reads `input`.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Said {
        let mut command = self.command(arguments);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("starts");
        child.stdin.take().expect("its input").write_all(input.as_bytes()).expect("written");
        child.wait_with_output().expect("ends").into()
    }

    /// Sends a request to its API that no command sends.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        qron::app::install_crypto();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let client = reqwest::Client::new();
            let response =
                client.post(format!("{}/api/v1/{path}", self.url)).json(body).send().await.expect("an answer");
            let status = response.status();
            let body: Value = response.json().await.expect("JSON");
            assert!(status.is_success(), "{status}: {body}");
            body
        })
    }

    /// What its API answers to a GET of `path` with these parameters: the status and the body.
    pub(crate) fn get(&self, path: &str, parameters: &[(&str, &str)]) -> (u16, Value) {
        qron::app::install_crypto();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut url = reqwest::Url::parse(&format!("{}/api/v1/{path}", self.url)).expect("a URL");
            url.query_pairs_mut().extend_pairs(parameters);
            let response = reqwest::Client::new().get(url).send().await.expect("an answer");
            (response.status().as_u16(), response.json().await.expect("JSON"))
        })
    }

    /// Asks it to stop and gives back its exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not stop");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// This text, in a file.
pub(crate) fn plan_file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    file
}
