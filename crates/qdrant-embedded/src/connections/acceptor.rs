//! Accepts connections: each gets a seat, and a failure to accept neither ends the listener nor makes it spin.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::seats::{Seat, Seats};

/// Pause after a connection could not be accepted, such as without a free file descriptor.
const PAUSE: Duration = Duration::from_millis(100);
/// Time between two warnings that connections cannot be accepted.
const SILENCE: Duration = Duration::from_mins(1);

/// A listener whose connections are limited.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    seats: Seats,
    told: Option<Instant>,
}

impl Acceptor {
    /// Accepts connections of `listener`, each with one of `seats`.
    #[must_use]
    pub const fn new(listener: TcpListener, seats: Seats) -> Self {
        Self { listener, seats, told: None }
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
                    // Without it the end of an answer waits for the client's delayed acknowledgement, 40 ms.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "answers on this connection may take longer");
                    }
                    return (stream, address, self.seats.take());
                }
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => self.recover(&error).await,
            }
        }
    }

    /// Frees a descriptor and waits a moment: the connection stays in the queue of the system meanwhile.
    async fn recover(&mut self, error: &io::Error) {
        let freed = self.seats.free_one();
        if self.told.is_none_or(|told| told.elapsed() >= SILENCE) {
            self.told = Some(Instant::now());
            tracing::warn!(
                %error,
                freed,
                "connections cannot be accepted: raise the limit on open files (ulimit -n, LimitNOFILE=, nofile)"
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The client went away before it was accepted.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}
