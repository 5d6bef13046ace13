//! Accepts connections and gives each a seat. A failure to accept neither ends the listener nor makes it spin.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::seats::{Seat, Seats};

/// Pause after a failure to accept, for example because no file descriptor is free.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Time between two warnings that connections cannot be accepted.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// A listener whose connections are limited.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    seats: Seats,
    /// When the last warning was logged.
    warned_at: Option<Instant>,
}

impl Acceptor {
    /// Accepts connections of `listener`, each with one of `seats`.
    #[must_use]
    pub const fn new(listener: TcpListener, seats: Seats) -> Self {
        Self { listener, seats, warned_at: None }
    }

    /// The address that the listener is bound to.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next connection, once there is one.
    pub async fn accept(&mut self) -> (TcpStream, SocketAddr, Seat) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    // Without TCP_NODELAY the end of an answer waits 40 ms for the delayed acknowledgement of the client.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY cannot be set: answers on this connection may take 40 ms longer");
                    }
                    return (stream, address, self.seats.take());
                }
                Err(error) if is_client_gone(&error) => {}
                Err(error) => self.recover(&error).await,
            }
        }
    }

    /// Closes the least needed connection to free a descriptor, and waits a moment. The new connection stays in the queue of the
    /// system meanwhile.
    async fn recover(&mut self, error: &io::Error) {
        let freed = self.seats.free_one();
        if self.warned_at.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
            self.warned_at = Some(Instant::now());
            tracing::warn!(
                %error,
                freed,
                "new connections cannot be accepted: raise the limit on open files (ulimit -n, LimitNOFILE=, nofile)"
            );
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Whether the client closed the connection before it was accepted.
fn is_client_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}
