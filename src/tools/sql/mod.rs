//! `sql_query`: one reading query on a configured database; `query_table`: one on a table that is none.
//!
//! Three locks, any of which would do: the database is opened or entered as a reader, the transaction is read-only
//! and rolled back, and the text is parsed and must be a single SELECT that calls only functions of a list. The
//! number of concurrent queries of a database is limited.

mod figures;
mod import;
mod lists;
mod postgres;
mod query_guard;
mod query_permits;
mod sqlite;
mod table;
mod table_query;

pub use table::QueryTable;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};

use self::postgres::Postgres;
use self::query_guard::Dialect;
use self::query_permits::QueryPermits;
use super::inputs::{argument_fault, constant, object, parse, refused};
use super::{DatabaseSettings, Tool, ToolContext, ToolboxError};
use crate::domain::failure::Failure;
use crate::domain::tool::{Effect, ToolResult, ToolSpec};

const NAME: &str = "sql_query";
/// Largest answer, in bytes of JSON.
const MAX_BYTES: usize = 1024 * 1024;
/// Most parameters of one query.
const MAX_PARAMS: usize = 100;
/// Longest message of a database that is passed on, in bytes: it may repeat a value that is as long as an answer.
const MAX_MESSAGE: usize = 1_000;

/// What can be done when all connections to a database are in use.
const MORE_CONNECTIONS: &str = "try again later, or raise max_connections of this database";
/// Most connections to one database that can be configured.
const MAX_CONNECTIONS: usize = 100;

/// The query that the guard lets pass for `text`, as the guard writes it out.
#[cfg(feature = "fuzzing")]
pub(super) fn checked(text: &str, postgres: bool) -> Result<String, String> {
    let dialect = if postgres { Dialect::Postgres } else { Dialect::Sqlite };
    query_guard::check(text, dialect, &BTreeSet::new()).map(|checked| checked.text)
}

/// The tool `sql_query`.
pub struct SqlQuery {
    databases: BTreeMap<String, Database>,
}

struct Database {
    engine: Engine,
    limits: QueryLimits,
    permits: QueryPermits,
    /// Functions that the configuration allows in addition to the list, in lower case.
    functions: BTreeSet<String>,
}

enum Engine {
    Sqlite(Arc<std::path::Path>),
    Postgres(Box<Postgres>),
}

/// Limits of one answer.
#[derive(Clone, Copy)]
struct QueryLimits {
    rows: usize,
    time: Duration,
}

/// The answer of a database.
#[derive(Default)]
struct Rows {
    found: Vec<Value>,
    bytes: usize,
    /// Rows were left out.
    truncated: bool,
}

impl Rows {
    /// Takes a row; `false` when there are too many.
    fn push(&mut self, row: Value, bytes: usize, limits: QueryLimits) -> bool {
        if self.found.len() >= limits.rows || self.bytes + bytes > MAX_BYTES {
            self.truncated = true;
            return false;
        }
        self.bytes += bytes;
        self.found.push(row);
        true
    }
}

/// Why a query has no answer. The name of the database is put before it.
enum SqlError {
    /// Policy forbids the query.
    Refused(String),
    /// The database cannot or will not answer.
    Failed(Failure),
}

impl SqlQuery {
    /// Queries `databases`, by name. Connects to none of them yet.
    ///
    /// # Errors
    /// Names the database whose URL cannot be used; never the URL.
    pub fn new(databases: &BTreeMap<String, DatabaseSettings>) -> Result<Self, ToolboxError> {
        let read = |(name, settings): (&String, &DatabaseSettings)| {
            if let Some(problem) = Self::problems(name, settings).into_iter().next() {
                return Err(problem);
            }
            let error = |key: &str, reason: String| ToolboxError::new(format!("sql.{name}.{key}"), reason);
            let engine = engine(settings.url.expose_secret()).map_err(|reason| error("url", reason))?;
            let functions = functions(&settings.functions, &engine).map_err(|reason| error("functions", reason))?;
            let limits = QueryLimits { rows: settings.max_rows, time: Duration::from_millis(settings.timeout_ms) };
            let permits = QueryPermits::new(settings.max_connections, "connections", MORE_CONNECTIONS);
            Ok((name.clone(), Database { engine, limits, permits, functions }))
        };
        Ok(Self { databases: databases.iter().map(read).collect::<Result<_, ToolboxError>>()? })
    }

