//! A PostgreSQL server for the tests of this process, where `initdb` can be found.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tokio_postgres::NoTls;

/// The port of the server of this process; `None` where PostgreSQL is not installed.
pub(super) fn server() -> Option<u16> {
    static PORT: OnceLock<Option<u16>> = OnceLock::new();
    *PORT.get_or_init(|| {
        let Some(programs) = programs() else {
            let note = b"SKIPPED: the PostgreSQL tests of sql_query, because initdb is not installed\n";
            std::io::stderr().write_all(note).expect("a note");
            return None;
        };
        Some(start(&programs))
    })
}

fn programs() -> Option<PathBuf> {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = installed.map(|version| version.path().join("bin")).collect();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    folders.into_iter().find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

/// PostgreSQL does not run as root.
fn as_nobody(program: &Path) -> Command {
    let id = Command::new("id").arg("-u").output().expect("id");
    if id.stdout.trim_ascii() != b"0" {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "nobody", "--"]).arg(program);
    command
}

/// The server ends with this process: its shell waits for the end of the standard input.
fn start(programs: &Path) -> u16 {
    let folder = scratch_folder();
    let data = folder.join("data");
    std::fs::create_dir_all(&folder).expect("a folder");
    Command::new("chmod").arg("0777").arg(&folder).status().expect("chmod");
    let made = as_nobody(&programs.join("initdb"))
        .args(["--auth=trust", "--username=owner", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"])
        .arg(&data)
        .stdout(Stdio::null())
        .current_dir(&folder)
        .status()
        .expect("initdb");
    assert!(made.success());
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let script = format!(
        "{postgres} -D {data} -p {port} -h 127.0.0.1 -k {folder} -F >{folder}/log 2>&1 & server=$!; read end; \
         kill -INT $server; wait $server; rm -rf {data}",
        postgres = programs.join("postgres").display(),
        data = data.display(),
        folder = folder.display(),
    );
    let child = as_nobody(Path::new("/bin/sh"))
        .args(["-c", &script])
        .current_dir(&folder)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a server");
    // Its standard input stays open until the process ends.
    std::mem::forget(child);
    port
}

/// A folder for this process. A child cannot remove the folder it was given, so the next process does.
fn scratch_folder() -> PathBuf {
    const PREFIX: &str = "qron-postgres-";
    for entry in std::fs::read_dir(std::env::temp_dir()).expect("the temporary folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let ended = name.strip_prefix(PREFIX).is_some_and(|owner| !Path::new("/proc").join(owner).exists());
        if ended {
            // Another process may be removing it at the same time.
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
    std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()))
}

/// A superuser on the server at `port`, once it answers.
pub(super) async fn admin(port: u16) -> tokio_postgres::Client {
    let deadline = Instant::now() + Duration::from_mins(1);
    let text = format!("host=127.0.0.1 port={port} user=owner dbname=postgres");
    loop {
        match tokio_postgres::connect(&text, NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                return client;
            }
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
