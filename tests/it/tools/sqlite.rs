//! `sql_query` on a real SQLite file.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use qron::domain::failure::FailureClass;
use qron::domain::tool::ToolResult;
use qron::tools::sql::SqlQuery;
use qron::tools::{DatabaseSettings, Tool};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::{answer, context, refusal};

fn database() -> (TempDir, SqlQuery) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sales.db");
    let connection = rusqlite::Connection::open(&path).expect("a database");
    connection
        .execute_batch(
            "CREATE TABLE sales (id INTEGER PRIMARY KEY, name TEXT, amount REAL, data BLOB);
             INSERT INTO sales VALUES (1, 'Ada', 12.5, x'00ff'), (2, 'O''Brien', NULL, NULL), (3, 'Zoë', 1, x'');",
        )
        .expect("tables");
    let tool = tool(&path, 10_000);
    (folder, tool)
}

fn tool(path: &Path, timeout_ms: u64) -> SqlQuery {
    let url = format!("sqlite://{}", path.display());
    let settings =
        DatabaseSettings { url: url.into(), max_rows: 5, timeout_ms, max_connections: 2, functions: Vec::new() };
    SqlQuery::new(&BTreeMap::from([("sales".to_owned(), settings)])).expect("a tool")
}

async fn query(tool: &SqlQuery, query: &str, params: Value) -> ToolResult {
    answer(tool, &context(), json!({ "database": "sales", "query": query, "params": params })).await
}

#[tokio::test]
async fn rows_come_as_objects_with_their_types() {
    let (_folder, tool) = database();
    let answer = query(&tool, "SELECT * FROM sales WHERE id < ?1 ORDER BY id", json!([3])).await;
    let expected = json!({ "row_count": 2, "truncated": false, "rows": [
        { "id": 1, "name": "Ada", "amount": 12.5, "data": "\\x00ff" },
        { "id": 2, "name": "O'Brien", "amount": null, "data": null },
    ] });
    assert_eq!(answer, Ok(expected));
    let injected = query(&tool, "SELECT count(*) AS n FROM sales WHERE name = ?1", json!(["' OR 1=1 --"])).await;
    assert_eq!(injected.expect("an answer")["rows"], json!([{ "n": 0 }]));
}

#[tokio::test]
async fn misuse_whatever_writes_attaches_or_loads_is_refused_and_audited() {
    let (folder, tool) = database();
    let outside = folder.path().join("outside.db");
    for text in [
        format!("ATTACH DATABASE '{}' AS x", outside.display()),
        "SELECT load_extension('/tmp/evil.so')".to_owned(),
        "PRAGMA writable_schema = 1".to_owned(),
        "PRAGMA query_only = 0".to_owned(),
        "SELECT * FROM pragma_table_info('sales')".to_owned(),
        "SELECT 1; DROP TABLE sales".to_owned(),
        "DELETE FROM sales".to_owned(),
        "WITH x AS (SELECT 1) INSERT INTO sales (id) SELECT 9".to_owned(),
        format!("VACUUM INTO '{}'", outside.display()),
        "CREATE TEMP TABLE x (a)".to_owned(),
    ] {
        let reason = refusal(&tool, json!({ "database": "sales", "query": text })).await;
        assert!(reason.contains("database \"sales\": "), "{text}: {reason}");
    }
    assert!(!outside.exists());
    let left = query(&tool, "SELECT count(*) AS n FROM sales", json!([])).await.expect("an answer");
    assert_eq!(left["rows"], json!([{ "n": 3 }]));
}

