//! Whether a text is one query that only reads: pure, by parsing it.
//!
//! What runs afterwards is the parsed query written out again, never the text itself: a database that reads some
//! quotation or comment differently from the parser here cannot be made to run what was not checked.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{Expr, ObjectName, Query, Select, SetExpr, Statement, TableFactor, Visit, Visitor};
use sqlparser::dialect::{Dialect as SqlDialect, PostgreSqlDialect, SQLiteDialect};
use sqlparser::parser::Parser;

use super::super::inputs::excerpt;

/// Longest query, in characters.
pub(super) const MAX_QUERY: usize = 20_000;
/// Deepest nesting of a query.
const MAX_DEPTH: usize = 40;

/// Whose language a query is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Postgres,
    Sqlite,
}

/// A query that passed.
#[derive(Debug)]
pub(super) struct Checked {
    /// The query, written out by the parser.
    pub(super) text: String,
    /// Functions it calls, lower case, without schema.
    pub(super) functions: BTreeSet<String>,
}

/// Functions that act, wait, read files, run text as a query or reveal the configuration.
const CLOSED_FUNCTIONS: &[&str] = &[
    "set_config",
    "current_setting",
    "nextval",
    "setval",
    "currval",
    "lastval",
    "query_to_xml",
    "query_to_xmlschema",
    "query_to_xml_and_xmlschema",
    "cursor_to_xml",
    "cursor_to_xmlschema",
    "table_to_xml",
    "table_to_xmlschema",
    "table_to_xml_and_xmlschema",
    "schema_to_xml",
    "schema_to_xmlschema",
    "schema_to_xml_and_xmlschema",
    "database_to_xml",
    "database_to_xmlschema",
    "database_to_xml_and_xmlschema",
    "ts_stat",
    "ts_rewrite",
    "connectby",
    "xpath_table",
    "inet_client_addr",
    "inet_client_port",
    "inet_server_addr",
    "inet_server_port",
    "load_extension",
    "readfile",
    "writefile",
    "edit",
    "fts3_tokenizer",
    "shell",
    "system",
    "gin_clean_pending_list",
];

/// Families of such functions, by the beginning of their names.
const CLOSED_FAMILIES: &[&str] =
    &["pg_", "lo_", "dblink", "txid_", "crosstab", "brin_", "binary_upgrade_", "postgres_fdw_", "http", "sqlite_"];

/// Members of those families that do no harm.
const OPEN_FUNCTIONS: &[&str] = &["pg_typeof", "pg_size_pretty", "pg_column_size", "sqlite_version"];

/// Tables of the system that hold passwords, settings, other people's queries or samples of their data.
const CLOSED_TABLES: &[&str] = &[
    "pg_authid",
    "pg_shadow",
    "pg_user_mapping",
    "pg_user_mappings",
    "pg_subscription",
    "pg_largeobject",
    "pg_hba_file_rules",
    "pg_ident_file_mappings",
    "pg_file_settings",
    "pg_settings",
    "pg_config",
    "pg_statistic",
    "pg_statistic_ext_data",
    "pg_stats",
    "pg_stats_ext",
    "pg_stats_ext_exprs",
    "pg_stat_activity",
    "pg_stat_statements",
    "pg_stat_replication",
    "pg_stat_ssl",
    "pg_stat_gssapi",
    "pg_prepared_statements",
    "pg_cursors",
];

/// Checks a query.
///
/// # Errors
/// The reason, naming what is not allowed.
pub(super) fn check(text: &str, dialect: Dialect) -> Result<Checked, String> {
    if text.len() > MAX_QUERY {
        return Err(format!("the query has {} bytes; at most {MAX_QUERY} are allowed", text.len()));
    }
    if text.contains('\0') {
        return Err("the query holds a NUL character".to_owned());
    }
    let mut statements = read(text, dialect)?;
    let statement = match (statements.pop(), statements.len()) {
        (Some(statement), 0) => statement,
        (None, _) => return Err("the query is empty".to_owned()),
        (_, more) => return Err(format!("{} statements are given; only one is allowed", more + 1)),
    };
    if !matches!(statement, Statement::Query(_)) {
        return Err(format!("only SELECT, VALUES and WITH are allowed, not {}", first_word(&statement.to_string())));
    }
    let mut guard = Guard::default();
    if let ControlFlow::Break(reason) = statement.visit(&mut guard) {
        return Err(reason);
    }
    let written = statement.to_string();
    if read(&written, dialect)? != [statement] {
        return Err("the query cannot be checked reliably; write it in a simpler way".to_owned());
    }
    Ok(Checked { text: written, functions: guard.functions })
}

