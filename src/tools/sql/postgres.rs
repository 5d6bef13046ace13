//! PostgreSQL: one read-only transaction, always rolled back, over the extended protocol, which knows no second
//! statement. The query runs inside a subquery, where the grammar itself allows nothing that writes.

mod catalogue;
mod connections;

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::TryStreamExt;
use serde_json::Value;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config, Row, Transaction};

use self::connections::Connections;
use super::super::inputs::excerpt;
use super::query_guard::CheckedQuery;
use super::query_permits::QueryPermit;
use super::{MAX_BYTES, MAX_MESSAGE, QueryLimits, Rows, SqlError, timed_out};
use crate::domain::failure::Failure;
use crate::domain::json;

/// Time that the server has to stop a query by itself before the query is cancelled and the connection is closed.
const GRACE: Duration = Duration::from_secs(2);
/// Most rows asked for at once, each of at most [`MAX_BYTES`].
const BATCH: i32 = 32;

/// One PostgreSQL database.
pub(super) struct Postgres {
    connections: Connections,
}

impl Postgres {
    /// Connects to nothing yet.
    pub(super) fn new(config: Config) -> Self {
        Self { connections: Connections::new(config) }
    }

    /// Runs a checked query. `more` are functions that the configuration allows.
    pub(super) async fn run(
        &self,
        checked: CheckedQuery,
        params: Vec<Value>,
        limits: QueryLimits,
        more: &BTreeSet<String>,
        permit: QueryPermit,
    ) -> Result<Rows, SqlError> {
        let mut lease = self.connections.take(permit).await?;
        let Some(client) = lease.client() else { return Err(SqlError::Failed(Failure::transient("no connection"))) };
        let answer = tokio::time::timeout(limits.time + GRACE, query(client, &checked, params, limits, more));
        let (rows, is_clean) = answer.await.map_err(|_| timed_out(limits))?;
        if is_clean {
            lease.give_back();
        }
        rows
    }
}

/// The answer, and whether the transaction has been rolled back, so that the connection is as good as new.
async fn query(
    client: &mut Client,
    checked: &CheckedQuery,
    params: Vec<Value>,
    limits: QueryLimits,
    more: &BTreeSet<String>,
) -> (Result<Rows, SqlError>, bool) {
    let transaction = match client.build_transaction().read_only(true).start().await {
        Ok(transaction) => transaction,
        Err(error) => return (Err(sort(&error, Some(limits))), false),
    };
    let rows = read(&transaction, checked, params, limits, more).await;
    let is_clean = transaction.rollback().await.is_ok();
    (rows, is_clean)
}

/// The rows that fit into an answer. The server computes no more than the batch in which the answer is full.
async fn read(
    transaction: &Transaction<'_>,
    checked: &CheckedQuery,
    params: Vec<Value>,
    limits: QueryLimits,
    more: &BTreeSet<String>,
) -> Result<Rows, SqlError> {
    let failed = |error: tokio_postgres::Error| sort(&error, Some(limits));
    // Set by function, because SET takes no parameters. Valid until the end of the transaction.
    let setting = "SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $1, true), \
                   set_config('standard_conforming_strings', 'on', true)";
    transaction.query_one(setting, &[&limits.time.as_millis().to_string()]).await.map_err(failed)?;
    enter_as_reader(transaction).await?;
    if let Some(reason) = catalogue::refusal(transaction, &checked.named, more).await.map_err(failed)? {
        return Err(SqlError::Refused(reason));
    }

    // Rows come as JSON text, so that every type the server knows has a form; one that is too large stays there.
    let rows_wanted = limits.rows.saturating_add(1);
    let text = format!(
        "SELECT CASE WHEN octet_length(qron_row) <= {MAX_BYTES} THEN qron_row END FROM (SELECT \
         row_to_json(qron_query)::text AS qron_row FROM ({}) AS qron_query LIMIT {rows_wanted}) AS qron_rows",
        checked.text
    );
    let statement = transaction.prepare(&text).await.map_err(failed)?;
    if statement.params().len() != params.len() {
        let reason = format!("the query has {} parameters, {} are given", statement.params().len(), params.len());
        return Err(SqlError::Failed(Failure::invalid(reason)));
    }
    let portal = transaction.bind_raw(&statement, params.into_iter().map(Param)).await.map_err(failed)?;
    let mut rows = Rows::default();
    let (mut is_full, mut is_last) = (false, false);
    while !is_full && !is_last {
        // No more than what is missing and one, which tells that there are more: each row may take the server long.
        let missing = limits.rows.saturating_sub(rows.found.len()).saturating_add(1);
        let batch = i32::try_from(missing).map_or(BATCH, |missing| missing.min(BATCH));
        let stream = transaction.query_portal_raw(&portal, batch).await.map_err(failed)?;
        let mut stream = std::pin::pin!(stream);
        let mut count = 0;
        // A batch is read to its end, so that the connection can be used again.
        while let Some(row) = stream.try_next().await.map_err(failed)? {
            count += 1;
            if !is_full {
                is_full = !push(&mut rows, &row, limits)?;
            }
        }
        is_last = count < batch;
    }
    Ok(rows)
}