#[tokio::test]
async fn rows_bytes_and_time_are_bounded() {
    let (folder, tool) = database();
    let numbers = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT";
    let many = query(&tool, &format!("{numbers} n FROM t"), json!([])).await.expect("an answer");
    assert_eq!((&many["row_count"], &many["truncated"]), (&json!(5), &json!(true)));
    let large =
        query(&tool, &format!("{numbers} hex(zeroblob(300000)) AS x FROM t"), json!([])).await.expect("an answer");
    assert_eq!((&large["row_count"], &large["truncated"]), (&json!(1), &json!(true)));
    let huge = query(&tool, "SELECT zeroblob(2000000000)", json!([])).await.expect_err("too big");
    assert!(huge.message.contains("too big"), "{huge}");
    let started = Instant::now();
    let hurried = self::tool(&folder.path().join("sales.db"), 500);
    let endless = query(&hurried, &format!("{numbers} count(*) FROM t"), json!([])).await.expect_err("endless");
    assert_eq!(endless.class, FailureClass::Timeout);
    assert!(started.elapsed() < Duration::from_secs(5));
}

/// SQLite counts a table within one step of its machine, so it meets no clock in between.
#[tokio::test]
async fn a_count_over_many_pages_ends_at_its_time_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("large.db");
    let connection = rusqlite::Connection::open(&path).expect("a database");
    let rows =
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t LIMIT 60000) SELECT zeroblob(1000) FROM t";
    connection.execute_batch(&format!("CREATE TABLE pages (x BLOB); INSERT INTO pages {rows};")).expect("rows");
    let failure = query(&tool(&path, 1), "SELECT count(*) FROM pages", json!([])).await.expect_err("over time");
    assert_eq!(failure.class, FailureClass::Timeout, "{failure}");
    let answer = query(&tool(&path, 60_000), "SELECT count(*) AS n FROM pages", json!([])).await.expect("an answer");
    assert_eq!(answer["rows"], json!([{ "n": 60_000 }]));
}

#[tokio::test]
async fn failures_name_database_and_problem_but_not_the_url() {
    let (folder, tool) = database();
    for (text, params, told) in [
        ("SELECT nope FROM sales", json!([]), "nope"),
        ("SELECT * FROM nowhere", json!([]), "nowhere"),
        ("SELECT ?1", json!([]), "1 parameters, 0 are given"),
    ] {
        let failure = query(&tool, text, params).await.expect_err(text);
        assert_eq!(failure.class, FailureClass::Invalid);
        assert!(failure.message.starts_with("database \"sales\": ") && failure.message.contains(told), "{failure}");
    }
    let missing = self::tool(&folder.path().join("canary.db"), 10_000);
    let failure = query(&missing, "SELECT 1", json!([])).await.expect_err("no file");
    assert!(failure.message.contains("cannot be opened") && !failure.message.contains("canary"), "{failure}");
    let unknown = tool.call(&context(), json!({ "database": "x", "query": "SELECT 1" })).await.expect_err("unknown");
    assert!(unknown.message.contains("\"x\"") && unknown.message.contains("sales"), "{unknown}");
}

/// What would take minutes, or gigabytes, within one step of SQLite's machine. The first has 129 bytes with its table.
const ENDLESS: [&str; 14] = [
    "SELECT hex(zeroblob(499999)) LIKE '%' || hex(zeroblob(200000)) || '1'",
    "SELECT hex(zeroblob(499999)) GLOB '*' || hex(zeroblob(200000)) || '1'",
    "SELECT hex(zeroblob(499999)) NOT LIKE '%0%0%0%0%0%' || hex(zeroblob(200000)) || '1' ESCAPE '!'",
    "SELECT hex(zeroblob(499999)) GLOB replace(hex(zeroblob(20000)), '0', '*[0-9]') || '[^0-9]'",
    "SELECT a LIKE b, a LIKE b, a LIKE b, a LIKE b FROM (SELECT hex(zeroblob(499999)) a, '%' || hex(zeroblob(200)) || 1 b)",
    "SELECT instr(zeroblob(999999), zeroblob(499999) || x'01')",
    "SELECT replace(hex(zeroblob(499999)), hex(zeroblob(249999)) || '1', 'x')",
    "SELECT trim(hex(zeroblob(499999)), hex(zeroblob(499999)) || '1')",
    "SELECT trim(hex(zeroblob(499999)), replace(hex(zeroblob(250000)), '0', '1') || '0')",
    "WITH RECURSIVE t(x) AS (SELECT 'a' UNION ALL SELECT x || x FROM t) SELECT count(*) FROM t",
    "WITH RECURSIVE t(n, x) AS (SELECT 1, hex(zeroblob(490000)) UNION SELECT n + 1, x || n FROM t) SELECT count(*) FROM t",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT n, hex(zeroblob(490000)) x FROM t ORDER BY x, n",
    "WITH a AS (SELECT 1 x UNION ALL SELECT 2), b AS (SELECT a.x FROM a, a c, a d, a e, a f), c AS (SELECT b.x FROM b, b c, b d, \
     b e, b f, b g), d AS (SELECT c.x FROM c, c d, c e, c f, c g, c h) SELECT count(*) FROM d, d e, d f, d g",
    "SELECT group_concat(x) FROM (WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT hex(zeroblob(400)) x FROM t)",
];

