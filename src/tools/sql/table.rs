//! `query_table`: one SELECT over a table that is no database: CSV, JSON lines, or a list of objects, given with the call, in a
//! file or an artifact, or at an address.
//!
//! The table is read into a SQLite database in memory, which holds nothing else and is gone with the call. Queries pass the
//! guard of `sql_query` and its limits, so that sums and counts are computed and never guessed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::files::{FileError, Workspace, fail, missing_beside, path_fault, read_whole};
use super::super::http::{self, HttpRequest};
use super::super::inputs::{
    argument_fault, blocking, constant, excerpt, is_given, object, parse, refused, store_failure,
};
use super::super::{Tool, ToolContext};
use super::import::Table;
use super::query_guard;
use super::query_permits::QueryPermits;
use super::table_query::{self, TableNames};
use super::{QueryLimits, SqlError, sqlite};
use crate::domain::failure::Failure;
use crate::domain::table_source::{QUERY_TABLE as NAME, is_name};
use crate::domain::tool::{Effect, ToolResult, ToolSpec};
use crate::store::Store;

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
        Self {
            store,
            workspace,
            http,
            permits: QueryPermits::new(MAX_QUERIES, "places for queries of tables", "try again later"),
        }
    }

    /// What is where the call says, not read as a table yet.
    async fn content(&self, context: &ToolContext, source: Source) -> Result<Content, Failure> {
        match (source.table, source.path, source.artifact, source.url) {
            (Some(Value::String(text)), None, None, None) if is_name(&text) => {
                let shown = excerpt(&text, 100);
                Err(Failure::invalid(format!(
                    "{shown:?} is one word and no table: give CSV, JSON lines or a list of objects"
                )))
            }
            (Some(Value::String(text)), None, None, None) => Ok(Content::Bytes(text.into_bytes())),
            (Some(rows), None, None, None) => Ok(Content::Rows(rows)),
            (None, None, None, Some(url)) => self.body(context, url).await,
            (None, Some(path), None, None) => {
                let (workspace, task, file) = (self.workspace.clone(), context.task_id, path.clone());
                match blocking(move || Ok(read_whole(&workspace, task, &file))).await? {
                    Ok(bytes) => Ok(Content::Bytes(bytes)),
                    // A file of the task that is too large for its folder is an artifact alone.
                    Err(FileError::Missing(missing)) => match self.artifact(context, &path).await? {
                        Some(bytes) => Ok(Content::Bytes(bytes)),
                        None => Err(missing_beside(&self.workspace, &missing).await?),
                    },
                    Err(error) => Err(fail(NAME, context, error)),
                }
            }
            (None, None, Some(name), None) => {
                let missing = || Failure::invalid(format!("task {} has no artifact {name:?}", context.task_id));
                self.artifact(context, &name).await?.map(Content::Bytes).ok_or_else(missing)
            }
            _ => Err(Failure::invalid(ONE_SOURCE)),
        }
    }

    async fn artifact(&self, context: &ToolContext, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        let found = self.store.artifact(context.task_id, name).await.map_err(|error| store_failure(&error))?;
        Ok(found.map(|(_, bytes)| bytes))
    }

    /// What is at `url`, for steps that may call `http_request`. Whether a person must approve that is decided before the call.
    async fn body(&self, context: &ToolContext, url: String) -> Result<Content, Failure> {
        let name = http::NAME;
        if !context.rights.allows_tool(name) {
            return Err(refused(
                NAME,
                context,
                format!("url wants the right to call {name}, which this agent or this step does not have"),
            ));
        }
        let mut answer = self.http.call(context, json!({ "url": url, "raw": true })).await?;
        if answer["encoding"] == "base64" {
            let kind = answer["headers"]["content-type"].as_str().unwrap_or("no content-type");
            return Err(Failure::invalid(format!(
                "the url answers no text ({kind}): a table is text in UTF-8, or names its charset"
            )));
        }
        Ok(match answer["body"].take() {
            Value::String(text) if http::is_page(&answer["headers"], &text) => Content::Page(text),
            Value::String(text) => Content::Bytes(text.into_bytes()),
            rows => Content::Rows(rows),
        })
    }
}

/// A table that is not read yet.
enum Content {
    Bytes(Vec<u8>),
    Rows(Value),
    /// An HTML page.
    Page(String),
}

impl Content {
    fn read(self) -> Result<Table, Failure> {
        match self {
            Self::Bytes(bytes) => Table::read(&bytes),
            Self::Rows(rows) => Table::of_rows(&rows),
            Self::Page(html) => {
                let mut tables = http::tables(&html);
                let (count, only) = (tables.len(), tables.pop());
                only.filter(|_| count == 1).map(Table::of_cells).ok_or_else(|| {
                    Failure::invalid(format!(
                        "the url is an HTML page with {count} tables, and one can be queried that is the only one: get the page \
                         with {}, and give the rows as table",
                        http::NAME
                    ))
                })?
            }
        }
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
                          \"header\", \"type\"}], \"table_rows\"}. Numbers with a decimal comma or a unit stay text. Where a query \
                          calculates or compares, a text that is no number fails it."
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
                    "url": { "type": "string", "description": "instead of table: the address of one, or of a page with one" },
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
                            "not_numbers": {
                                "type": "object",
                                "description": "of a column of numbers: how many cells are none, the row of the first, and it"
                            },
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

    /// Models give an empty text for what they leave out.
    fn prepare(&self, mut arguments: Value) -> Value {
        if let Some(fields) = arguments.as_object_mut() {
            fields.retain(|name, value| name == "query" || value.as_str() != Some(""));
        }
        arguments
    }

    fn fault(&self, arguments: &Value) -> Option<String> {
        let sources = ["table", "path", "artifact", "url"].into_iter().filter(|name| is_given(arguments, name));
        if sources.count() != 1 {
            return Some(format!("{NAME}: {ONE_SOURCE}"));
        }
        if constant(arguments, "table").is_some_and(is_name) {
            return Some(argument_fault(NAME, "table", "it is a name and no table: give it as path, artifact or url"));
        }
        let query = constant(arguments, "query");
        let place = ["path", "artifact", "url"].into_iter().find(|name| is_given(arguments, name));
        let names = match place.map(|name| constant(arguments, name)) {
            Some(None) => TableNames::open(),
            place => TableNames::of(place.flatten()),
        };
        let reason = query.and_then(|query| table_query::check(query, &names).err());
        let reason = reason.map(|reason| argument_fault(NAME, "query", reason));
        let of_url = || {
            let url = arguments.get("url").and_then(Value::as_str)?;
            Some(argument_fault(NAME, "url", http::impossible(url)?))
        };
        reason.or_else(|| path_fault(NAME, arguments)).or_else(of_url)
    }

    async fn call(&self, context: &ToolContext, arguments: Value) -> ToolResult {
        let Arguments { query, source } = parse(arguments)?;
        let names =
            TableNames::of([&source.path, &source.artifact, &source.url].into_iter().find_map(Option::as_deref));
        let checked = table_query::check(&query, &names).map_err(|reason| refused(NAME, context, reason))?;
        // What is far away may take its time, and keeps no other query waiting.
        let given = self.content(context, source).await?;
        // Tables in memory count as well, not only the queries over them.
        let permit = match self.permits.take(TIME).await {
            Ok(permit) => permit,
            Err(SqlError::Refused(reason)) => return Err(refused(NAME, context, reason)),
            Err(SqlError::Failed(failure)) => return Err(failure),
        };
        // What is said of a table quotes it.
        let table = blocking(move || given.read()).await.map_err(Failure::quoting)?;
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
                ..failure.quoting()
            }),
        }
    }
}
