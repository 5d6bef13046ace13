//! SQLite: opened read-only, with an authorizer that checks each operation of a query.
//!
//! A query ends at its time limit for three reasons: SQLite looks at the clock between the steps of its machine, the
//! functions that may take long within one step look at it themselves (see [`functions`]), and the caller interrupts
//! SQLite, which ends a step that reads many pages, such as `count(*)`.

mod figures;
mod functions;
mod pattern;
mod query_clock;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{Value as SqlValue, ValueRef};
use rusqlite::{Connection, ErrorCode, InterruptHandle, OpenFlags, Row};
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::super::inputs::{blocking, excerpt};
use super::import::Table;
use super::lists::{SQLITE_FUNCTIONS, SQLITE_OPERATORS, is_sqlite_inside};
use super::query_guard::CheckedQuery;
use super::query_permits::QueryPermit;
use super::{MAX_BYTES, MAX_MESSAGE, MAX_PARAMS, QueryLimits, Rows, SqlError, timed_out};
use crate::domain::failure::Failure;

/// Steps of SQLite's machine between two checks of the clock.
const STEPS: i32 = 200;
/// Longest wait for a writer.
const BUSY: Duration = Duration::from_secs(2);
/// How long after its time limit a query's caller is answered at the latest, whatever the file system does.
const GRACE: Duration = Duration::from_secs(1);
/// Most memory of all SQLite queries of this process together, in bytes. Sorting and temporary tables count: a query writes
/// no temporary files.
const MAX_MEMORY: i64 = 128 * 1024 * 1024;
/// Longest program of a query, in steps. What is written once may be computed often, as `SELECT a, a FROM (SELECT f() AS a)`
/// shows, and between two looks at the clock.
const MAX_PROGRAM: i32 = 25_000;

/// SQLite queries that run in this process: they share its memory limit.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// A query that counts as running until it is dropped.
struct RunningQuery;