    /// Everything that is wrong with the settings of the database `name`; never its URL.
    #[must_use]
    pub fn problems(name: &str, settings: &DatabaseSettings) -> Vec<ToolboxError> {
        let mut problems = Vec::new();
        let mut add = |key: &str, reason: String| problems.push(ToolboxError::new(format!("sql.{name}.{key}"), reason));
        match engine(settings.url.expose_secret()) {
            Err(reason) => add("url", reason),
            Ok(engine) => {
                if let Err(reason) = functions(&settings.functions, &engine) {
                    add("functions", reason);
                }
            }
        }
        if !(1..=MAX_CONNECTIONS).contains(&settings.max_connections) {
            add("max_connections", format!("allowed are 1 to {MAX_CONNECTIONS}"));
        }
        problems
    }

    fn names(&self) -> String {
        self.databases.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

fn engine(url: &str) -> Result<Engine, String> {
    if let Some(path) = url.strip_prefix("sqlite://") {
        if path.is_empty() {
            return Err("has no path; use sqlite:///data/sales.db".to_owned());
        }
        return Ok(Engine::Sqlite(Arc::from(std::path::Path::new(path))));
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        // The parser's own words may hold parts of the URL.
        let config = url.parse().map_err(|_| "cannot be read; use postgres://user:password@host/database".to_owned());
        return Ok(Engine::Postgres(Box::new(Postgres::new(config?))));
    }
    Err("is no database URL: use postgres://USER:PASSWORD@HOST/DATABASE or sqlite://PATH".to_owned())
}

/// Names of functions that the configuration allows, in lower case.
fn functions(names: &[String], engine: &Engine) -> Result<BTreeSet<String>, String> {
    if !names.is_empty() && matches!(engine, Engine::Sqlite(_)) {
        return Err("is for PostgreSQL alone: SQLite has no functions of its owner".to_owned());
    }
    let is_name = |name: &str| name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    let read = |name: &String| {
        let name = name.to_lowercase();
        if name.is_empty() || !is_name(&name) {
            return Err(format!("{name:?} is no name of a function; write it without schema and arguments"));
        }
        Ok(name)
    };
    names.iter().map(read).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    database: String,
    query: String,
    #[serde(default)]
    params: Vec<Value>,
}

#[async_trait]
impl Tool for SqlQuery {
    fn spec(&self) -> ToolSpec {
        let mut database = json!({ "type": "string", "description": "name of a configured database" });
        if !self.databases.is_empty() {
            database["enum"] = self.databases.keys().cloned().collect();
        }
        ToolSpec {
            name: NAME.into(),
            description: format!(
                "Runs one SELECT on a configured database ({}). Answers {{\"rows\": [{{column: value}}], \"row_count\", \
                 \"truncated\"}}. PostgreSQL's tables are in information_schema.tables, SQLite's in sqlite_master.",
                if self.databases.is_empty() { "none is configured".to_owned() } else { self.names() }
            ),
            parameters: object(
                &json!({
                    "database": database,
                    "query": { "type": "string", "minLength": 1, "maxLength": query_guard::MAX_QUERY },
                    "params": {
                        "type": "array", "maxItems": MAX_PARAMS,
                        "items": { "type": ["string", "number", "boolean", "null"] },
                        "description": "values of $1, $2 … (PostgreSQL) or ?1, ?2 … (SQLite)"
                    },
                }),
                &["database", "query"],
            ),
            output: object(
                &json!({
                    "rows": { "type": "array", "items": { "type": "object" }, "description": "value by column" },
                    "row_count": { "type": "integer" },
                    "truncated": { "type": "boolean", "description": "whether some are left out" },
                }),
                &["rows", "row_count", "truncated"],
            ),
            effect: Effect::Read,
            idempotent: true,
            untrusted: true,
        }
    }

    fn is_usable(&self) -> bool {
        !self.databases.is_empty()
    }

    fn fault(&self, arguments: &Value) -> Option<String> {
        let name = constant(arguments, "database")?;
        let (database, query) = (self.databases.get(name)?, constant(arguments, "query")?);
        let reason = query_guard::check(query, database.dialect(), &database.functions).err()?;
        Some(argument_fault(NAME, "query", format!("database {name:?}: {reason}")))
    }

    async fn call(&self, context: &ToolContext, arguments: Value) -> ToolResult {
        let Arguments { database: name, query, params } = parse(arguments)?;
        let Some(database) = self.databases.get(&name) else {
            let way_out = if self.databases.is_empty() {
                "set tools.sql.NAME.url for each database that queries may read".to_owned()
            } else {
                format!("there are: {}", self.names())
            };
            return Err(Failure::invalid(format!("no database {name:?} is configured; {way_out}")));
        };
        let answer = database.answer(&query, params).await;
        match answer {
            Ok(rows) => Ok(json!({ "row_count": rows.found.len(), "truncated": rows.truncated, "rows": rows.found })),
            Err(SqlError::Refused(reason)) => Err(refused(NAME, context, format!("database {name:?}: {reason}"))),
            Err(SqlError::Failed(failure)) => {
                // Databases quote values in what they say of a query.
                Err(Failure { message: format!("database {name:?}: {}", failure.message), ..failure.quoting() })
            }
        }
    }
}

impl Database {
    const fn dialect(&self) -> Dialect {
        match &self.engine {
            Engine::Sqlite(_) => Dialect::Sqlite,
            Engine::Postgres(_) => Dialect::Postgres,
        }
    }

    async fn answer(&self, query: &str, params: Vec<Value>) -> Result<Rows, SqlError> {
        if params.len() > MAX_PARAMS {
            let reason = format!("{} parameters are given; at most {MAX_PARAMS} are allowed", params.len());
            return Err(SqlError::Failed(Failure::invalid(reason)));
        }
        let checked = query_guard::check(query, self.dialect(), &self.functions).map_err(SqlError::Refused)?;
        let permit = self.permits.take(self.limits.time).await?;
        match &self.engine {
            Engine::Sqlite(path) => sqlite::run(Arc::clone(path), checked, params, self.limits, permit).await,
            Engine::Postgres(server) => server.run(checked, params, self.limits, &self.functions, permit).await,
        }
    }
}

fn timed_out(limits: QueryLimits) -> SqlError {
    SqlError::Failed(Failure::timeout(format!("the query did not end within {} ms", limits.time.as_millis())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> DatabaseSettings {
        DatabaseSettings { url: url.into(), max_rows: 1, timeout_ms: 1, max_connections: 1, functions: Vec::new() }
    }

    fn told(settings: DatabaseSettings) -> String {
        let databases = BTreeMap::from([("sales".to_owned(), settings)]);
        SqlQuery::new(&databases).err().map(|error| error.to_string()).expect("an error")
    }

    #[test]
    fn a_bad_url_is_reported_by_the_name_of_its_database() {
        for url in ["mysql://root:hunter2@x/y", "sqlite://", "postgres://a:hunter2@host:port/x", "hunter2"] {
            let text = told(settings(url));
            assert!(text.starts_with("tools.sql.sales.url: ") && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn connections_and_functions_are_checked() {
        for max_connections in [0, 101] {
            let text = told(DatabaseSettings { max_connections, ..settings("sqlite://x.db") });
            assert!(text.starts_with("tools.sql.sales.max_connections: ") && text.contains("1 to 100"), "{text}");
        }
        for (url, name) in [("sqlite://x.db", "age_of"), ("postgres://x/y", "public.age_of"), ("postgres://x/y", "")] {
            let text = told(DatabaseSettings { functions: vec![name.to_owned()], ..settings(url) });
            assert!(text.starts_with("tools.sql.sales.functions: "), "{text}");
        }
    }
}