/// Adds a row of the server to an answer; `false` when the answer is full.
fn push(rows: &mut Rows, row: &Row, limits: QueryLimits) -> Result<bool, SqlError> {
    let text = row.try_get::<_, Option<&str>>(0).map_err(|error| sort(&error, Some(limits)))?;
    let Some(text) = text else {
        rows.truncated = true;
        return Ok(true);
    };
    let value = json::read(text)
        .map_err(|error| SqlError::Failed(Failure::permanent(format!("a row cannot be read: {error}"))))?;
    Ok(rows.push(value, text.len(), limits))
}

/// A superuser is bound by no transaction mode when it calls functions on files: it steps down to a role that can
/// only read tables.
async fn enter_as_reader(transaction: &Transaction<'_>) -> Result<(), SqlError> {
    let failed = |error: tokio_postgres::Error| sort(&error, None);
    let row = transaction.query_one("SELECT current_setting('is_superuser')", &[]).await.map_err(failed)?;
    if row.try_get::<_, String>(0).map_err(failed)? != "on" {
        return Ok(());
    }
    transaction
        .execute("SELECT set_config('role', 'pg_read_all_data', true)", &[])
        .await
        .map(drop)
        .map_err(|_| SqlError::Refused("its role is a superuser; configure one that can only read".to_owned()))
}

/// A parameter, sent as text: the server reads it by the type it wants.
#[derive(Debug)]
struct Param(Value);

impl ToSql for Param {
    fn to_sql(&self, _type: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match &self.0 {
            Value::Null => return Ok(IsNull::Yes),
            Value::String(text) => out.extend_from_slice(text.as_bytes()),
            other => out.extend_from_slice(other.to_string().as_bytes()),
        }
        Ok(IsNull::No)
    }

    fn accepts(_type: &Type) -> bool {
        true
    }

    fn encode_format(&self, _type: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// Sorts an error; its words never hold the URL.
fn sort(error: &tokio_postgres::Error, limits: Option<QueryLimits>) -> SqlError {
    let Some(answer) = error.as_db_error() else {
        let reason = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        return SqlError::Failed(Failure::transient(reason));
    };
    let message = excerpt(answer.message(), MAX_MESSAGE);
    let code = answer.code();
    match (code, limits) {
        (code, Some(limits)) if *code == SqlState::QUERY_CANCELED => timed_out(limits),
        (code, _) if *code == SqlState::READ_ONLY_SQL_TRANSACTION => SqlError::Refused(message),
        _ => SqlError::Failed(match code.code().get(..2).unwrap_or_default() {
            // Connections, rollbacks, resources, shutdown.
            "08" | "40" | "53" | "55" | "57" => Failure::transient(message),
            "22" | "42" if *code != SqlState::INSUFFICIENT_PRIVILEGE => Failure::invalid(message),
            _ => Failure::permanent(message),
        }),
    }
}
