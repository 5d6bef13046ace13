//! Connections to one PostgreSQL server: taken, used by one query, and kept for the next when they are as good as new.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use rustls_platform_verifier::ConfigVerifierExt;
use tokio::time::Instant;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::super::SqlError;
use super::super::query_permits::QueryPermit;
use super::sort;
use crate::domain::failure::Failure;

/// Time limit to connect, and to tell the server to cancel a query.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(30);
/// Longest use of a connection, so that changes of rights and addresses take effect.
const MAX_AGE: Duration = Duration::from_mins(10);

/// Pool of connections to one server.
pub(super) struct Connections {
    config: Config,
    idle: Arc<Mutex<Vec<Connection>>>,
}

/// One connection. It ends when this is dropped.
struct Connection {
    client: Client,
    _driver: AbortOnDropHandle<()>,
    made_at: Instant,
    /// When it was last given back.
    free_since: Instant,
}

/// A connection in use by one query. Unless it is given back, the query is cancelled on the server, which may not notice by
/// itself that its client is gone; the place is free once the server knows.
pub(super) struct BorrowedConnection {
    connection: Option<Connection>,
    permit: Option<QueryPermit>,
    config: Config,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Connections {
    pub(super) fn new(mut config: Config) -> Self {
        config.connect_timeout(CONNECT_TIMEOUT).application_name("qron");
        Self { config, idle: Arc::default() }
    }

    /// A connection for the query that holds `permit`: a kept one, or a new one.
    pub(super) async fn take(&self, permit: QueryPermit) -> Result<BorrowedConnection, SqlError> {
        let kept = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(Connection::is_usable);
            idle.pop()
        };
        let connection = match kept {
            Some(connection) => connection,
            None => tokio::time::timeout(CONNECT_TIMEOUT, connect(&self.config)).await.map_err(|_| {
                SqlError::Failed(Failure::transient(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())))
            })??,
        };
        let (config, idle) = (self.config.clone(), Arc::clone(&self.idle));
        Ok(BorrowedConnection { connection: Some(connection), permit: Some(permit), config, idle })
    }
}

impl Connection {
    fn is_usable(&self) -> bool {
        !self.client.is_closed() && self.free_since.elapsed() < IDLE && self.made_at.elapsed() < MAX_AGE
    }
}

impl BorrowedConnection {
    /// The client, until the connection is given back.
    pub(super) fn client(&mut self) -> Option<&mut Client> {
        self.connection.as_mut().map(|connection| &mut connection.client)
    }

    /// Gives the connection back. The caller has rolled back its transaction.
    pub(super) fn give_back(mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        connection.free_since = Instant::now();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        // Closes the connections that are still kept by then, so that an idle program does not hold a server busy.
        let idle = Arc::clone(&self.idle);
        tokio::spawn(async move {
            tokio::time::sleep(IDLE).await;
            idle.lock().unwrap_or_else(PoisonError::into_inner).retain(Connection::is_usable);
        });
    }
}

impl Drop for BorrowedConnection {
    fn drop(&mut self) {
        let (Some(connection), Some(permit)) = (self.connection.take(), self.permit.take()) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let config = self.config.clone();
        let cancel = async move {
            match tokio::time::timeout(CONNECT_TIMEOUT, cancel(&connection.client, &config)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(error, "a query whose caller is gone could not be cancelled"),
                Err(_) => tracing::debug!("a query whose caller is gone could not be cancelled in time"),
            }
            drop((connection, permit));
        };
        runtime.spawn(cancel.in_current_span());
    }
}

async fn cancel(client: &Client, config: &Config) -> Result<(), String> {
    let token = client.cancel_token();
    let outcome = if config.get_ssl_mode() == SslMode::Disable {
        token.cancel_query(NoTls).await
    } else {
        token.cancel_query(tls().map_err(|failure| failure.message)?).await
    };
    outcome.map_err(|error| error.to_string())
}

async fn connect(config: &Config) -> Result<Connection, SqlError> {
    let failed = |error: tokio_postgres::Error| sort(&error, None);
    let (client, driver) = if config.get_ssl_mode() == SslMode::Disable {
        let (client, connection) = config.connect(NoTls).await.map_err(failed)?;
        (client, drive(connection))
    } else {
        let (client, connection) = config.connect(tls().map_err(SqlError::Failed)?).await.map_err(failed)?;
        (client, drive(connection))
    };
    Ok(Connection { client, _driver: driver, made_at: Instant::now(), free_since: Instant::now() })
}

fn tls() -> Result<MakeRustlsConnect, Failure> {
    super::super::super::tls::install_provider();
    let tls = ClientConfig::with_platform_verifier()
        .map_err(|error| Failure::permanent(format!("TLS cannot be set up: {error}")))?;
    Ok(MakeRustlsConnect::new(tls))
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
