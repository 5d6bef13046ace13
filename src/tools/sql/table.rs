//! `query_table`: one SELECT over a table that is no database: CSV, JSON lines, or a list of objects.
//!
//! The table is read into a SQLite database in memory, which holds nothing else and is gone with the call. Queries pass the
//! guard of `sql_query` and its limits, so that sums and counts are computed and never guessed.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::files::{Workspace, fail, path_fault, read_whole};
use super::super::inputs::{
    argument_fault, blocking, constant, excerpt, is_given, object, parse, refused, store_failure,
};
use super::super::{Tool, ToolContext};
use super::import::Table;
use super::query_guard::{self, Dialect};
use super::query_permits::QueryPermits;
use super::{QueryLimits, SqlError, sqlite};
use crate::domain::failure::Failure;
use crate::domain::tool::{Effect, ToolResult, ToolSpec};
use crate::store::Store;

const NAME: &str = "query_table";
const ONE_SOURCE: &str = "give one of table, path and artifact";
/// Most rows of one answer.
const MAX_ROWS: usize = 500;
/// Time to read a table and to answer.
const TIME: Duration = Duration::from_secs(10);
/// Queries at a time.
const MAX_QUERIES: usize = 4;

/// The tool `query_table`.
pub struct QueryTable {
    store: Store,
    workspace: Workspace,
    permits: QueryPermits,
}

impl QueryTable {
    /// Queries tables that a call holds, files in `workspace`, and artifacts in `store`.
    #[must_use]
    pub fn new(store: Store, workspace: Workspace) -> Self {
        Self { store, workspace, permits: QueryPermits::new(MAX_QUERIES) }
    }

    /// The table that the call names.
    async fn table(&self, context: &ToolContext, source: Source) -> Result<Table, Failure> {
        let bytes = match (source.table, source.path, source.artifact) {
            (Some(Value::String(text)), None, None) => text.into_bytes(),
            (Some(rows), None, None) => return blocking(move || Table::of_rows(&rows)).await,
            (None, Some(path), None) => {
                let (workspace, task) = (self.workspace.clone(), context.task_id);
                let read = blocking(move || Ok(read_whole(&workspace, task, &path))).await?;
                read.map_err(|error| fail(NAME, context, error))?
            }
            (None, None, Some(name)) => {
                let found = self.store.artifact(context.task_id, &name).await.map_err(|error| store_failure(&error))?;
                let missing = || Failure::invalid(format!("task {} has no artifact {name:?}", context.task_id));
                found.ok_or_else(missing)?.1
            }
            _ => return Err(Failure::invalid(ONE_SOURCE)),
        };
        blocking(move || Table::read(&bytes)).await
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    query: String,
    #[serde(flatten)]
    source: Source,
}

/// Where the table is.
#[derive(Deserialize)]
struct Source {
    #[serde(default)]
    table: Option<Value>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    artifact: Option<String>,
}

#[async_trait]
impl Tool for QueryTable {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: NAME.into(),
            description: "Runs one SELECT of SQLite over a table called data, from CSV, JSON lines or a list of objects. Use it for \
                          sums, counts and filters. Names of columns are in lower case with _ for other signs: Unit price is \
                          unit_price. Answers {\"rows\": [{column: value}], \"row_count\", \"truncated\", \"columns\": [{\"name\", \
                          \"header\", \"type\"}], \"table_rows\"}. Numbers with a decimal comma or a unit stay text."
                .into(),
            parameters: object(
                &json!({
                    "query": {
                        "type": "string", "minLength": 1, "maxLength": query_guard::MAX_QUERY,
                        "description": "for example \"SELECT city, sum(amount) AS total FROM data GROUP BY city\""
                    },
                    "table": {
                        "type": ["string", "array"],
                        "description": "CSV with a header (comma, semicolon or tab), JSON lines, or a list of objects"
                    },
                    "path": { "type": "string", "description": "instead of table: a file in this task's own folder" },
                    "artifact": { "type": "string", "description": "instead of table: an artifact of this task" },
                }),
                &["query"],
            ),
            output: object(
                &json!({
                    "rows": { "type": "array", "items": { "type": "object" }, "description": "value by column" },
                    "row_count": { "type": "integer" },
                    "truncated": { "type": "boolean", "description": "whether some are left out" },
                    "columns": { "type": "array", "description": "of the table", "items": object(
                        &json!({
                            "name": { "type": "string" },
                            "header": { "type": "string", "description": "as it is written in the table" },
                            "type": { "type": "string", "enum": ["integer", "real", "text"] },
                        }),
                        &["name", "header", "type"],
                    )},
                    "table_rows": { "type": "integer", "description": "rows of the table" },
                }),
                &["rows", "row_count", "truncated", "columns", "table_rows"],
            ),
            effect: Effect::Read,
            idempotent: true,
        }
    }

    fn fault(&self, arguments: &Value) -> Option<String> {
        let sources = ["table", "path", "artifact"].into_iter().filter(|name| is_given(arguments, name));
        if sources.count() != 1 {
            return Some(format!("{NAME}: {ONE_SOURCE}"));
        }
        let query = constant(arguments, "query");
        let reason = query.and_then(|query| query_guard::check(query, Dialect::Sqlite, &BTreeSet::new()).err());
        reason.map(|reason| argument_fault(NAME, "query", reason)).or_else(|| path_fault(NAME, arguments))
    }

    async fn call(&self, context: &ToolContext, arguments: Value) -> ToolResult {
        let Arguments { query, source } = parse(arguments)?;
        let checked = query_guard::check(&query, Dialect::Sqlite, &BTreeSet::new());
        let checked = checked.map_err(|reason| refused(NAME, context, reason))?;
        // Tables in memory count as well, not only the queries over them.
        let permit = match self.permits.take(TIME).await {
            Ok(permit) => permit,
            Err(SqlError::Refused(reason)) => return Err(refused(NAME, context, reason)),
            Err(SqlError::Failed(failure)) => return Err(failure),
        };
        let table = self.table(context, source).await?;
        let (columns, count, known) = (table.described(), table.rows.len(), table.names());
        let limits = QueryLimits { rows: MAX_ROWS, time: TIME };
        let answer = sqlite::run_on_table(table, checked, limits, permit).await;
        match answer {
            Ok(rows) => Ok(json!({
                "row_count": rows.found.len(), "truncated": rows.truncated, "rows": rows.found, "columns": columns,
                "table_rows": count,
            })),
            Err(SqlError::Refused(reason)) => Err(refused(NAME, context, reason)),
            Err(SqlError::Failed(failure)) => Err(Failure {
                message: format!("{}; the table data has the columns: {}", failure.message, excerpt(&known, 1000)),
                ..failure
            }),
        }
    }
}
