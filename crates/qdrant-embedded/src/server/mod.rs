//! The server: gRPC services over the engine, one data folder, the connections of one listener.

mod auth;
mod collection;
mod connection;
mod convert;
mod door;
mod engine;
mod error;
mod folders;
mod load;
mod lock;
mod meta;
mod registry;
mod resolve;
mod service;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use qdrant_client::qdrant::collections_server::CollectionsServer;
use qdrant_client::qdrant::points_server::PointsServer;
use qdrant_client::qdrant::qdrant_server::QdrantServer;
use qdrant_client::qdrant::snapshots_server::SnapshotsServer;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Server as Transport;

pub use error::ServerError;

use auth::KeyCheck;
use door::DoorLayer;
use registry::Registry;
use service::collections::CollectionsService;
use service::health::HealthService;
use service::points::PointsService;
use service::snapshots::SnapshotsService;

use crate::Settings;
use crate::connections::{FileLimit, Seats};

/// Ports tried after the configured one.
const PORTS_TRIED: u16 = 100;
/// How long a shutdown waits for requests under way.
const GRACE: Duration = Duration::from_secs(1);
/// Largest message that is read, in bytes: twice what a Qdrant server takes in one REST request by default.
const MESSAGE_BYTES: usize = 64 << 20;
/// Largest head of a request, in bytes; keys and what proxies add take a part of it.
const HEAD_BYTES: u32 = 16 << 10;
/// Requests of one connection that may be under way.
const STREAMS: u32 = 256;
/// Longest time that a request may take, its body included.
const TIME_LIMIT: Duration = Duration::from_mins(5);
/// Time between two questions to an idle client whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long it may take to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// A running embedded server. Dropping it stops it too, but then nobody waits for the end.
pub struct Server {
    address: SocketAddr,
    own_key: SecretString,
    registry: Arc<Registry>,
    seats: Seats,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// Locks the folder, loads every collection (compacting where that is worthwhile) and listens. Raises the limit on
    /// open files of the process as far as it may, and takes as many connections as that limit allows.
    ///
    /// # Errors
    /// When the folder or the address cannot be used; see [`ServerError`].
    pub async fn start(settings: &Settings) -> Result<Self, ServerError> {
        Self::start_for(settings, FileLimit::raise().connections()).await
    }

    /// The same for at most `connections` at a time.
    ///
    /// # Errors
    /// As for [`Server::start`].
    pub async fn start_for(settings: &Settings, connections: usize) -> Result<Self, ServerError> {
        check(settings)?;
        let folder = settings.data_dir.clone();
        let opened = tokio::task::spawn_blocking(move || Registry::open(&folder)).await;
        let registry = Arc::new(opened.map_err(|error| ServerError::Server {
            address: settings.address,
            reason: format!("loading was cut off: {error}"),
        })??);
        let listener = listen(settings).await?;
        let address =
            listener.local_addr().map_err(|source| ServerError::Listen { address: settings.address, source })?;
        let (stop, stopped) = oneshot::channel::<()>();
        let own_key = auth::fresh_key();
        let points = PointsServer::new(PointsService::new(Arc::clone(&registry)))
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(usize::MAX);
        let collections = CollectionsServer::new(CollectionsService::new(Arc::clone(&registry)));
        let router = Transport::builder()
            .timeout(TIME_LIMIT)
            .max_concurrent_streams(STREAMS)
            .http2_max_header_list_size(HEAD_BYTES)
            .http2_keepalive_interval(Some(PING_EVERY))
            .http2_keepalive_timeout(Some(PING_TIMEOUT))
            .layer(DoorLayer(KeyCheck::new(&settings.api_key, &own_key)))
            .add_service(QdrantServer::new(HealthService))
            .add_service(collections)
            .add_service(points)
            .add_service(SnapshotsServer::new(SnapshotsService));
        let seats = Seats::new(connections);
        let incoming = connection::incoming(listener, seats.clone());
        let served = tokio::spawn(router.serve_with_incoming_shutdown(incoming, async {
            // Dropping the sender counts as stopping, too.
            stopped.await.unwrap_or_default();
        }));
        tracing::info!(%address, connections, folder = %settings.data_dir.display(), "embedded Qdrant listens");
        Ok(Self { address, own_key, registry, seats, stop, served })
    }

    /// Key for the clients of this process. The connections of those that show it never give way to others.
    #[must_use]
    pub const fn own_key(&self) -> &SecretString {
        &self.own_key
    }

    /// URL for `qdrant-client`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Address that the server listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, answers what is under way, writes everything down and releases the folder.
    ///
    /// # Errors
    /// [`ServerError::Server`] when the server had failed; the data is written down all the same.
    pub async fn shutdown(self) -> Result<(), ServerError> {
        self.shutdown_within(Duration::MAX).await
    }

    /// As [`Server::shutdown`], but writes down only what can be written within about `limit`. The rest stands in the journals, which
    /// the next start reads; the folder stays locked until the process ends.
    ///
    /// # Errors
    /// As for [`Server::shutdown`].
    pub async fn shutdown_within(self, limit: Duration) -> Result<(), ServerError> {
        let began = Instant::now();
        let Self { address, registry, seats, stop, mut served, .. } = self;
        drop(stop);
        seats.dismiss_idle();
        let ended = tokio::time::timeout(GRACE.min(limit / 2), &mut served).await.unwrap_or_else(|_| {
            served.abort();
            Ok(Ok(()))
        });
        let failed = |reason: String| ServerError::Server { address, reason };
        let written = tokio::task::spawn_blocking(move || registry.close());
        match tokio::time::timeout(limit.saturating_sub(began.elapsed()), written).await {
            Ok(written) => written.map_err(|error| failed(error.to_string()))?,
            Err(_) => {
                tracing::warn!("the store was not written down within its time: the next start reads its journals");
            }
        }
        ended.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
    }
}

fn check(settings: &Settings) -> Result<(), ServerError> {
    let key = settings.api_key.expose_secret();
    if key.is_empty() && !settings.address.ip().is_loopback() {
        return Err(ServerError::Unprotected(settings.address));
    }
    if key.bytes().all(|byte| byte.is_ascii_graphic()) { Ok(()) } else { Err(ServerError::ApiKey) }
}

async fn listen(settings: &Settings) -> Result<TcpListener, ServerError> {
    let wanted = settings.address;
    let mut failed = match TcpListener::bind(wanted).await {
        Ok(listener) => return Ok(listener),
        Err(error) => error,
    };
    if settings.next_free_port && failed.kind() == io::ErrorKind::AddrInUse {
        for port in (wanted.port()..=u16::MAX).skip(1).take(PORTS_TRIED.into()) {
            let address = SocketAddr::new(wanted.ip(), port);
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    tracing::warn!("port {} is taken, the embedded Qdrant listens on {address} instead", wanted.port());
                    return Ok(listener);
                }
                Err(error) => failed = error,
            }
        }
    }
    Err(ServerError::Listen { address: wanted, source: failed })
}
