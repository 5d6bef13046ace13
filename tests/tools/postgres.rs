//! `sql_query` on a real PostgreSQL server, started for these tests where `initdb` can be found.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use qron::domain::failure::FailureClass;
use qron::domain::tool::ToolResult;
use qron::tools::sql::SqlQuery;
use qron::tools::{DatabaseSettings, Tool};
use serde_json::{Value, json};
use tokio_postgres::NoTls;

use crate::support::{context, refusal};

/// The port of the server of this process; `None` where PostgreSQL is not installed.
fn server() -> Option<u16> {
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

async fn admin(port: u16) -> tokio_postgres::Client {
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

/// A database of its own for each test, with a role that can read, one that can write, and the superuser.
async fn database(name: &str) -> Option<SqlQuery> {
    let port = server()?;
    let client = admin(port).await;
    client.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
    let text = format!("host=127.0.0.1 port={port} user=owner dbname={name}");
    let (client, connection) = tokio_postgres::connect(&text, NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
        .batch_execute(&format!(
            "CREATE ROLE reader_{name} LOGIN; CREATE ROLE writer_{name} LOGIN;
             CREATE TABLE sales (id int PRIMARY KEY, name text, amount numeric(8, 2), at timestamptz, tags text[],
                                 data bytea, doc jsonb, day date);
             INSERT INTO sales VALUES
                 (1, 'Ada', 12.50, '2026-01-02T03:04:05Z', '{{a,b}}', '\\x00ff', '{{\"k\": [1]}}', '2026-01-02'),
                 (2, 'O''Brien', NULL, NULL, NULL, NULL, NULL, NULL);
             CREATE SEQUENCE numbers;
             CREATE FUNCTION act() RETURNS int LANGUAGE sql AS 'INSERT INTO sales (id) VALUES (99) RETURNING id';
             GRANT SELECT ON sales TO reader_{name};
             GRANT ALL ON sales TO writer_{name}; GRANT ALL ON numbers TO writer_{name};"
        ))
        .await
        .expect("tables");
    let settings = |user: &str| DatabaseSettings {
        url: format!("postgres://{user}:canary@127.0.0.1:{port}/{name}?sslmode=disable").into(),
        max_rows: 5,
        timeout_ms: 3_000,
    };
    let databases = BTreeMap::from([
        ("reader".to_owned(), settings(&format!("reader_{name}"))),
        ("writer".to_owned(), settings(&format!("writer_{name}"))),
        ("owner".to_owned(), settings("owner")),
    ]);
    Some(SqlQuery::new(&databases).expect("a tool"))
}

async fn query(tool: &SqlQuery, database: &str, query: &str, params: Value) -> ToolResult {
    tool.call(&context(), json!({ "database": database, "query": query, "params": params })).await
}

#[tokio::test]
async fn rows_come_as_objects_with_their_types() {
    let Some(tool) = database("types").await else { return };
    for role in ["reader", "writer", "owner"] {
        let answer = query(&tool, role, "SELECT * FROM sales WHERE id < $1 ORDER BY id LIMIT 1;", json!([3])).await;
        let expected = json!({ "row_count": 1, "truncated": false, "rows": [{
            "id": 1, "name": "Ada", "amount": 12.5, "at": "2026-01-02T03:04:05+00:00", "tags": ["a", "b"],
            "data": "\\x00ff", "doc": { "k": [1] }, "day": "2026-01-02",
        }] });
        assert_eq!(answer, Ok(expected), "{role}");
    }
    let select = "SELECT $1::text AS t, $2::int AS i, $3::numeric AS n, $4::bool AS b, $5::date AS d, $6::jsonb AS j";
    let params = json!(["' OR 1=1 --", 7, 1.5, true, "2026-01-02", null]);
    let answer = query(&tool, "reader", select, params).await.expect("an answer");
    let expected = json!([{ "t": "' OR 1=1 --", "i": 7, "n": 1.5, "b": true, "d": "2026-01-02", "j": null }]);
    assert_eq!(answer["rows"], expected);
    let quoted = query(&tool, "reader", r"SELECT E'a\'b\\c' AS e, 'x\y''z' AS q, $$d'q$$ AS d", json!([])).await;
    assert_eq!(quoted.expect("an answer")["rows"], json!([{ "e": "a'b\\c", "q": "x\\y'z", "d": "d'q" }]));
}

#[tokio::test]
async fn misuse_whatever_acts_is_refused_and_audited_whatever_the_role_may() {
    let Some(tool) = database("acts").await else { return };
    for role in ["reader", "writer", "owner"] {
        for text in [
            "SELECT 1; COMMIT; DROP SCHEMA public CASCADE",
            "WITH gone AS (DELETE FROM sales RETURNING *) SELECT * FROM gone",
            "SELECT * INTO stolen FROM sales",
            "SELECT * FROM sales FOR UPDATE",
            "COPY sales TO PROGRAM 'cat'",
            "EXPLAIN ANALYZE UPDATE sales SET amount = 0",
            "SELECT nextval('numbers')",
            "SELECT set_config('transaction_read_only', 'off', false)",
            "SELECT pg_read_file('/etc/passwd')",
            "SELECT \"pg_catalog\".\"pg_read_file\"('/etc/passwd')",
            "SELECT * FROM dblink('host=127.0.0.1', 'SELECT 1') AS x(a int)",
            "SELECT pg_sleep(10)",
            "SELECT lo_import('/etc/passwd')",
            "SELECT query_to_xml('DELETE FROM sales', true, true, '')",
            "SELECT pg_terminate_backend(1)",
            "SELECT rolname, rolpassword FROM pg_authid",
            "SELECT act()",
            "SELECT * FROM act()",
            "SELECT \"act\"() FROM sales",
        ] {
            let reason = refusal(&tool, json!({ "database": role, "query": text })).await;
            assert!(reason.contains(&format!("database {role:?}: ")), "{text}: {reason}");
        }
    }
    let left = query(&tool, "reader", "SELECT count(*) AS n FROM sales", json!([])).await.expect("an answer");
    assert_eq!(left["rows"], json!([{ "n": 2 }]));
}

#[tokio::test]
async fn rows_bytes_and_time_are_bounded() {
    let Some(tool) = database("bounds").await else { return };
    let many = query(&tool, "reader", "SELECT n FROM generate_series(1, 10000) n", json!([])).await.expect("an answer");
    assert_eq!((&many["row_count"], &many["truncated"]), (&json!(5), &json!(true)));
    let large = "SELECT repeat('x', 600000) AS x FROM generate_series(1, 5)";
    let large = query(&tool, "reader", large, json!([])).await.expect("an answer");
    assert_eq!((&large["row_count"], &large["truncated"]), (&json!(1), &json!(true)));
    let huge = query(&tool, "reader", "SELECT repeat('x', 3000000) AS x", json!([])).await.expect("an answer");
    assert_eq!((&huge["row_count"], &huge["truncated"]), (&json!(0), &json!(true)));
    let started = Instant::now();
    let endless = "SELECT count(*) FROM generate_series(1, 100000000000) a";
    let endless = query(&tool, "reader", endless, json!([])).await.expect_err("endless");
    assert_eq!(endless.class, FailureClass::Timeout, "{endless}");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn failures_name_database_and_problem_but_not_the_url() {
    let Some(tool) = database("failures").await else { return };
    for (role, text, params, class, told) in [
        ("reader", "SELECT nope FROM sales", json!([]), FailureClass::Invalid, "nope"),
        ("reader", "SELECT * FROM numbers", json!([]), FailureClass::Permanent, "permission denied"),
        ("reader", "SELECT $1::int", json!([]), FailureClass::Invalid, "1 parameters, 0 are given"),
        ("reader", "SELECT $1::int AS x", json!(["abc"]), FailureClass::Invalid, "abc"),
        ("reader", "SELECT 1 / 0", json!([]), FailureClass::Invalid, "division by zero"),
    ] {
        let failure = query(&tool, role, text, params).await.expect_err(text);
        assert_eq!(failure.class, class, "{failure}");
        assert!(failure.message.starts_with("database \"reader\": ") && failure.message.contains(told), "{failure}");
        assert!(!failure.message.contains("canary"), "{failure}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_transient_failure() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let url = format!("postgres://canary:canary@{closed}/canary?sslmode=disable");
    let settings = DatabaseSettings { url: url.into(), max_rows: 5, timeout_ms: 1_000 };
    let tool = SqlQuery::new(&BTreeMap::from([("away".to_owned(), settings)])).expect("a tool");
    let failure = query(&tool, "away", "SELECT 1", json!([])).await.expect_err("nobody listens");
    assert_eq!(failure.class, FailureClass::Transient);
    assert!(failure.message.contains("database \"away\"") && !failure.message.contains("canary"), "{failure}");
}
