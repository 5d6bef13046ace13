//! Connections that do not wait for ever for their clients: those of a client that sends nothing, or a byte now and then,
//! must not pile up.
//!
//! A connection is always in one of four phases, each with a deadline. A request that is there whole has a time limit of its
//! own ([`super::guard`]); the one here is for what that does not see. The number of connections is limited
//! ([`qdrant_embedded::connections`]): a new one takes the place of the one that needs it least.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use qdrant_embedded::connections::{Acceptor, Seat, SeatHandle, Seats, Standing};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};

/// How long a connection may rest between two requests; longer than clients keep them, which then need not ask twice.
const REST: Duration = Duration::from_mins(2);
/// From the end of a request's head to the first byte of its answer; longer than any request may take.
const REQUEST: Duration = Duration::from_mins(1);
/// How long a client may take nothing of an answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Accepts connections, each with the time that its client has to send the head of a request.
pub(crate) struct Listener {
    acceptor: Acceptor,
    head: Duration,
}

impl Listener {
    /// Accepts connections of `listener`, each with one of `seats`.
    pub(crate) const fn new(listener: TcpListener, head: Duration, seats: Seats) -> Self {
        Self { acceptor: Acceptor::new(listener, seats), head }
    }
}

impl axum::serve::Listener for Listener {
    type Io = Connection<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address, seat) = self.acceptor.accept().await;
        (Connection::new(stream, self.head, seat), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.acceptor.local_addr()
    }
}

/// The seat of a request's connection, for the handlers.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionSeat(pub(crate) SeatHandle);

impl Connected<IncomingStream<'_, Listener>> for ConnectionSeat {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        Self(stream.io().seat.handle())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The head of a request is awaited: from the first connection, or from its first byte.
    Head,
    /// The head is there.
    Request,
    /// The client does not take the answer.
    Answer,
    /// Between two requests.
    Rest,
}

/// A connection with deadlines.
pub(crate) struct Connection<S> {
    stream: S,
    phase: Phase,
    head: Duration,
    end: HeadEnd,
    deadline: Pin<Box<Sleep>>,
    seat: Seat,
}

impl<S> Connection<S> {
    fn new(stream: S, head: Duration, seat: Seat) -> Self {
        let deadline = Box::pin(tokio::time::sleep(head));
        Self { stream, phase: Phase::Head, head, end: HeadEnd::default(), deadline, seat }
    }

    fn enter(&mut self, phase: Phase) {
        let length = match phase {
            Phase::Head => self.head,
            Phase::Request => REQUEST,
            Phase::Answer => ANSWER,
            Phase::Rest => REST,
        };
        match phase {
            // The head of a further request: its connection is idle until the head is there. The first request makes it
            // busy once the door has admitted it.
            Phase::Head => {}
            Phase::Request | Phase::Answer => self.seat.set_admitted(Standing::Busy),
            Phase::Rest => self.seat.set_admitted(Standing::Idle),
        }
        self.phase = phase;
        self.deadline.as_mut().reset(Instant::now() + length);
    }

    fn received(&mut self, bytes: &[u8]) {
        if self.phase == Phase::Rest && !bytes.is_empty() {
            self.end = HeadEnd::default();
            self.enter(Phase::Head);
        }
        if self.phase == Phase::Head && self.end.is_in(bytes) {
            self.enter(Phase::Request);
        }
    }

    fn sent(&mut self, begins: &[u8], written: usize) {
        // "Go on and send the body" is not the answer yet.
        if written > 0 && !(self.phase == Phase::Request && begins.starts_with(b"HTTP/1.1 100 ")) {
            self.enter(Phase::Rest);
        }
    }

