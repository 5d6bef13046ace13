//! What stands before every service: the caller's key is checked before any of the body is read, and the connection counts
//! as busy until the answer is sent.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::future::{BoxFuture, FutureExt as _};
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};

use super::auth::{Caller, KeyCheck};
use crate::connections::{self, SeatHandle};

/// The method that tells nothing but the version, and that clients call without a key.
const OPEN: &str = "/qdrant.Qdrant/HealthCheck";
/// Bytes of an answer that are handed over to the connection at once. The connection takes the next piece when the client has
/// room for it.
const PIECE: usize = 64 << 10;

/// Puts a [`Door`] before a service.
#[derive(Clone)]
pub(crate) struct DoorLayer(pub(crate) KeyCheck);

impl<S> Layer<S> for DoorLayer {
    type Service = Door<S>;

    fn layer(&self, inner: S) -> Door<S> {
        Door { inner, keys: self.0.clone() }
    }
}

/// A service that only callers with the right key reach.
#[derive(Clone)]
pub(crate) struct Door<S> {
    inner: S,
    keys: KeyCheck,
}

impl<S> Service<Request<Body>> for Door<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let under_way = match self.keys.caller(request.headers()) {
            Ok(caller) => {
                let seat = request.extensions().get::<SeatHandle>();
                seat.map(|seat| seat.begin(caller == Caller::Own))
            }
            Err(_) if request.uri().path() == OPEN => None,
            Err(refusal) => return std::future::ready(Ok(refusal.into_http())).boxed(),
        };
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await?;
            let Some(request) = under_way else { return Ok(answer) };
            Ok(answer.map(|body| Body::new(Answer { body, rest: Bytes::new(), _request: request })))
        }
        .boxed()
    }
}

/// The body of an answer, whose request is under way until the body is sent or given up.
struct Answer {
    body: Body,
    /// What is left of the frame that `body` gave last.
    rest: Bytes,
    _request: connections::Request,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        let piece = this.rest.split_to(PIECE.min(this.rest.len()));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }
}
