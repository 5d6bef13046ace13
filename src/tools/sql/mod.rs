//! `sql_query`: one reading query on a configured database.
//!
//! Three locks, any of which would do: the database is opened or entered as a reader, the transaction is read-only and
//! rolled back, and the text is parsed and must be a single SELECT without functions that act.

mod guard;
mod postgres;
mod sqlite;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};

use self::guard::Dialect;
use super::inputs::{object, parse, refused};
use super::{DatabaseSettings, Tool, ToolContext, ToolboxError};
use crate::domain::failure::Failure;
use crate::domain::tool::{Effect, ToolResult, ToolSpec};

const NAME: &str = "sql_query";
/// Largest answer, in bytes of JSON.
const MAX_BYTES: usize = 1024 * 1024;
/// Most parameters of one query.
const MAX_PARAMS: usize = 100;

/// The query that the guard lets pass for `text`, as the guard writes it out.
#[cfg(feature = "fuzzing")]
pub(super) fn checked(text: &str, postgres: bool) -> Result<String, String> {
    let dialect = if postgres { Dialect::Postgres } else { Dialect::Sqlite };
    guard::check(text, dialect).map(|checked| checked.text)
}

/// The tool `sql_query`.
pub struct SqlQuery {
    databases: BTreeMap<String, Database>,
}

struct Database {
    engine: Engine,
    limits: Limits,
}

enum Engine {
    Sqlite(Arc<std::path::Path>),
    Postgres(Box<tokio_postgres::Config>),
}

/// What one answer may cost.
#[derive(Clone, Copy)]
struct Limits {
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
    /// Takes a row in; `false` when it is one too many.
    fn push(&mut self, row: Value, bytes: usize, limits: Limits) -> bool {
        if self.found.len() >= limits.rows || self.bytes + bytes > MAX_BYTES {
            self.truncated = true;
            return false;
        }
        self.bytes += bytes;
        self.found.push(row);
        true
    }
}

/// Why there is no answer. The name of the database is put before it.
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
            let engine = engine(settings.url.expose_secret())
                .map_err(|reason| ToolboxError::new(format!("sql.{name}.url"), reason))?;
            let limits = Limits { rows: settings.max_rows, time: Duration::from_millis(settings.timeout_ms) };
            Ok((name.clone(), Database { engine, limits }))
        };
        Ok(Self { databases: databases.iter().map(read).collect::<Result<_, ToolboxError>>()? })
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
        return Ok(Engine::Postgres(Box::new(config?)));
    }
    Err("names no known database; use postgres://… or sqlite://PATH".to_owned())
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
                    "query": { "type": "string", "minLength": 1, "maxLength": guard::MAX_QUERY },
                    "params": {
                        "type": "array", "maxItems": MAX_PARAMS,
                        "items": { "type": ["string", "number", "boolean", "null"] },
                        "description": "values of $1, $2 … (PostgreSQL) or ?1, ?2 … (SQLite)"
                    },
                }),
                &["database", "query"],
            ),
            effect: Effect::Read,
            idempotent: true,
        }
    }

    async fn call(&self, context: &ToolContext, arguments: Value) -> ToolResult {
        let Arguments { database: name, query, params } = parse(arguments)?;
        let Some(database) = self.databases.get(&name) else {
            return Err(Failure::invalid(format!("no database {name:?} is configured; there are: {}", self.names())));
        };
        let answer = match &database.engine {
            Engine::Sqlite(path) => match guard::check(&query, Dialect::Sqlite) {
                Ok(checked) => sqlite::run(Arc::clone(path), checked, params, database.limits).await,
                Err(reason) => Err(SqlError::Refused(reason)),
            },
            Engine::Postgres(config) => match guard::check(&query, Dialect::Postgres) {
                Ok(checked) => postgres::run(config, &checked, params, database.limits).await,
                Err(reason) => Err(SqlError::Refused(reason)),
            },
        };
        match answer {
            Ok(rows) => Ok(json!({ "row_count": rows.found.len(), "truncated": rows.truncated, "rows": rows.found })),
            Err(SqlError::Refused(reason)) => Err(refused(NAME, context, format!("database {name:?}: {reason}"))),
            Err(SqlError::Failed(failure)) => {
                Err(Failure { message: format!("database {name:?}: {}", failure.message), ..failure })
            }
        }
    }
}

fn timed_out(limits: Limits) -> SqlError {
    SqlError::Failed(Failure::timeout(format!("the query did not end within {} ms", limits.time.as_millis())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_url_is_told_by_the_name_of_its_database() {
        for url in ["mysql://root:hunter2@x/y", "sqlite://", "postgres://a:hunter2@host:port/x", "hunter2"] {
            let settings = DatabaseSettings { url: url.into(), max_rows: 1, timeout_ms: 1 };
            let Err(error) = SqlQuery::new(&BTreeMap::from([("sales".to_owned(), settings)])) else { panic!("{url}") };
            let text = error.to_string();
            assert!(text.starts_with("tools.sql.sales.url: ") && !text.contains("hunter2"), "{text}");
        }
    }
}
