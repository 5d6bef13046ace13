use std::time::{Duration, Instant};

use super::syntax::MAX_OPERATORS;
use super::*;

pub(super) fn check(text: &str, dialect: Dialect) -> Result<CheckedQuery, String> {
    super::check(text, dialect, &BTreeSet::new())
}

#[test]
fn ordinary_queries_pass_and_mean_the_same() {
    for query in [
        "select 1",
        "SELECT name, sum(amount) AS total FROM sales s JOIN people p ON p.id = s.person WHERE amount > $1 \
         GROUP BY name HAVING count(*) > 2 ORDER BY total DESC NULLS LAST LIMIT 10 OFFSET 5;",
        "WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 10) SELECT sum(n) FROM t",
        "SELECT date_trunc('month', at)::date, row_number() OVER (PARTITION BY a ORDER BY b DESC) FROM x",
        "SELECT data->>'name', data #>> '{a,b}', tags @> ARRAY['x'] FROM docs WHERE name ILIKE '%o''brien%'",
        "SELECT a.\"using\" FROM a JOIN b USING (id) JOIN c USING(x, y) ORDER BY 1 ASC",
        "SELECT * FROM a LEFT JOIN LATERAL (SELECT * FROM b WHERE b.id = a.id) q ON true",
        "SELECT CASE WHEN x IS NULL THEN 'a' ELSE E'tab\\t' END, extract(year FROM at), interval '1 day' FROM x",
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY x) FILTER (WHERE y) FROM z",
        "SELECT table_name FROM information_schema.tables EXCEPT SELECT 'x' -- comment",
        "SELECT g, random() FROM generate_series(1, 10) AS g",
        "SELECT \"Weird Name\".\"col;umn\" FROM \"Weird Name\" /* DROP TABLE x; */",
        "VALUES (1, 'a'), (2, 'b')",
        "SELECT count(DISTINCT a), string_agg(b, ', ' ORDER BY b), coalesce(c, 0) FROM t TABLESAMPLE SYSTEM (10)",
        "SELECT substring(a FROM 1 FOR 3), position('x' IN a), trim(both ' ' from b), a AT TIME ZONE 'UTC' FROM t",
        "SELECT pg_size_pretty(10::bigint), pg_typeof(1), exists(SELECT 1), 1 = ANY(ARRAY[1, 2])",
        "SELECT ARRAY(SELECT id FROM t), name ILIKE ANY (ARRAY['a%', 'b%']), name LIKE ANY (ARRAY['a%']) FROM t",
        "SELECT tstzrange(now(), NULL), convert_from(a, 'UTF8'), point(1, 2), version(), family(b) FROM t",
    ] {
        let checked = check(query, Dialect::Postgres).unwrap_or_else(|reason| panic!("{query}: {reason}"));
        assert!(!checked.text.contains("comment") && !checked.text.contains("DROP"), "{}", checked.text);
    }
    for query in [
        "SELECT name, sql FROM sqlite_master WHERE type = 'table'",
        "SELECT strftime('%Y', at), group_concat(x), ifnull(a, b), x GLOB 'a*' FROM t WHERE id = ?1 LIMIT 3",
        "SELECT * FROM json_each('[1,2]')",
        "SELECT a -> '$.x', a ->> '$.y', CAST(a AS TEXT), CURRENT_TIMESTAMP FROM t WHERE t MATCH 'x' ORDER BY rank",
    ] {
        assert!(check(query, Dialect::Sqlite).is_ok(), "{query}: {:?}", check(query, Dialect::Sqlite));
    }
}

