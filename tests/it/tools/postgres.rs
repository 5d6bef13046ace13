//! `sql_query` on a real PostgreSQL server, started for these tests where `initdb` can be found.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use qron::domain::failure::FailureClass;
use qron::domain::tool::ToolResult;
use qron::tools::sql::SqlQuery;
use qron::tools::{DatabaseSettings, Tool};
use serde_json::{Value, json};
use tokio_postgres::NoTls;

use super::postgres_server::{admin, server};
use super::support::{answer, context, refusal};

/// A database of its own for each test, with a role that can read, one that can write, and the superuser.
async fn database(name: &str) -> Option<SqlQuery> {
    database_with(name, "").await
}

/// The same with what the statements `more` create.
async fn database_with(name: &str, more: &str) -> Option<SqlQuery> {
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
             CREATE FUNCTION act_on(s sales) RETURNS int LANGUAGE sql AS 'INSERT INTO sales (id) VALUES (98) RETURNING id';
             CREATE FUNCTION steady(s sales) RETURNS int STABLE LANGUAGE sql AS 'SELECT $1.id + 100';
             CREATE FUNCTION listed(i int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 + 1000';
             CREATE FUNCTION compare(a text, b int) RETURNS bool STABLE LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
             CREATE OPERATOR %% (LEFTARG = text, RIGHTARG = int, FUNCTION = compare);
             CREATE FUNCTION negative(a text) RETURNS text LANGUAGE sql AS 'SELECT $1';
             CREATE OPERATOR @ (RIGHTARG = text, FUNCTION = negative);
             CREATE TYPE mood AS ENUM ('sad', 'glad');
             CREATE TYPE pair AS (a int, b text);
             CREATE DOMAIN checked AS text CHECK (length(value) < 5);
             CREATE FUNCTION to_pair(m mood) RETURNS pair STABLE LANGUAGE plpgsql AS 'BEGIN RETURN (1, $1::text)::pair; END';
             CREATE CAST (mood AS pair) WITH FUNCTION to_pair(mood);
             CREATE FUNCTION upper(s sales) RETURNS text STABLE LANGUAGE sql AS 'SELECT name FROM sales LIMIT 1';
             GRANT SELECT ON sales TO reader_{name};
             GRANT ALL ON sales TO writer_{name}; GRANT ALL ON numbers TO writer_{name};"
        ))
        .await
        .expect("tables");
    client.batch_execute(more).await.expect("more");
    let settings = |user: &str| DatabaseSettings {
        url: format!("postgres://{user}:canary@127.0.0.1:{port}/{name}?sslmode=disable").into(),
        max_rows: 5,
        timeout_ms: 3_000,
        max_connections: 4,
        functions: vec!["listed".to_owned()],
    };
    let databases = BTreeMap::from([
        ("reader".to_owned(), settings(&format!("reader_{name}"))),
        ("writer".to_owned(), settings(&format!("writer_{name}"))),
        ("owner".to_owned(), settings("owner")),
    ]);
    Some(SqlQuery::new(&databases).expect("a tool"))
}

async fn query(tool: &SqlQuery, database: &str, query: &str, params: Value) -> ToolResult {
    answer(tool, &context(), json!({ "database": database, "query": query, "params": params })).await
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
    let settings =
        DatabaseSettings { url: url.into(), max_rows: 5, timeout_ms: 1_000, max_connections: 4, functions: Vec::new() };
    let tool = SqlQuery::new(&BTreeMap::from([("away".to_owned(), settings)])).expect("a tool");
    let failure = query(&tool, "away", "SELECT 1", json!([])).await.expect_err("nobody listens");
    assert_eq!(failure.class, FailureClass::Transient);
    assert!(failure.message.contains("database \"away\"") && !failure.message.contains("canary"), "{failure}");
}

