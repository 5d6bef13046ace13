//! Connections to the embedded server: at most so many, and none that a client opens without sending a request.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};
use tonic::transport::server::Connected;

use crate::connections::{Acceptor, Seat, SeatHandle, Seats, Standing};

/// How long a client may take to say that it speaks HTTP/2, which libraries do at once.
const PREFACE: Duration = Duration::from_secs(10);
/// Bytes of the sentence that says so.
const PREFACE_BYTES: usize = 24;
/// How long a client may take to send its first request that is admitted. Libraries open a connection shortly before.
const FIRST_REQUEST: Duration = Duration::from_mins(1);

/// The connections of `listener`, each with one of `seats`. Never ends, whatever fails.
pub(crate) fn incoming(
    listener: TcpListener,
    seats: Seats,
) -> impl Stream<Item = io::Result<Connection<TcpStream>>> + Send {
    stream::unfold(Acceptor::new(listener, seats), |mut acceptor| async move {
        let (stream, _, seat) = acceptor.accept().await;
        Some((Ok(Connection::new(stream, seat)), acceptor))
    })
}

/// A connection that gives way when its seat is needed, and ends when it brings no request.
pub(crate) struct Connection<S> {
    stream: S,
    seat: Seat,
    received: usize,
    opened: Instant,
    /// Gone once a request was admitted.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Connection<S> {
    fn new(stream: S, seat: Seat) -> Self {
        let deadline = Some(Box::pin(tokio::time::sleep(PREFACE)));
        Self { stream, seat, received: 0, opened: Instant::now(), deadline }
    }

    fn received(&mut self, bytes: usize) {
        let before = self.received;
        self.received = before.saturating_add(bytes);
        if before < PREFACE_BYTES
            && self.received >= PREFACE_BYTES
            && let Some(deadline) = &mut self.deadline
        {
            deadline.as_mut().reset(self.opened + FIRST_REQUEST);
        }
    }

    /// Pending, until the connection has to end.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if self.seat.poll_gives_way(context).is_ready() {
            tracing::debug!("a connection to the embedded Qdrant gives way to a new one");
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "there are too many connections",
            )));
        }
        let Some(deadline) = &mut self.deadline else { return Poll::Pending };
        ready!(deadline.as_mut().poll(context));
        self.deadline = None;
        if self.seat.handle().standing().is_some_and(|standing| standing > Standing::New) {
            return Poll::Pending;
        }
        tracing::debug!("a connection to the embedded Qdrant brought no request in time");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client sends no request")))
    }
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = SeatHandle;

    fn connect_info(&self) -> SeatHandle {
        self.seat.handle()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Pending => this.wait(context),
            Poll::Ready(Ok(())) => {
                this.received(buffer.filled().len() - before);
                Poll::Ready(Ok(()))
            }
            failed @ Poll::Ready(Err(_)) => failed,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write(context, bytes) {
            Poll::Pending => this.wait(context),
            done @ Poll::Ready(_) => done,
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write_vectored(context, parts) {
            Poll::Pending => this.wait(context),
            done @ Poll::Ready(_) => done,
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// Reads until the connection ends, and returns after how long and why.
    async fn end(connection: &mut Connection<tokio::io::DuplexStream>) -> (Duration, io::ErrorKind) {
        let began = Instant::now();
        loop {
            if let Err(error) = connection.read(&mut [0; 64]).await {
                return (began.elapsed(), error.kind());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_ends() {
        for (bytes, expected) in [(0, PREFACE), (PREFACE_BYTES - 1, PREFACE), (PREFACE_BYTES, FIRST_REQUEST)] {
            let (server, mut client) = duplex(64);
            let mut connection = Connection::new(server, Seats::new(1).take());
            client.write_all(&vec![b'x'; bytes]).await.expect("sent");
            assert_eq!(end(&mut connection).await, (expected, io::ErrorKind::TimedOut), "{bytes}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_brought_a_request_stays_until_its_seat_is_needed() {
        let seats = Seats::new(1);
        let (server, _client) = duplex(64);
        let mut connection = Connection::new(server, seats.take());
        drop(connection.connect_info().begin(false));
        let stays = tokio::time::timeout(FIRST_REQUEST * 10, end(&mut connection)).await;
        assert!(stays.is_err(), "{stays:?}");
        let _other = seats.take();
        assert_eq!(end(&mut connection).await, (Duration::ZERO, io::ErrorKind::ConnectionAborted));
    }
}
