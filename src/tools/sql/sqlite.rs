//! SQLite: opened for reading, told to stay so, and asked before each thing a query does.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{Value as SqlValue, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, Row};
use serde_json::{Map, Value};

use super::super::inputs::blocking;
use super::guard::Checked;
use super::{Limits, MAX_BYTES, Rows, SqlError, timed_out};
use crate::domain::failure::Failure;

/// Steps of SQLite's machine between two looks at the clock.
const STEPS: i32 = 1000;
/// How long to wait for a writer.
const BUSY: Duration = Duration::from_secs(2);

/// Runs a checked query on the file `path`.
pub(super) async fn run(
    path: Arc<Path>,
    checked: Checked,
    params: Vec<Value>,
    limits: Limits,
) -> Result<Rows, SqlError> {
    blocking(move || Ok(query(&path, &checked, &params, limits))).await.map_err(SqlError::Failed)?
}

fn query(path: &Path, checked: &Checked, params: &[Value], limits: Limits) -> Result<Rows, SqlError> {
    let deadline = Instant::now() + limits.time;
    let sort = |error: &rusqlite::Error| sort(error, limits);
    let connection = open(path, deadline).map_err(|error| sort(&error))?;
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
        let row = object(row, &names).map_err(|error| sort(&error))?;
        let bytes = row.to_string().len();
        if !rows.push(row, bytes, limits) {
            break;
        }
    }
    Ok(rows)
}

fn open(path: &Path, deadline: Instant) -> rusqlite::Result<Connection> {
    // Without SQLITE_OPEN_URI: a path cannot carry options.
    let mut connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, i32::try_from(MAX_BYTES).unwrap_or(i32::MAX))?;
    connection.progress_handler(STEPS, Some(move || Instant::now() >= deadline))?;
    connection.authorizer(Some(|context: AuthContext<'_>| authorize(&context)))?;
    Ok(connection)
}

/// Reading is allowed, and nothing else.
fn authorize(context: &AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => Authorization::Allow,
        AuthAction::Function { function_name } if !function_name.eq_ignore_ascii_case("load_extension") => {
            Authorization::Allow
        }
        _ => Authorization::Deny,
    }
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

fn sort(error: &rusqlite::Error, limits: Limits) -> SqlError {
    let code = error.sqlite_error_code();
    let message = error.to_string();
    match code {
        Some(ErrorCode::OperationInterrupted) => timed_out(limits),
        Some(ErrorCode::AuthorizationForStatementDenied | ErrorCode::ReadOnly) => SqlError::Refused(message),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => SqlError::Failed(Failure::transient(message)),
        Some(ErrorCode::CannotOpen) => SqlError::Failed(Failure::permanent("the database file cannot be opened")),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => SqlError::Failed(Failure::permanent(message)),
        _ => SqlError::Failed(Failure::invalid(message)),
    }
}
