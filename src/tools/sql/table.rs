//! `query_table`: one SELECT over a table that is no database: CSV, JSON lines, or a list of objects, given with the call, in a
//! file or an artifact, or at an address.
//!
//! The table is read into a SQLite database in memory, which holds nothing else and is gone with the call. Queries pass the
//! guard of `sql_query` and its limits, so that sums and counts are computed and never guessed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::files::{Workspace, fail, path_fault, read_whole};
use super::super::http::{self, HttpRequest};
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
const ONE_SOURCE: &str = "give one of table, path, artifact and url";
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
    http: Arc<HttpRequest>,
    permits: QueryPermits,
}

impl QueryTable {
    /// Queries tables that a call holds, files in `workspace`, artifacts in `store`, and what `http` gets.
    #[must_use]
    pub fn new(store: Store, workspace: Workspace, http: Arc<HttpRequest>) -> Self {
        Self { store, workspace, http, permits: QueryPermits::new(MAX_QUERIES) }
    }

    /// The table that the call names.
    async fn table(&self, context: &ToolContext, source: Source) -> Result<Table, Failure> {
        let bytes = match (source.table, source.path, source.artifact, source.url) {
            (Some(Value::String(text)), None, None, None) => text.into_bytes(),
            (Some(rows), None, None, None) => return blocking(move || Table::of_rows(&rows)).await,
            (None, None, None, Some(url)) => match self.body(context, url).await? {
                Value::String(text) => text.into_bytes(),
                rows => return blocking(move || Table::of_rows(&rows)).await,
            },
            (None, Some(path), None, None) => {
                let (workspace, task) = (self.workspace.clone(), context.task_id);
                let read = blocking(move || Ok(read_whole(&workspace, task, &path))).await?;
                read.map_err(|error| fail(NAME, context, error))?
            }
            (None, None, Some(name), None) => {
                let found = self.store.artifact(context.task_id, &name).await.map_err(|error| store_failure(&error))?;
                let missing = || Failure::invalid(format!("task {} has no artifact {name:?}", context.task_id));
                found.ok_or_else(missing)?.1
            }
            _ => return Err(Failure::invalid(ONE_SOURCE)),
        };
        blocking(move || Table::read(&bytes)).await
    }

    /// What is at `url`, for agents that may call `http_request` without being asked.
    async fn body(&self, context: &ToolContext, url: String) -> Result<Value, Failure> {
        let name = http::NAME;
        if !context.rights.allows_tool(name) {
            return Err(refused(
                NAME,
                context,
                format!("url wants the right to call {name}, which this agent does not have"),
            ));
        }
        if context.rights.must_ask(name) {
            let way_out = format!("get it with {name} first, and give its body as table");
            return Err(refused(NAME, context, format!("a person must approve each call of {name}: {way_out}")));
        }
        let mut answer = self.http.call(context, json!({ "url": url, "raw": true })).await?;
        Ok(answer["body"].take())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    query: String,
    #[serde(flatten)]
    source: Source,
}

/// Whether `table` is the address or the name of a file, and no table.
fn is_name(table: &str) -> bool {
    let is_word = !table.trim().is_empty() && !table.contains(char::is_whitespace) && !table.contains(['{', '[', '$']);
    is_word && (table.contains("://") || (table.contains('.') && !table.contains([',', ';'])))
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
    #[serde(default)]
    url: Option<String>,
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
                    "url": { "type": "string", "description": "instead of table: the address of one" },
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
            untrusted: true,
        }
    }

    /// Models give an empty text for what they leave out, and an address or a name in place of a table.
    fn prepare(&self, mut arguments: Value) -> Value {
        let Some(fields) = arguments.as_object_mut() else { return arguments };
        fields.retain(|name, value| name == "query" || value.as_str() != Some(""));
        let named = fields.get("table").and_then(Value::as_str).filter(|table| is_name(table)).map(str::to_owned);
        if let Some(named) = named {
            fields.remove("table");
            let place = if named.contains("://") { "url" } else { "path" };
            fields.entry(place).or_insert_with(|| named.into());
        }
        arguments
    }

    fn fault(&self, arguments: &Value) -> Option<String> {
        let sources = ["table", "path", "artifact", "url"].into_iter().filter(|name| is_given(arguments, name));
        if sources.count() != 1 {
            return Some(format!("{NAME}: {ONE_SOURCE}"));
        }
        let query = constant(arguments, "query");
        let reason = query.and_then(|query| query_guard::check(query, Dialect::Sqlite, &BTreeSet::new()).err());
        let reason = reason.map(|reason| argument_fault(NAME, "query", reason));
        reason.or_else(|| path_fault(NAME, arguments)).or_else(|| self.http.fault(arguments))
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