fn read(text: &str, dialect: Dialect) -> Result<Vec<Statement>, String> {
    let rules: &dyn SqlDialect = match dialect {
        Dialect::Postgres => &PostgreSqlDialect {},
        Dialect::Sqlite => &SQLiteDialect {},
    };
    Parser::new(rules)
        .with_recursion_limit(MAX_DEPTH)
        .try_with_sql(text)
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| format!("the query cannot be read: {error}"))
}

fn first_word(text: &str) -> String {
    excerpt(text.split_whitespace().next().unwrap_or(""), 30)
}

/// Walks a query and stops at the first thing that is not allowed.
#[derive(Default)]
struct Guard {
    statements: usize,
    functions: BTreeSet<String>,
}

impl Guard {
    fn function(&mut self, name: &ObjectName) -> ControlFlow<String> {
        let full = name.to_string();
        let Some(last) = name.0.last().and_then(|part| part.as_ident()) else {
            return ControlFlow::Break(format!("function {full} is not allowed"));
        };
        let plain = last.value.to_lowercase();
        let odd = !plain.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let closed = CLOSED_FUNCTIONS.contains(&plain.as_str())
            || CLOSED_FAMILIES.iter().any(|family| plain.starts_with(family));
        if odd || (closed && !OPEN_FUNCTIONS.contains(&plain.as_str())) {
            return ControlFlow::Break(format!("function {} is not allowed", excerpt(&full, 100)));
        }
        self.functions.insert(plain);
        ControlFlow::Continue(())
    }
}

impl Visitor for Guard {
    type Break = String;

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<String> {
        self.statements += 1;
        if self.statements > 1 {
            return ControlFlow::Break(format!("{} inside a query is not allowed", first_word(&statement.to_string())));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        if !query.locks.is_empty() {
            return ControlFlow::Break("FOR UPDATE and FOR SHARE are not allowed".to_owned());
        }
        if query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty()
        {
            return ControlFlow::Break("only plain SQL is allowed".to_owned());
        }
        reads(&query.body)
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<String> {
        if select.into.is_some() {
            return ControlFlow::Break("SELECT INTO is not allowed".to_owned());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<String> {
        let last = relation.0.last().and_then(|part| part.as_ident()).map(|last| last.value.to_lowercase());
        if last.is_none_or(|last| CLOSED_TABLES.contains(&last.as_str())) {
            return ControlFlow::Break(format!("table {} is not allowed", excerpt(&relation.to_string(), 100)));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<String> {
        match factor {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => self.function(name),
            TableFactor::Table { .. }
            | TableFactor::Derived { .. }
            | TableFactor::NestedJoin { .. }
            | TableFactor::TableFunction { .. }
            | TableFactor::UNNEST { .. } => ControlFlow::Continue(()),
            other => ControlFlow::Break(format!("{} is not allowed", excerpt(&other.to_string(), 60))),
        }
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<String> {
        match expression {
            Expr::Function(function) => self.function(&function.name),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn reads(body: &SetExpr) -> ControlFlow<String> {
    match body {
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => ControlFlow::Continue(()),
        SetExpr::SetOperation { left, right, .. } => {
            reads(left)?;
            reads(right)
        }
        other => ControlFlow::Break(format!("{} inside a query is not allowed", first_word(&other.to_string()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_queries_pass_and_mean_the_same() {
        for query in [
            "select 1",
            "SELECT name, sum(amount) AS total FROM sales s JOIN people p ON p.id = s.person WHERE amount > $1 \
             GROUP BY name HAVING count(*) > 2 ORDER BY total DESC NULLS LAST LIMIT 10 OFFSET 5;",
            "WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 10) SELECT sum(n) FROM t",
            "SELECT date_trunc('month', at)::date, row_number() OVER (PARTITION BY a ORDER BY b DESC) FROM x",
            "SELECT data->>'name', data #>> '{a,b}', tags @> ARRAY['x'] FROM docs WHERE name ILIKE '%o''brien%'",
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
        ] {
            let checked = check(query, Dialect::Postgres).unwrap_or_else(|reason| panic!("{query}: {reason}"));
            assert!(!checked.text.contains("comment") && !checked.text.contains("DROP"), "{}", checked.text);
        }
        for query in [
            "SELECT name, sql FROM sqlite_master WHERE type = 'table'",
            "SELECT strftime('%Y', at), group_concat(x), ifnull(a, b), x GLOB 'a*' FROM t WHERE id = ?1 LIMIT 3",
            "SELECT * FROM json_each('[1,2]')",
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
}
