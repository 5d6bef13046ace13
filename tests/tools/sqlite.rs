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

use crate::support::{context, refusal};

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
    let settings = DatabaseSettings { url: url.into(), max_rows: 5, timeout_ms };
    SqlQuery::new(&BTreeMap::from([("sales".to_owned(), settings)])).expect("a tool")
}

async fn query(tool: &SqlQuery, query: &str, params: Value) -> ToolResult {
    tool.call(&context(), json!({ "database": "sales", "query": query, "params": params })).await
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