#[tokio::test]
async fn misuse_functions_are_held_to_the_list_in_every_notation() {
    let Some(tool) = database("notations").await else { return };
    for role in ["reader", "writer", "owner"] {
        for (text, named) in [
            // Attributes: of a row, of a table, of a value of another type, quoted, after an index.
            ("SELECT s.act_on FROM sales s", "act_on"),
            ("SELECT (s).act_on FROM sales s", "act_on"),
            ("SELECT sales.act_on FROM sales", "act_on"),
            ("SELECT s.\"act_on\" FROM sales s", "act_on"),
            ("SELECT s.steady FROM sales s", "steady"),
            ("SELECT (s).Steady FROM sales s", "steady"),
            ("SELECT public.sales.steady FROM public.sales", "steady"),
            ("SELECT 1 FROM sales s ORDER BY s.steady", "steady"),
            ("SELECT (10::float8).pg_sleep", "pg_sleep"),
            ("SELECT ('/etc/passwd'::text).pg_read_file", "pg_read_file"),
            ("SELECT ((ARRAY['/etc/passwd'])[1]).pg_read_file", "pg_read_file"),
            ("SELECT (ARRAY['/etc/passwd'])[1].pg_read_file", "pg_read_file"),
            ("SELECT ((SELECT 'numbers'::text)).nextval", "nextval"),
            ("SELECT ('pg_authid'::text).regclass", "regclass"),
            ("SELECT g.pg_advisory_lock FROM generate_series(1::bigint, 1::bigint) AS g", "pg_advisory_lock"),
            ("SELECT g.pg_read_file FROM unnest(ARRAY['/etc/passwd']) g", "pg_read_file"),
            ("SELECT unnest.pg_sleep FROM unnest(ARRAY[9::float8])", "pg_sleep"),
            ("SELECT g.pg_read_file FROM regexp_split_to_table('/etc/passwd', ',') g", "pg_read_file"),
            ("SELECT g.\"current_setting\" FROM unnest(ARRAY['port']) WITH ORDINALITY AS g (v)", "current_setting"),
            ("SELECT s.upper FROM sales s", "upper"),
            ("SELECT upper(s) FROM sales s", "upper"),
            // Calls.
            ("SELECT steady(s) FROM sales s", "steady"),
            ("SELECT public.\"steady\"(s) FROM sales s", "steady"),
            // Operators.
            ("SELECT name %% 1 FROM sales", "%%"),
            ("SELECT name OPERATOR(public.%%) 1 FROM sales", "%%"),
            ("SELECT @ name FROM sales", "@"),
            ("SELECT name FROM sales ORDER BY name USING <", "USING"),
            // Casts.
            ("SELECT 'sad'::mood::pair", "pair"),
            ("SELECT CAST('(1,x)' AS pair)", "pair"),
            ("SELECT 'abc'::checked", "checked"),
            ("SELECT ARRAY['abc']::checked[]", "checked"),
            ("SELECT ARRAY['abc']::_checked", "checked"),
            ("SELECT ('{abc}'::varchar).\"_checked\"", "checked"),
            ("SELECT 'pg_authid'::regclass", "REGCLASS"),
            ("SELECT 'x'::sales", "sales"),
        ] {
            let outcome = tool.call(&context(), json!({ "database": role, "query": text })).await;
            let failure = outcome.expect_err(text);
            assert!(failure.message.starts_with("refused: ") && failure.message.contains(named), "{text}: {failure}");
        }
    }
    for (text, expected) in [
        ("SELECT listed(1) AS x", json!(1001)),
        ("SELECT g.x FROM generate_series(7, 7) AS g(x)", json!(7)),
        ("SELECT replace('a'::text, 'a', 'b') AS x", json!("b")),
        ("SELECT d.system AS x FROM (SELECT 1 AS system) d", json!(1)),
        ("SELECT (s.name ILIKE ANY (ARRAY['a%'])) AS x FROM sales s WHERE s.id = 1", json!(true)),
        ("SELECT ARRAY(SELECT id FROM sales ORDER BY id) AS x", json!([1, 2])),
        ("SELECT int4range(1, 5) && int4range(4, 9) AS x", json!(true)),
        ("SELECT 'sad'::mood AS x", json!("sad")),
        ("SELECT s.name AS x FROM sales s WHERE s.id = 1", json!("Ada")),
        ("SELECT (s).name AS x FROM sales s WHERE (s).id = 1", json!("Ada")),
        ("SELECT s.doc -> 'k' -> 0 AS x FROM sales s WHERE s.tags @> ARRAY['a'] AND s.name ~ '^A'", json!(1)),
        ("SELECT 'x' OPERATOR(pg_catalog.||) 'y' AS x", json!("xy")),
        ("SELECT to_char('2026-01-02'::date, 'YYYY') AS x", json!("2026")),
        ("SELECT date '2026-01-02' - interval '1 day' AS x", json!("2026-01-01T00:00:00")),
        ("SELECT (now() IS NOT NULL AND random() < 2 AND current_user = 'reader_notations') AS x", json!(true)),
        ("SELECT count(*) FILTER (WHERE s.amount BETWEEN 1 AND 20) AS x FROM sales s", json!(1)),
        ("SELECT to_tsvector('english', 'cats') @@ to_tsquery('english', 'cat') AS x", json!(true)),
    ] {
        let answer =
            query(&tool, "reader", text, json!([])).await.unwrap_or_else(|failure| panic!("{text}: {failure}"));
        assert_eq!(answer["rows"][0]["x"], expected, "{text}");
    }
    let left = query(&tool, "reader", "SELECT count(*) AS n FROM sales", json!([])).await.expect("an answer");
    assert_eq!(left["rows"], json!([{ "n": 2 }]));
}

