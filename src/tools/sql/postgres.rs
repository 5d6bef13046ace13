//! PostgreSQL: one read-only transaction, always rolled back, over the extended protocol, which knows no second
//! statement. The query runs inside a subquery, where the grammar itself allows nothing that writes.

use std::error::Error;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::TryStreamExt;
use rustls::ClientConfig;
use rustls_platform_verifier::ConfigVerifierExt;
use serde_json::Value;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;

use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config, NoTls, Transaction};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;

use super::guard::Checked;
use super::{Limits, MAX_BYTES, Rows, SqlError, timed_out};
use crate::domain::failure::Failure;
use crate::domain::json;

/// Time limit to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What the server gets to stop by itself before the connection is cut.
const GRACE: Duration = Duration::from_secs(2);

/// Functions that PostgreSQL calls volatile and that change nothing.
const HARMLESS: &[&str] = &["random", "clock_timestamp", "timeofday", "gen_random_uuid"];

/// Runs a checked query on the database of `config`.
pub(super) async fn run(
    config: &Config,
    checked: &Checked,
    params: Vec<Value>,
    limits: Limits,
) -> Result<Rows, SqlError> {
    let mut config = config.clone();
    config.connect_timeout(CONNECT_TIMEOUT).application_name("qron");
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connect(&config)).await;
    let (mut client, _connection) = connected.map_err(|_| {
        SqlError::Failed(Failure::transient(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())))
    })??;
    let answer = tokio::time::timeout(limits.time + GRACE, query(&mut client, checked, params, limits));
    answer.await.map_err(|_| timed_out(limits))?
}

/// The connection ends when its handle is dropped.
async fn connect(config: &Config) -> Result<(Client, AbortOnDropHandle<()>), SqlError> {
    let failed = |error: tokio_postgres::Error| sort(&error, None);
    if config.get_ssl_mode() == SslMode::Disable {
        let (client, connection) = config.connect(NoTls).await.map_err(failed)?;
        return Ok((client, drive(connection)));
    }
    super::super::tls::install_provider();
    let tls = ClientConfig::with_platform_verifier()
        .map_err(|error| SqlError::Failed(Failure::permanent(format!("TLS cannot be set up: {error}"))))?;
    let (client, connection) = config.connect(MakeRustlsConnect::new(tls)).await.map_err(failed)?;
    Ok((client, drive(connection)))
}

fn drive(
    connection: impl Future<Output = Result<(), tokio_postgres::Error>> + Send + 'static,
) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = connection.await {
            // The query that waits for it is told too.
            tracing::debug!(%error, "connection of sql_query ended");
        }
    }))
}

async fn query(client: &mut Client, checked: &Checked, params: Vec<Value>, limits: Limits) -> Result<Rows, SqlError> {
    let failed = |error: tokio_postgres::Error| sort(&error, Some(limits));
    let transaction = client.build_transaction().read_only(true).start().await.map_err(failed)?;
    // Set by function, because SET takes no parameters. Valid until the end of the transaction.
    let setting = "SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $1, true), \
                   set_config('standard_conforming_strings', 'on', true)";
    transaction.query_one(setting, &[&limits.time.as_millis().to_string()]).await.map_err(failed)?;
    enter_as_reader(&transaction).await?;
    refuse_volatile(&transaction, checked)
        .await
        .map_err(failed)?
        .map_or(Ok(()), |reason| Err(SqlError::Refused(reason)))?;

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
    let stream = transaction.query_raw(&statement, params.into_iter().map(Param)).await.map_err(failed)?;
    let mut stream = std::pin::pin!(stream);
    let mut rows = Rows::default();
    while let Some(row) = stream.try_next().await.map_err(failed)? {
        let Some(text) = row.try_get::<_, Option<String>>(0).map_err(failed)? else {
            rows.truncated = true;
            continue;
        };
        let value = json::read(&text)
            .map_err(|error| SqlError::Failed(Failure::permanent(format!("a row cannot be read: {error}"))))?;
        if !rows.push(value, text.len(), limits) {
            // What is left is not wanted: cutting the connection, as dropping it does, ends the transaction.
            return Ok(rows);
        }
    }
    transaction.rollback().await.map_err(failed)?;
    Ok(rows)
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

/// Functions that are volatile may act, whatever they are called and whoever wrote them.
async fn refuse_volatile(
    transaction: &Transaction<'_>,
    checked: &Checked,
) -> Result<Option<String>, tokio_postgres::Error> {
    let asked: Vec<&str> = checked.functions.iter().map(String::as_str).collect();
    let query = "SELECT DISTINCT proname::text FROM pg_catalog.pg_proc WHERE lower(proname) = ANY($1) AND \
                 provolatile = 'v' AND NOT proname = ANY($2)";
    let found = transaction.query_opt(&format!("{query} LIMIT 1"), &[&asked, &HARMLESS]).await?;
    let name: Option<String> = found.map(|row| row.try_get(0)).transpose()?;
    Ok(name.map(|name| format!("function {name} is volatile and not allowed")))
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
fn sort(error: &tokio_postgres::Error, limits: Option<Limits>) -> SqlError {
    let Some(answer) = error.as_db_error() else {
        let reason = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        return SqlError::Failed(Failure::transient(reason));
    };
    let message = answer.message().to_owned();
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