#[tokio::test]
async fn work_without_end_within_one_step_ends_in_time_and_memory() {
    let (folder, _) = database();
    for text in ENDLESS {
        let tool = self::tool(&folder.path().join("sales.db"), 1_000);
        let started = Instant::now();
        match query(&tool, text, json!([])).await {
            // Some end by themselves, since they are done in linear time here.
            Ok(_) => {}
            Err(failure) => {
                let is_told = failure.class == FailureClass::Timeout
                    || ["too big", "memory", "too many"].iter().any(|word| failure.message.contains(word));
                assert!(is_told, "{text}: {failure}");
            }
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{text}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn growth_within_one_value_is_refused() {
    let (_folder, tool) = database();
    for text in [
        "SELECT printf('%1000000000d', 1)",
        "SELECT format('%.1000000000f', 1.5)",
        "SELECT format('%*s', 1000000000, 'x')",
        "SELECT replace(hex(zeroblob(400000)), '0', hex(zeroblob(400000)))",
        "SELECT length(hex(zeroblob(600000)))",
        "SELECT length(randomblob(2000000))",
        "SELECT json_extract(hex(zeroblob(490000)) || hex(zeroblob(490000)), '$')",
        "SELECT json('[' || replace(hex(zeroblob(2000)), '0', '[') || ']')",
    ] {
        let failure = query(&tool, text, json!([])).await.expect_err(text);
        assert!(["too big", "malformed JSON"].iter().any(|told| failure.message.contains(told)), "{text}: {failure}");
    }
    // A row is not built before it is known to fit.
    let columns = (0..100).map(|at| format!("hex(zeroblob(490000)) AS x{at}")).collect::<Vec<_>>().join(", ");
    let wide = query(&tool, &format!("SELECT {columns}"), json!([])).await;
    match wide {
        Ok(rows) => assert_eq!((&rows["row_count"], &rows["truncated"]), (&json!(0), &json!(true))),
        Err(failure) => assert!(failure.message.contains("memory"), "{failure}"),
    }
}

#[tokio::test]
async fn functions_are_held_to_the_list_in_views_operators_and_tables() {
    let (folder, tool) = database();
    let connection = rusqlite::Connection::open(folder.path().join("sales.db")).expect("a database");
    connection
        .execute_batch(
            "CREATE VIEW extensions AS SELECT load_extension('x') AS x;
             CREATE VIEW options AS SELECT sqlite_compileoption_get(1) AS x;
             CREATE VIEW patches AS SELECT json_patch('{}', '{}') AS x;
             CREATE VIEW tables AS SELECT name FROM pragma_table_list;
             CREATE VIEW pages AS SELECT name FROM dbstat;
             CREATE VIEW upper_names AS SELECT upper(name) AS x FROM sales;
             CREATE VIRTUAL TABLE notes USING fts5(body);
             INSERT INTO notes VALUES ('the quick fox'), ('the slow tortoise');",
        )
        .expect("views");
    for view in ["extensions", "options", "patches", "tables", "pages"] {
        let failure = query(&tool, &format!("SELECT * FROM {view}"), json!([])).await.expect_err(view);
        assert!(!failure.message.contains("timeout"), "{view}: {failure}");
    }
    for (text, expected) in [
        ("SELECT x FROM upper_names ORDER BY x LIMIT 1", json!([{ "x": "ADA" }])),
        ("SELECT body FROM notes WHERE notes MATCH 'quick' ORDER BY rank", json!([{ "body": "the quick fox" }])),
        ("SELECT '{\"a\": 7}' ->> '$.a' AS x", json!([{ "x": 7 }])),
        ("SELECT value FROM json_each('[1]')", json!([{ "value": 1 }])),
        ("SELECT replace(amount, '.', ',') AS x FROM sales WHERE name LIKE 'a%'", json!([{ "x": "12,5" }])),
        ("SELECT count(*) AS n FROM sales WHERE name GLOB '[AZ]*'", json!([{ "n": 2 }])),
    ] {
        assert_eq!(query(&tool, text, json!([])).await.expect(text)["rows"], expected, "{text}");
    }
}

#[tokio::test]
async fn queries_beyond_the_limit_of_a_database_wait_and_are_told_so() {
    let (folder, _) = database();
    // Two places, and queries that take all of their time.
    let tool = std::sync::Arc::new(self::tool(&folder.path().join("sales.db"), 600));
    let endless = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t";
    let calls = (0..8).map(|_| {
        let tool = std::sync::Arc::clone(&tool);
        tokio::spawn(async move { query(&tool, endless, json!([])).await.expect_err("endless") })
    });
    let calls: Vec<_> = calls.collect();
    let (mut timed_out, mut kept_out) = (0, 0);
    for call in calls {
        let failure = call.await.expect("no panic");
        match failure.class {
            FailureClass::Timeout => timed_out += 1,
            FailureClass::Transient => {
                let told = failure.message.contains("database \"sales\": all 2 connections were in use for 600 ms");
                assert!(told && failure.message.contains("max_connections"), "{failure}");
                kept_out += 1;
            }
            _ => panic!("{failure}"),
        }
    }
    assert!(timed_out >= 2 && kept_out >= 2, "{timed_out} {kept_out}");
    let after = query(&tool, "SELECT 1 AS x", json!([])).await.expect("the places are free again");
    assert_eq!(after["rows"], json!([{ "x": 1 }]));
}

/// A file that is opened and never answers, as one on a network that is gone. Nothing interrupts the call to the operating system.
#[tokio::test]
async fn a_file_that_never_answers_keeps_its_place_and_no_caller() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let tool = self::tool(&pipe, 300);
    for _ in 0..2 {
        let started = Instant::now();
        let failure = query(&tool, "SELECT * FROM sales", json!([])).await.expect_err("no answer");
        assert_eq!(failure.class, FailureClass::Timeout, "{failure}");
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
    let failure = query(&tool, "SELECT * FROM sales", json!([])).await.expect_err("no place");
    assert!(failure.message.contains("all 2 connections were in use"), "{failure}");
    // A writer that comes and goes ends both, and the places are free again.
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let opened = tokio::task::spawn_blocking({
            let pipe = pipe.clone();
            move || std::fs::File::options().read(true).write(true).open(pipe).map(drop)
        });
        opened.await.expect("no panic").expect("opened");
        let failure = query(&tool, "SELECT * FROM sales", json!([])).await.expect_err("no database");
        if !failure.message.contains("connections were in use") {
            break;
        }
        assert!(Instant::now() < deadline, "the places stay taken");
    }
    // Lets the last one go, or it would keep the runtime of this test.
    drop(std::fs::File::options().read(true).write(true).open(&pipe).expect("opened"));
}
