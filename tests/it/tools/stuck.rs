//! The whole program while its databases keep it busy: it answers, within its memory, and stops when it is told to.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::process::{Qron, steady_port};

/// How long running tasks may go on after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);
/// What comes before and after that, on a machine that runs other tests as well.
const STOP: Duration = Duration::from_secs(20);
/// Longest time in which `/healthz` must answer; the same.
const ANSWER: Duration = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 });
/// Most memory that the program may ever have had, in kB.
const MEMORY_KB: u64 = 1024 * 1024;

fn task(database: &str, query: &str) -> Value {
    let step = json!({"id": "s1", "tool": "sql_query", "arguments": {"database": database, "query": query}});
    json!({"goal": "ask the database", "max_attempts": 1, "plan": [step]})
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_without_end_hold_up_neither_answers_nor_the_end() {
    qron::app::install_crypto();
    let folder = tempfile::tempdir().expect("a folder");
    let shown = folder.path().display().to_string();
    // A file that never answers: no call to it can be interrupted.
    assert!(std::process::Command::new("mkfifo").arg(format!("{shown}/pipe")).status().expect("mkfifo").success());
    rusqlite::Connection::open(format!("{shown}/sales.db"))
        .expect("a database")
        .execute_batch("CREATE TABLE t (a)")
        .expect("t");
    let (api, store) = (steady_port(), steady_port());
    let settings = format!(
        r#"
        embedded = {{ data_dir = "{shown}/data", address = "127.0.0.1:{store}", next_free_port = false }}
        worker = {{ grace_s = {grace} }}
        api = {{ address = "127.0.0.1:{api}" }}
        [tools]
        workspace = "{shown}/workspace"
        [tools.sql.pipe]
        url = "sqlite://{shown}/pipe"
        timeout_ms = 600000
        [tools.sql.sales]
        url = "sqlite://{shown}/sales.db"
        timeout_ms = 600000
        [agents.generalist]
        tools = ["sql_query"]
        "#,
        grace = GRACE.as_secs(),
    );
    let file = folder.path().join("qron.toml");
    std::fs::write(&file, settings).expect("written");
    let mut qron = Qron::start(&file, &folder.path().join("qron.log"));
    let client = reqwest::Client::new();
    let url = |path: &str| format!("http://127.0.0.1:{api}{path}");
    let healthy = async || {
        let answer = client.get(url("/healthz")).timeout(ANSWER).send().await.map_err(|error| error.to_string())?;
        answer.error_for_status().map(drop).map_err(|error| error.to_string())
    };
    eventually("it answers", healthy).await;
    let numbers = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT";
    for (database, query) in [
        ("pipe", "SELECT * FROM t".to_owned()),
        ("pipe", "SELECT 1 FROM t".to_owned()),
        ("sales", "SELECT hex(zeroblob(499999)) LIKE '%' || hex(zeroblob(200000)) || '1'".to_owned()),
        ("sales", format!("{numbers} count(*) FROM t")),
        ("sales", format!("{numbers} n, hex(zeroblob(490000)) x FROM t ORDER BY x, n")),
    ] {
        let answer = client.post(url("/api/v1/tasks")).json(&task(database, &query)).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.text().await.expect("text"));
    }
    let busy = Instant::now();
    while busy.elapsed() < Duration::from_secs(5) {
        let asked = Instant::now();
        healthy().await.unwrap_or_else(|error| panic!("{error} after {:?}", asked.elapsed()));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", qron.pid())).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak < MEMORY_KB, "{peak} kB");
    let told = Instant::now();
    qron.signal();
    let ended = qron.ended().await;
    assert!(told.elapsed() < GRACE + STOP, "it took {:?} to stop", told.elapsed());
    assert!(ended.success(), "{ended}: {}", qron.said());
}
