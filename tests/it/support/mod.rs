//! What the tests share: a Qdrant, names of collections that no other test uses, waiting, the program as a process
//! ([`process`]), a whole qron within this one ([`app`]), its runner alone ([`world`]), a bad connection ([`proxy`]), and a server
//! that does not take every request ([`gate`]).

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test binary uses a part of it"
)]

pub(crate) mod app;
mod collections;
pub(crate) mod gate;
pub(crate) mod process;
pub(crate) mod proxy;
mod waiting;
pub(crate) mod world;

use std::sync::{Mutex, OnceLock, mpsc};

use qdrant_embedded::Settings;

pub(crate) use collections::{remove_now, unique_prefix};
pub(crate) use waiting::{DEADLINE, eventually};

/// Set it to run the tests against a real server instead of the embedded one.
pub(crate) const URL_VARIABLE: &str = "QRON_TEST_QDRANT_URL";

/// URL of the Qdrant under test: the one in `QRON_TEST_QDRANT_URL`, else one embedded server per test process,
/// started by the first caller in a temporary folder and gone with the process.
pub(crate) fn qdrant_url() -> String {
    URL.get_or_init(|| std::env::var(URL_VARIABLE).unwrap_or_else(|_| start_embedded())).clone()
}

static URL: OnceLock<String> = OnceLock::new();

/// The URL, when a test of this process has asked for it.
fn started_url() -> Option<String> {
    URL.get().cloned()
}

/// Settings of an embedded server in `folder` on any free port.
pub(crate) fn embedded_settings(folder: &std::path::Path) -> Settings {
    Settings {
        data_dir: folder.to_owned(),
        address: "127.0.0.1:0".parse().expect("an address"),
        next_free_port: false,
        api_key: String::new().into(),
    }
}

/// Without the embedded store there must be a server.
#[cfg(not(feature = "embedded"))]
fn start_embedded() -> String {
    panic!("this build has no embedded store: set {URL_VARIABLE} to the gRPC port of a Qdrant server")
}

/// The server has its own thread and runtime, because the runtime of the test that happens to start it ends with
/// that test.
#[cfg(feature = "embedded")]
fn start_embedded() -> String {
    let (ready, started) = mpsc::channel();
    std::thread::Builder::new()
        .name("embedded-qdrant".into())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
            let folder = scratch_folder();
            let server = runtime
                .block_on(qdrant_embedded::Server::start(&embedded_settings(&folder)))
                .expect("an embedded server");
            ready.send(server.url()).expect("the test waits for the URL");
            runtime.block_on(std::future::pending::<()>());
            drop(server);
        })
        .expect("a thread");
    started.recv().expect("the embedded server starts")
}

/// A folder for this process. Statics are not dropped, so the folders of processes that ended are removed by the
/// next one.
#[cfg(feature = "embedded")]
fn scratch_folder() -> std::path::PathBuf {
    static SWEEP: Mutex<()> = Mutex::new(());
    let _sweeping = SWEEP.lock();
    let root = std::env::temp_dir().join("qron-tests");
    std::fs::create_dir_all(&root).expect("a scratch folder");
    for entry in std::fs::read_dir(&root).expect("the scratch folder").flatten() {
        let owner = entry.file_name().to_string_lossy().into_owned();
        let alive = std::path::Path::new("/proc").join(&owner).exists();
        if !alive {
            // Another process may be removing it at the same time.
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
    root.join(std::process::id().to_string())
}