    /// Pending, until the deadline of the phase, or until another connection needs the seat.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if self.seat.poll_gives_way(context).is_ready() {
            tracing::debug!(phase = ?self.phase, "the limit on connections is reached: the least needed one is closed for a new one");
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "there are too many connections",
            )));
        }
        ready!(self.deadline.as_mut().poll(context));
        tracing::debug!(phase = ?self.phase, "a client did not send its request in time: its connection is closed");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes too long")))
    }

    fn wrote(
        &mut self,
        begins: &[u8],
        done: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match done {
            Poll::Pending => {
                if self.phase != Phase::Answer {
                    self.enter(Phase::Answer);
                }
                self.wait(context)
            }
            Poll::Ready(Ok(written)) => {
                self.sent(begins, written);
                Poll::Ready(Ok(written))
            }
            failed @ Poll::Ready(Err(_)) => failed,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Pending => this.wait(context),
            Poll::Ready(Ok(())) => {
                this.received(&buffer.filled()[before..]);
                Poll::Ready(Ok(()))
            }
            failed @ Poll::Ready(Err(_)) => failed,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.wrote(bytes, done, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.stream).poll_write_vectored(context, parts);
        this.wrote(parts.first().map_or(&[], |part| part), done, context)
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

/// Looks for the empty line that ends the head of a request, in whatever pieces it comes. Empty lines before the head
/// belong to it.
#[derive(Clone, Copy, Debug, Default)]
struct HeadEnd {
    begun: bool,
    /// Whether the line that is being read is empty so far.
    empty: bool,
}

impl HeadEnd {
    fn is_in(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            match byte {
                b'\n' if self.begun && self.empty => return true,
                b'\n' => self.empty = true,
                b'\r' => {}
                _ => (self.begun, self.empty) = (true, false),
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const REQUEST_HEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    fn connected() -> (Connection<DuplexStream>, DuplexStream) {
        let (server, client) = duplex(64);
        (Connection::new(server, HEAD, Seats::new(1).take()), client)
    }

    /// Reads until the client takes too long, and tells for how long that was.
    async fn patience(connection: &mut Connection<DuplexStream>) -> Duration {
        let began = Instant::now();
        loop {
            match connection.read(&mut [0; 64]).await {
                Ok(count) => assert!(count > 0, "the client has gone"),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                    return began.elapsed();
                }
            }
        }
    }

    #[test]
    fn the_end_of_a_head_is_found_in_whatever_pieces_it_comes() {
        for (text, expected) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", true),
            ("GET / HTTP/1.1\n\n", true),
            ("\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n", false),
            ("\r\n\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nhost: a\r\nb", false),
            ("", false),
        ] {
            for size in [1, 2, 3, 1_000] {
                let mut end = HeadEnd::default();
                let found = text.as_bytes().chunks(size).any(|piece| end.is_in(piece));
                assert_eq!(found, expected, "{text:?} by {size}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_nothing_or_a_byte_a_second_is_not_waited_for() {
        let (mut silent, _client) = connected();
        assert_eq!(patience(&mut silent).await, HEAD);
        let (mut slow, mut client) = connected();
        tokio::spawn(async move {
            while client.write_all(b"a").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        assert_eq!(patience(&mut slow).await, HEAD);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_an_answer_and_a_rest_have_times_of_their_own() {
        let (mut connection, mut client) = connected();
        client.write_all(REQUEST_HEAD).await.expect("sent");
        assert_eq!(patience(&mut connection).await, REQUEST);

        connection.enter(Phase::Request);
        connection.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.expect("sent");
        assert_eq!(connection.phase, Phase::Request);
        connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("sent");
        assert_eq!(patience(&mut connection).await, REST);

        connection.enter(Phase::Rest);
        client.write_all(b"G").await.expect("sent");
        assert_eq!(patience(&mut connection).await, HEAD);

        let began = Instant::now();
        let error = connection.write_all(&[b'x'; 1_000]).await.expect_err("nobody reads");
        assert_eq!((error.kind(), began.elapsed()), (io::ErrorKind::TimedOut, ANSWER));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_gives_way_to_a_new_one() {
        let seats = Seats::new(1);
        let (server, mut client) = duplex(64);
        let mut connection = Connection::new(server, HEAD, seats.take());
        client.write_all(REQUEST_HEAD).await.expect("sent");
        connection.read_exact(&mut [0; 10]).await.expect("the head");
        let _other = seats.take();
        let error = loop {
            match connection.read(&mut [0; 64]).await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_stays_new_until_a_request_is_admitted() {
        let (mut connection, mut client) = connected();
        let seat = connection.seat.handle();
        let mut exchange = async |admitted: bool| {
            client.write_all(REQUEST_HEAD).await.expect("sent");
            connection.read_exact(&mut vec![0; REQUEST_HEAD.len()]).await.expect("the head");
            if admitted {
                seat.set(Standing::Busy);
            }
            let under_way = seat.standing();
            connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("sent");
            client.read_exact(&mut [0; 19]).await.expect("the answer");
            (under_way, seat.standing())
        };
        assert_eq!(exchange(false).await, (Some(Standing::New), Some(Standing::New)));
        assert_eq!(exchange(true).await, (Some(Standing::Busy), Some(Standing::Idle)));
        assert_eq!(exchange(false).await, (Some(Standing::Busy), Some(Standing::Idle)));
    }
}