#[test]
fn whatever_acts_is_refused_by_name() {
    for (query, named) in [
        ("SELECT 1; COMMIT; DROP SCHEMA public CASCADE", "3 statements"),
        ("COMMIT", "COMMIT"),
        ("", "empty"),
        (";", "empty"),
        ("DELETE FROM t", "DELETE"),
        ("WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone", "DELETE"),
        ("WITH new AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM new", "INSERT"),
        ("WITH x AS (UPDATE t SET a = 1 RETURNING *) SELECT * FROM x", "UPDATE"),
        ("SELECT * FROM (WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x) y", "DELETE"),
        ("WITH x AS (SELECT 1) DELETE FROM t", "DELETE"),
        ("SELECT * INTO stolen FROM t", "SELECT INTO"),
        ("SELECT 1 UNION SELECT * FROM (SELECT 1 INTO x) y", "INTO"),
        ("SELECT * FROM t FOR UPDATE", "FOR UPDATE"),
        ("SELECT * FROM (SELECT * FROM t FOR SHARE) x", "FOR SHARE"),
        ("TABLE t", "TABLE"),
        ("COPY t TO PROGRAM 'curl evil'", "COPY"),
        ("COPY (SELECT 1) TO '/tmp/x'", "COPY"),
        ("EXPLAIN ANALYZE UPDATE t SET a = 1", "EXPLAIN"),
        ("EXPLAIN SELECT 1", "EXPLAIN"),
        ("CALL p()", "CALL"),
        ("DO $$ BEGIN DROP TABLE t; END $$", "query"),
        ("SET ROLE postgres", "SET"),
        ("SHOW ALL", "SHOW"),
        ("SELECT nextval('s')", "nextval"),
        ("SELECT setval('s', 1)", "setval"),
        ("SELECT set_config('transaction_read_only', 'off', false)", "set_config"),
        ("SELECT current_setting('data_directory')", "current_setting"),
        ("SELECT pg_read_file('/etc/passwd')", "pg_read_file"),
        ("SELECT PG_CATALOG.\"pg_read_file\"('/etc/passwd')", "pg_read_file"),
        ("SELECT \"pg_catalog\".PG_READ_FILE('/etc/passwd')", "PG_READ_FILE"),
        ("SELECT * FROM pg_ls_dir('.')", "pg_ls_dir"),
        ("SELECT * FROM t, LATERAL pg_ls_dir('.') x", "pg_ls_dir"),
        ("SELECT * FROM ROWS FROM (pg_ls_dir('.')) x", "cannot be read"),
        ("SELECT 1 FROM t WHERE (SELECT pg_sleep(100)) IS NULL", "pg_sleep"),
        ("SELECT 1 ORDER BY pg_sleep(100)", "pg_sleep"),
        ("SELECT 1 LIMIT (SELECT pg_sleep(100)::text::int)", "pg_sleep"),
        ("SELECT count(*) FILTER (WHERE pg_sleep(100) IS NULL) FROM t", "pg_sleep"),
        ("SELECT sum(1) OVER (ORDER BY pg_sleep(100)) FROM t", "pg_sleep"),
        ("VALUES (pg_sleep(100))", "pg_sleep"),
        ("SELECT U&\"pg\\005Fread_file\"('/etc/passwd')", "function"),
        ("SELECT dblink_exec('host=x', 'DROP TABLE t')", "dblink_exec"),
        ("SELECT lo_import('/etc/passwd')", "lo_import"),
        ("SELECT query_to_xml('DROP TABLE t', true, true, '')", "query_to_xml"),
        ("SELECT pg_terminate_backend(1)", "pg_terminate_backend"),
        ("SELECT rolpassword FROM pg_authid", "pg_authid"),
        ("SELECT passwd FROM pg_catalog.\"pg_shadow\"", "pg_shadow"),
        // Operators to sort by, wherever a query sorts.
        ("SELECT 1 FROM t ORDER BY a USING <", "ORDER BY … USING"),
        ("SELECT 1 FROM t ORDER BY b, a using /* x */ OPERATOR(public.<<) NULLS LAST", "ORDER BY … USING"),
        ("SELECT string_agg(a, b ORDER BY a USING %%) FROM t", "ORDER BY … USING"),
        ("SELECT sum(a) OVER (ORDER BY a USING >) FROM t", "ORDER BY … USING"),
        ("SELECT sum(a) OVER w FROM t WINDOW w AS (ORDER BY a USING >)", "ORDER BY … USING"),
        ("SELECT mode() WITHIN GROUP (ORDER BY a USING >) FROM t", "ORDER BY … USING"),
        // Functions of no list, in every notation that the text shows.
        ("SELECT age_of(t) FROM t", "age_of"),
        ("SELECT public.age_of(t) FROM t", "age_of"),
        ("SELECT \"Age_Of\"(t) FROM t", "Age_Of"),
        ("SELECT count(*) OVER (PARTITION BY age_of(t)) FROM t", "age_of"),
        ("SELECT sum(age_of(t)) FROM t", "age_of"),
        ("SELECT 1 FROM t JOIN u ON age_of(t) = 1", "age_of"),
        ("SELECT 1 FROM t GROUP BY age_of(t)", "age_of"),
        ("SELECT 1 FROM t GROUP BY a HAVING age_of(t) > 1", "age_of"),
        ("SELECT sum(a) OVER w FROM t WINDOW w AS (ORDER BY age_of(t))", "age_of"),
        ("SELECT string_agg(a, b ORDER BY age_of(t)) FROM t", "age_of"),
        ("SELECT mode() WITHIN GROUP (ORDER BY age_of(t)) FROM t", "age_of"),
        ("SELECT DISTINCT ON (age_of(t)) 1 FROM t", "age_of"),
        ("SELECT ARRAY[age_of(t)] FROM t", "age_of"),
        ("SELECT a[age_of(t)] FROM t", "age_of"),
        ("SELECT (age_of(t)).* FROM t", "query"),
        ("SELECT (t).age_of(1) FROM t", "age_of"),
        ("SELECT CASE WHEN age_of(t) THEN 1 END FROM t", "age_of"),
        ("SELECT extract(year FROM age_of(t)) FROM t", "age_of"),
        ("SELECT substring(age_of(t) FROM 1) FROM t", "age_of"),
        ("SELECT trim(age_of(t)) FROM t", "age_of"),
        ("SELECT age_of(t)::int FROM t", "age_of"),
        ("SELECT INTERVAL '1 day' * age_of(t) FROM t", "age_of"),
        ("SELECT a COLLATE \"C\" || age_of(t) FROM t", "age_of"),
        ("SELECT * FROM TABLE(age_of(t))", "age_of"),
        ("SELECT * FROM unnest(age_of(t))", "age_of"),
        ("SELECT * FROM t TABLESAMPLE SYSTEM (age_of(1))", "age_of"),
        ("SELECT 1 OFFSET age_of(1)", "age_of"),
        ("SELECT 1 FETCH FIRST age_of(1) ROWS ONLY", "query"),
        ("SELECT xmlelement(name x)", "query"),
        ("SELECT xmlparse(document 'x')", "xmlparse"),
        ("SELECT * FROM XMLTABLE('/x' PASSING '<x/>' COLUMNS a int)", "XMLTABLE"),
        ("SELECT * FROM JSON_TABLE('{}', '$' COLUMNS (a int PATH '$.a'))", "JSON_TABLE"),
        ("SELECT table_to_xml('t', true, true, '')", "table_to_xml"),
        ("SELECT pg_get_functiondef(1)", "pg_get_functiondef"),
        ("SELECT has_table_privilege('t', 'select')", "has_table_privilege"),
        ("EXECUTE p", "EXECUTE"),
        ("SELECT * FROM t FOR NO KEY UPDATE", "query"),
        // Types whose values are names of the catalogue, or run code to be read.
        ("SELECT 'pg_authid'::regclass", "REGCLASS"),
        ("SELECT CAST('act()' AS regprocedure)", "regprocedure"),
        ("SELECT '{x}'::regclass[]", "REGCLASS"),
        ("SELECT '<x/>'::xml", "xml"),
        ("SELECT a::pg_catalog.regtype FROM t", "regtype"),
        ("SELECT a::pg_lsn FROM t", "pg_lsn"),
    ] {
        let reason = check(query, Dialect::Postgres).expect_err(query);
        assert!(reason.contains(named), "{query}: {reason}");
    }
    for (query, named) in [
        ("ATTACH DATABASE '/tmp/x.db' AS x", "ATTACH"),
        ("PRAGMA writable_schema = 1", "PRAGMA"),
        ("PRAGMA query_only = 0", "PRAGMA"),
        ("SELECT load_extension('/tmp/evil.so')", "load_extension"),
        ("SELECT writefile('/tmp/x', 'y')", "writefile"),
        ("VACUUM INTO '/tmp/x'", "query"),
        ("REPLACE INTO t VALUES (1)", "INSERT"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("SELECT * FROM pragma_table_info('t')", "pragma_table_info"),
        ("SELECT * FROM main.Pragma_Database_List", "Pragma_Database_List"),
        ("SELECT * FROM \"pragma_function_list\"", "pragma_function_list"),
        ("SELECT * FROM dbstat", "dbstat"),
        ("SELECT data FROM sqlite_dbpage", "sqlite_dbpage"),
        ("SELECT * FROM fts3tokenize('simple')", "fts3tokenize"),
        ("SELECT readfile('/etc/passwd')", "readfile"),
        ("SELECT edit('x')", "edit"),
        ("SELECT fts3_tokenizer('simple')", "fts3_tokenizer"),
        ("SELECT a REGEXP 'x' FROM t", "REGEXP"),
        ("SELECT json_patch(a, b) FROM t", "json_patch"),
        ("SELECT unhex(a, b) FROM t", "unhex"),
        ("SELECT sqlite_compileoption_get(1)", "sqlite_compileoption_get"),
        ("SELECT * FROM generate_series(1, 2)", "generate_series"),
        ("SELECT * FROM json_object('a', 1)", "json_object"),
    ] {
        let reason = check(query, Dialect::Sqlite).expect_err(query);
        assert!(reason.contains(named), "{query}: {reason}");
    }
}

#[test]
fn size_and_depth_are_bounded() {
    let deep = format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000));
    assert!(check(&deep, Dialect::Postgres).is_err());
    let long = format!("SELECT '{}'", "x".repeat(MAX_QUERY));
    assert!(check(&long, Dialect::Postgres).expect_err("too long").contains("bytes"));
}

