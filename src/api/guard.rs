//! What stands before every handler: the [door], a time limit, counting, and the headers of every answer.

use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use qdrant_embedded::connections::Standing;
use tracing::Instrument as _;

use super::connection::ConnectionSeat;
use super::door::{self, Door};
use super::error::Problem;
use crate::telemetry::{log_lines, metrics};

/// Longest time a request may take, its body included.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// The middleware around every handler. Lines of the log that come from a request carry its span.
pub(super) async fn guard(State(door): State<Door>, request: Request, next: Next) -> Response {
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let span = log_lines::request_span(method, route);
    answer(&door, request, next, method, route).instrument(span).await
}

async fn answer(door: &Door, request: Request, next: Next, method: &'static str, route: &str) -> Response {
    let started = Instant::now();
    let mut response = if let Err(problem) = door.admit(&request) {
        problem.into_response()
    } else {
        keep_seat(&request);
        tokio::time::timeout(TIME_LIMIT, next.run(request)).await.unwrap_or_else(|_| {
            let detail = format!("the request took longer than {} s", TIME_LIMIT.as_secs());
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
        })
    };
    add_headers(response.headers_mut());
    let took = started.elapsed();
    metrics::API_REQUESTS.inc([method, route, response.status().as_str()]);
    metrics::API_REQUEST_SECONDS.record(took, [method, route]);
    tracing::debug!(status = response.status().as_u16(), ?took, "request answered");
    response
}

/// Lets the connection of an admitted request outrank those of strangers. What is open to strangers does not do so.
fn keep_seat(request: &Request) {
    if !door::needs_token(request.uri().path()) {
        return;
    }
    if let Some(ConnectInfo(ConnectionSeat(seat))) = request.extensions().get::<ConnectInfo<ConnectionSeat>>() {
        seat.set(Standing::Busy);
    }
}

fn add_headers(headers: &mut HeaderMap) {
    let mut default = |name, value| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    default(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    default(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    default(header::CACHE_CONTROL, "no-store");
    default(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    default(header::REFERRER_POLICY, "no-referrer");
}

/// A method as a label: what a client makes up is one value.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// The answer when a handler panics.
pub(super) fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Problem::internal("qron failed at this request, which is a fault of qron: its log names the cause").into_response()
}