#[tokio::test]
async fn misuse_casts_run_no_function_of_an_owner_on_the_way_to_a_type_or_to_the_answer() {
    let to_text = "CREATE DOMAIN shown AS text;
        CREATE FUNCTION say(m mood) RETURNS text STABLE LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
        CREATE CAST (mood AS text) WITH FUNCTION say(mood);";
    let Some(tool) = database_with("casts", to_text).await else { return };
    for text in [
        "SELECT 'sad'::mood::text",
        "SELECT 'sad'::mood::shown",
        "SELECT ARRAY['sad'::mood]::text[]",
        "SELECT ARRAY['sad'::mood]::shown[]",
        "SELECT ARRAY['sad'::mood]::_shown",
        "SELECT ('sad'::mood).shown",
    ] {
        let reason = refusal(&tool, json!({ "database": "reader", "query": text })).await;
        assert!(reason.contains("calls public.say(m mood)"), "{text}: {reason}");
    }
    let plain = query(&tool, "reader", "SELECT 'sad'::mood AS x", json!([])).await.expect("an answer");
    assert_eq!(plain["rows"], json!([{ "x": "sad" }]));

    // Rows become JSON, by casts that their types have.
    for (number, (role, volatility)) in [("reader", "STABLE"), ("owner", "VOLATILE")].into_iter().enumerate() {
        let to_json = format!(
            "CREATE FUNCTION tell(m mood) RETURNS json {volatility} LANGUAGE plpgsql AS 'BEGIN RETURN ''1''; END';
             CREATE CAST (mood AS json) WITH FUNCTION tell(mood);"
        );
        let Some(tool) = database_with(&format!("rows_{number}"), &to_json).await else { return };
        for text in ["SELECT 'sad'::mood AS x", "SELECT ROW('sad'::mood) AS x", "SELECT json_agg('sad'::mood) AS x"] {
            let reason = refusal(&tool, json!({ "database": role, "query": text })).await;
            assert!(reason.contains("a cast to json calls public.tell(m mood)"), "{text}: {reason}");
        }
    }
}