#[test]
fn long_chains_neither_overflow_the_stack_nor_take_long() {
    let started = Instant::now();
    let chains = || {
        for link in [
            "+1",
            "||a",
            " AND a",
            " IS NULL",
            "::int",
            " COLLATE \"C\"",
            " UNION SELECT 1",
            " AT TIME ZONE 'x'",
            "->1",
        ] {
            let long = format!("SELECT 1{}", link.repeat((MAX_QUERY - 10) / link.len()));
            let longest = format!("SELECT 1{}", link.repeat(MAX_OPERATORS / 4));
            for dialect in [Dialect::Postgres, Dialect::Sqlite] {
                assert!(check(&long, dialect).is_err(), "{link}");
                // It may pass or not, but neither takes the process down.
                drop(check(&longest, dialect));
            }
        }
        for opening in ["(", "[", "ARRAY[", "NOT ", "-", "CASE WHEN ", "abs(", "(SELECT ", "EXISTS(SELECT "] {
            let long = format!("SELECT {}", opening.repeat((MAX_QUERY - 10) / opening.len()));
            assert!(check(&long, Dialect::Postgres).is_err(), "{opening}");
        }
    };
    // A thread of the runtime has two megabytes.
    std::thread::Builder::new()
        .stack_size(2 * 1024 * 1024)
        .spawn(chains)
        .expect("a thread")
        .join()
        .expect("no overflow");
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[test]
fn calls_are_counted() {
    let calls = |count: usize| format!("SELECT {}", vec!["abs(1)"; count].join(", "));
    assert!(check(&calls(MAX_CALLS), Dialect::Sqlite).is_ok());
    assert!(check(&calls(MAX_CALLS + 1), Dialect::Sqlite).expect_err("many").contains("more than 200 functions"));
}

#[test]
fn what_the_catalogue_decides_is_collected() {
    let query = "SELECT (a).b, (f).c[1].D, t.e, s.t.g, a OPERATOR(public.%%) b, a @@ b, a <-> b, a < ALL(b), @ a, x::mood, \
                 mood 'sad', ARRAY[y]::mine[] FROM t";
    let named = check(query, Dialect::Postgres).expect("passes").named;
    let told = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(told(&named.attributes), "b c d");
    assert_eq!(told(&named.columns), "e g t");
    assert_eq!(told(&named.operators), "%% < <-> @ @@");
    assert_eq!(told(&named.types), "mine mood");
}

#[test]
fn a_name_behind_a_function_in_from_is_an_attribute() {
    for from in
        ["generate_series(1, 2) AS g", "unnest(a) g", "current_user AS g", "f JOIN LATERAL lower(f.a) g ON true"]
    {
        let text = format!("SELECT g.pg_advisory_lock FROM {from}");
        let checked = check(&text, Dialect::Postgres).unwrap_or_else(|reason| panic!("{text}: {reason}"));
        assert!(checked.named.attributes.contains("pg_advisory_lock"), "{text}");
    }
    let named = |text: &str| check(text, Dialect::Postgres).expect("it passes").named.attributes;
    assert!(named("SELECT g.x FROM generate_series(1, 2) AS g(x)").is_empty());
    assert!(named("SELECT g.x FROM generate_series(1, 2) AS g(\"X\")").contains("x"));
    assert!(named("SELECT t.x FROM t").is_empty());
}

#[test]
fn the_configuration_allows_more_functions() {
    let more = BTreeSet::from(["age_of".to_owned()]);
    let checked = super::check("SELECT Age_Of(t) FROM t", Dialect::Postgres, &more).expect("passes");
    assert!(checked.named.functions.contains("age_of"));
    assert!(super::check("SELECT weight_of(t) FROM t", Dialect::Postgres, &more).is_err());
}