impl RunningQuery {
    fn start() -> Self {
        RUNNING.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for RunningQuery {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs a checked query on the file `path`.
pub(super) async fn run(
    path: Arc<Path>,
    checked: CheckedQuery,
    params: Vec<Value>,
    limits: QueryLimits,
    permit: QueryPermit,
) -> Result<Rows, SqlError> {
    let open = move |deadline| open(&path, deadline, limits.time);
    run_on(open, checked, params, limits, permit).await
}

/// Runs a checked query on `table`, which is called `data`.
pub(super) async fn run_on_table(
    table: Table,
    checked: CheckedQuery,
    limits: QueryLimits,
    permit: QueryPermit,
) -> Result<Rows, SqlError> {
    run_on(move |deadline| hold(table, deadline), checked, Vec::new(), limits, permit).await
}

/// Runs a checked query. One that the file system keeps from ending holds its `permit` until it ends.
async fn run_on(
    open: impl FnOnce(Instant) -> rusqlite::Result<Connection> + Send + 'static,
    checked: CheckedQuery,
    params: Vec<Value>,
    limits: QueryLimits,
    permit: QueryPermit,
) -> Result<Rows, SqlError> {
    let (opened, mut interrupt) = oneshot::channel();
    let work = blocking(move || {
        let answer = query(open, &checked, &params, limits, opened);
        drop(permit);
        Ok(answer)
    });
    let mut work = std::pin::pin!(work);
    let answer = if let Ok(answer) = tokio::time::timeout(limits.time, &mut work).await {
        answer
    } else {
        // The handle is missing when the file system keeps SQLite from opening the file.
        if let Ok(interrupt) = interrupt.try_recv() {
            interrupt.interrupt();
        }
        tokio::time::timeout(GRACE, work).await.map_err(|_| timed_out(limits))?
    };
    answer.map_err(SqlError::Failed)?
}

/// Reads the rows. `opened` receives what interrupts the query as soon as the file is open.
fn query(
    open: impl FnOnce(Instant) -> rusqlite::Result<Connection>,
    checked: &CheckedQuery,
    params: &[Value],
    limits: QueryLimits,
    opened: oneshot::Sender<InterruptHandle>,
) -> Result<Rows, SqlError> {
    let _running = RunningQuery::start();
    let deadline = Instant::now() + limits.time;
    let sort = |error: &rusqlite::Error| sort(error, limits);
    let connection = open(deadline).map_err(|error| sort(&error))?;
    // The receiver is gone when the caller was cancelled: then the clock ends the query.
    drop(opened.send(connection.get_interrupt_handle()));
    let mut statement = connection.prepare(&checked.text).map_err(|error| sort(&error))?;
    if !statement.readonly() {
        return Err(SqlError::Refused("the query writes".to_owned()));
    }
    if statement.parameter_count() != params.len() {
        let reason = format!("the query has {} parameters, {} are given", statement.parameter_count(), params.len());
        return Err(SqlError::Failed(Failure::invalid(reason)));
    }
    for (at, param) in params.iter().enumerate() {
        statement.raw_bind_parameter(at + 1, bind(param)).map_err(|error| sort(&error))?;
    }
    let names: Vec<String> = statement.column_names().map(ToOwned::to_owned).collect();
    let mut found = statement.raw_query();
    let mut rows = Rows::default();
    while let Some(row) = found.next().map_err(|error| sort(&error))? {
        if Instant::now() >= deadline {
            return Err(timed_out(limits));
        }
        if rows.bytes + least_bytes(row, names.len()).map_err(|error| sort(&error))? > MAX_BYTES {
            rows.truncated = true;
            break;
        }
        let row = object(row, &names).map_err(|error| sort(&error))?;
        let bytes = row.to_string().len();
        if !rows.push(row, bytes, limits) {
            break;
        }
    }
    Ok(rows)
}

fn open(path: &Path, deadline: Instant, time: Duration) -> rusqlite::Result<Connection> {
    // Without SQLITE_OPEN_URI: a path cannot carry options.
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY.min(time))?;
    limit_memory(&connection)?;
    restricted(connection, deadline)
}

/// A database in memory that holds `table`, and nothing else.
fn hold(table: Table, deadline: Instant) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    limit_memory(&connection)?;
    figures::register(&connection)?;
    // With types, a text in a query that is a number is compared as one with a column of numbers.
    let names: Vec<String> =
        table.columns.iter().map(|column| format!("\"{}\" {}", column.name, column.kind)).collect();
    let places = vec!["?"; names.len()].join(", ");
    let filling = connection.transaction()?;
    filling.execute(&format!("CREATE TABLE data ({})", names.join(", ")), ())?;
    {
        let mut insert = filling.prepare(&format!("INSERT INTO data VALUES ({places})"))?;
        for row in table.rows {
            if Instant::now() >= deadline {
                return Err(out_of_time());
            }
            insert.execute(rusqlite::params_from_iter(row))?;
        }
    }
    filling.commit()?;
    restricted(connection, deadline)
}

/// The error of a query that ran out of time.
fn out_of_time() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_INTERRUPT), None)
}

fn limit_memory(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update_and_check(None, "hard_heap_limit", MAX_MEMORY, |_| Ok(()))
}

