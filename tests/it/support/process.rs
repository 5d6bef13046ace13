//! `qron run` as a child process: started, watched, killed and stopped.

use std::collections::BTreeSet;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use qron::domain::id::TaskId;
use qron::store::Store;

use super::eventually;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_qron");

/// A running `qron run`; killed when dropped.
pub(crate) struct Qron {
    child: Child,
    log: PathBuf,
}

impl Qron {
    /// Starts the program with a file of settings; what it says goes to the end of `log`.
    pub(crate) fn start(config: &Path, log: &Path) -> Self {
        Self::start_by(Command::new(PROGRAM), config, log)
    }

    /// Starts the program by a command that becomes it, e.g. a shell that sets limits first.
    pub(crate) fn start_by(mut command: Command, config: &Path, log: &Path) -> Self {
        let path = log.to_owned();
        let log = File::options().create(true).append(true).open(log).expect("a log file");
        let child = command
            .arg("--config")
            .arg(config)
            .args(["run", "--no-model"])
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("the program starts");
        Self { child, log: path }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far, and those who wrote to the same file before it.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a log")
    }

    /// Ends it without a word, as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    /// Asks it to stop.
    pub(crate) fn signal(&self) {
        self.send("TERM");
    }

    /// Sends it a signal by its name.
    pub(crate) fn send(&self, signal: &str) {
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(self.pid().to_string()).status();
        assert!(sent.expect("kill runs").success(), "SIG{signal} was not sent");
    }

    /// Waits until its log says so.
    pub(crate) async fn until_it_says(&self, words: &str) {
        eventually(words, async || {
            let log = std::fs::read_to_string(&self.log).map_err(|error| error.to_string())?;
            if log.contains(words) { Ok(()) } else { Err("not said yet".to_owned()) }
        })
        .await;
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        eventually("it ends", async || {
            let ended = self.child.try_wait().map_err(|error| error.to_string())?;
            ended.ok_or_else(|| "it runs".to_owned())
        })
        .await
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn terminate(mut self) -> ExitStatus {
        self.signal();
        self.ended().await
    }
}

impl Drop for Qron {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The tasks that a replica has in hand, once its last requests have been carried out.
pub(crate) async fn in_hand(store: &Store, name: &str) -> BTreeSet<TaskId> {
    let read = async || -> BTreeSet<TaskId> {
        let held = store.held(name, 1_000).await.expect("readable");
        held.into_iter().map(|task| task.id).collect()
    };
    let mut before = read().await;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = read().await;
        if now == before {
            return now;
        }
        before = now;
    }
}

/// A port that nobody listens on, and that the system does not give to outgoing connections while nobody does.
pub(crate) fn steady_port() -> u16 {
    loop {
        let port = 12_000 + u16::try_from(any_below(18_000)).expect("small");
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A number below `end`; another one with every call.
pub(crate) fn any_below(end: u64) -> u64 {
    RandomState::new().hash_one(0) % end
}
