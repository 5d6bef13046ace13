//! What stands before every service: the caller's key is checked before any of the body is read, and the connection is
//! known to have a request under way.

use std::task::{Context, Poll};

use futures_util::future::{BoxFuture, FutureExt as _};
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};

use super::auth::{Caller, KeyCheck};
use crate::connections::SeatHandle;

/// The method that tells nothing but the version, and that clients call without a key.
const OPEN: &str = "/qdrant.Qdrant/HealthCheck";

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
            let answer = answer.await;
            drop(under_way);
            answer
        }
        .boxed()
    }
}