/// `connection` for a query that only reads, with all limits.
fn restricted(mut connection: Connection, deadline: Instant) -> rusqlite::Result<Connection> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "query_only", true)?;
    let parameters = i32::try_from(MAX_PARAMS).unwrap_or(i32::MAX);
    for (limit, most) in [
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_LENGTH, i32::try_from(MAX_BYTES).unwrap_or(i32::MAX)),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, parameters),
        (Limit::SQLITE_LIMIT_VDBE_OP, MAX_PROGRAM),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        connection.set_limit(limit, most)?;
    }
    functions::replace_slow(&connection, deadline)?;
    connection.progress_handler(STEPS, Some(move || Instant::now() >= deadline))?;
    connection.authorizer(Some(|context: AuthContext<'_>| authorize(&context)))?;
    Ok(connection)
}

/// Reading is allowed, and the functions of the list, however they are written: SQLite asks here for operators, table
/// functions and views too.
fn authorize(context: &AuthContext<'_>) -> Authorization {
    let is_allowed = match context.action {
        AuthAction::Select
        | AuthAction::Recursive
        // Operations of a full-text table before it answers.
        | AuthAction::Pragma { pragma_name: "data_version", pragma_value: None } => true,
        AuthAction::Read { table_name, .. } => !is_sqlite_inside(&table_name.to_ascii_lowercase()),
        AuthAction::Function { function_name } => {
            let name = function_name.to_ascii_lowercase();
            SQLITE_FUNCTIONS.contains(&name)
                || SQLITE_OPERATORS.contains(&name)
                || figures::NAMES.contains(&name.as_str())
        }
        _ => false,
    };
    if is_allowed { Authorization::Allow } else { Authorization::Deny }
}

fn bind(param: &Value) -> SqlValue {
    match param {
        Value::Null => SqlValue::Null,
        Value::Bool(value) => SqlValue::Integer(i64::from(*value)),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| number.as_f64().map_or(SqlValue::Null, SqlValue::Real), SqlValue::Integer)
        }
        Value::String(text) => SqlValue::Text(text.clone()),
        other => SqlValue::Text(other.to_string()),
    }
}

/// Fewest bytes that a row takes as JSON, found without copying any of it.
fn least_bytes(row: &Row<'_>, columns: usize) -> rusqlite::Result<usize> {
    let mut bytes = 0;
    for at in 0..columns {
        bytes += match row.get_ref(at)? {
            ValueRef::Text(text) => text.len(),
            ValueRef::Blob(bytes) => bytes.len() * 2,
            _ => 1,
        };
    }
    Ok(bytes)
}

fn object(row: &Row<'_>, names: &[String]) -> rusqlite::Result<Value> {
    let mut object = Map::new();
    for (at, name) in names.iter().enumerate() {
        let value = match row.get_ref(at)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => number.into(),
            ValueRef::Real(number) => number.into(),
            ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
            // As PostgreSQL writes bytes.
            ValueRef::Blob(bytes) => {
                let mut text = "\\x".to_owned();
                for nibble in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
                    text.extend(char::from_digit(u32::from(nibble), 16));
                }
                text.into()
            }
        };
        object.insert(name.clone(), value);
    }
    Ok(Value::Object(object))
}

fn sort(error: &rusqlite::Error, limits: QueryLimits) -> SqlError {
    let code = error.sqlite_error_code();
    let message = excerpt(&error.to_string(), MAX_MESSAGE);
    match code {
        Some(ErrorCode::OperationInterrupted) => timed_out(limits),
        Some(ErrorCode::AuthorizationForStatementDenied | ErrorCode::ReadOnly) => SqlError::Refused(message),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => SqlError::Failed(Failure::transient(message)),
        Some(ErrorCode::CannotOpen) => SqlError::Failed(Failure::permanent("the database file cannot be opened")),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => SqlError::Failed(Failure::permanent(message)),
        Some(ErrorCode::OutOfMemory) if RUNNING.load(Ordering::Relaxed) > 1 => {
            SqlError::Failed(Failure::transient(format!(
                "the SQLite queries that run now need more memory than the {} MiB that they share",
                MAX_MEMORY / 1024 / 1024
            )))
        }
        Some(ErrorCode::OutOfMemory) => SqlError::Failed(Failure::invalid(format!(
            "the query needs more memory than there is: {} MiB for all SQLite queries, and {MAX_PROGRAM} steps of its \
             program; ask for fewer rows, sort less, or write it in a simpler way",
            MAX_MEMORY / 1024 / 1024
        ))),
        _ => SqlError::Failed(Failure::invalid(message)),
    }
}