#[tokio::test]
async fn endless_work_of_every_kind_ends_in_time_and_is_cancelled_on_the_server() {
    let Some(tool) = database("endless").await else { return };
    for text in [
        "SELECT count(*) FROM generate_series(1, 100000000000) a",
        "SELECT regexp_replace(repeat('a', 100000), '(a*)*b', 'x', 'g')",
        "SELECT repeat('a', 1000000) LIKE '%' || repeat('a', 2000) || 'b'",
        "SELECT repeat('a', 1000000) SIMILAR TO '(a|aa)*b'",
        "SELECT length((10::numeric ^ 100000)::text)",
        "SELECT factorial(30000)",
        "SELECT length(lpad('x', 500000000, 'y'))",
        "SELECT repeat(repeat('x', 1000000), 1000)",
        "WITH RECURSIVE t(x) AS (SELECT 'a' UNION ALL SELECT x || x FROM t) SELECT count(*) FROM t",
        "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b ORDER BY 1",
        "SELECT string_agg(repeat('x', 1000000), '') FROM generate_series(1, 10000)",
    ] {
        let started = Instant::now();
        if let Err(failure) = query(&tool, "reader", text, json!([])).await {
            let classes =
                [FailureClass::Timeout, FailureClass::Invalid, FailureClass::Transient, FailureClass::Permanent];
            assert!(classes.contains(&failure.class) && failure.message.len() < 2_000, "{text}: {failure}");
        }
        assert!(started.elapsed() < Duration::from_secs(12), "{text}: {:?}", started.elapsed());
    }
}

async fn backends(port: u16, user: &str, running: bool) -> i64 {
    let client = admin(port).await;
    let query = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND (NOT $2 OR state = 'active')";
    client.query_one(query, &[&user, &running]).await.expect("a count").get(0)
}

async fn backend_pids(port: u16, user: &str) -> Vec<i32> {
    let client = admin(port).await;
    let rows = client.query("SELECT pid FROM pg_stat_activity WHERE usename = $1 ORDER BY pid", &[&user]).await;
    rows.expect("processes").iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn connections_are_limited_used_again_and_let_go() {
    let Some(tool) = database("pool").await else { return };
    let (tool, port) = (std::sync::Arc::new(tool), server().expect("a port"));
    for _ in 0..20 {
        query(&tool, "reader", "SELECT 1 AS x", json!([])).await.expect("an answer");
        query(&tool, "reader", "SELECT nope", json!([])).await.expect_err("a mistake");
    }
    assert_eq!(backends(port, "reader_pool", false).await, 1, "one connection serves one query after the other");
    // Also when more rows or bytes are there than an answer holds.
    let first = backend_pids(port, "reader_pool").await;
    for text in [
        "SELECT n FROM generate_series(1, 10000) n",
        "SELECT repeat('x', 600000) AS x FROM generate_series(1, 5)",
        "SELECT repeat('x', 2000000) AS x FROM generate_series(1, 5)",
    ] {
        for _ in 0..3 {
            let answer = query(&tool, "reader", text, json!([])).await.expect("an answer");
            assert_eq!(answer["truncated"], true, "{text}");
        }
    }
    assert_eq!(backend_pids(port, "reader_pool").await, first);

    let endless = "SELECT count(*) FROM generate_series(1, 100000000000) a";
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let tool = std::sync::Arc::clone(&tool);
            tokio::spawn(async move { query(&tool, "reader", endless, json!([])).await.expect_err("endless") })
        })
        .collect();
    let mut kept_out = 0;
    let mut most = 0;
    for call in calls {
        most = most.max(backends(port, "reader_pool", false).await);
        let failure = call.await.expect("no panic");
        kept_out += usize::from(failure.message.contains("all 4 connections were in use for 3000 ms"));
    }
    assert!((1..=4).contains(&most), "{most} connections");
    assert!(kept_out >= 4, "{kept_out} were told that there is no place");

    // A call that is dropped ends on the server as well, long before its time limit.
    let patient = std::sync::Arc::clone(&tool);
    let dropped = tokio::spawn(async move { query(&patient, "writer", endless, json!([])).await });
    let deadline = Instant::now() + Duration::from_secs(20);
    while backends(port, "writer_pool", true).await == 0 {
        assert!(Instant::now() < deadline, "the query never ran");
    }
    dropped.abort();
    let cut = Instant::now();
    while backends(port, "writer_pool", true).await > 0 {
        assert!(cut.elapsed() < Duration::from_secs(2), "the query goes on without its client");
    }
}
