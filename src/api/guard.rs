//! What stands before every handler: time limit, counting, who may call, and the headers of every answer.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::error::Problem;
use crate::telemetry::metrics;
use crate::tools::http::FROM_AGENT;

/// Longest time a request may take, its body included.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Paths that tell nothing and that probes call without a token.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// Who may call.
#[derive(Clone, Debug)]
pub(super) struct Door {
    /// Digest of the token; `None` when none is asked for.
    token: Option<[u8; 32]>,
    /// Whether only this host can connect, so that every other name in `Host` is a trick.
    loopback: bool,
}

impl Door {
    pub(super) fn new(token: &SecretString, address: SocketAddr) -> Self {
        let token = token.expose_secret();
        Self {
            token: (!token.is_empty()).then(|| Sha256::digest(token.as_bytes()).into()),
            loopback: address.ip().is_loopback(),
        }
    }

    fn admit(&self, request: &Request) -> Result<(), Problem> {
        let headers = request.headers();
        let host = header_text(headers, &header::HOST).map(str::to_owned);
        let host = host.or_else(|| request.uri().authority().map(ToString::to_string));
        // A page of another site can make a browser send requests here, under that site's own name (DNS
        // rebinding) or across sites. Neither is possible for a program that people start themselves.
        if self.loopback && host.as_deref().is_some_and(|host| !names_this_host(host)) {
            return Err(Problem::new(
                StatusCode::MISDIRECTED_REQUEST,
                "the header host names another host: use localhost or 127.0.0.1",
            ));
        }
        if let Some(origin) = header_text(headers, &header::ORIGIN) {
            let same = origin.split_once("://").is_some_and(|(_, authority)| Some(authority) == host.as_deref());
            if !same {
                return Err(Problem::new(StatusCode::FORBIDDEN, "requests from pages of other sites are refused"));
            }
        }
        if headers.contains_key(FROM_AGENT) {
            return Err(Problem::new(StatusCode::FORBIDDEN, "agents do not speak to qron itself: its tools do that"));
        }
        if OPEN.contains(&request.uri().path()) {
            return Ok(());
        }
        match &self.token {
            None => Ok(()),
            Some(token) if presents(headers, token) => Ok(()),
            Some(_) => Err(Problem::new(StatusCode::UNAUTHORIZED, refused(headers))),
        }
    }
}

fn header_text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn names_this_host(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Why a request without the right token is refused, and where the token is set.
fn refused(headers: &HeaderMap) -> String {
    let what = match header_text(headers, &header::AUTHORIZATION) {
        Some(text) if is_bearer(text) => "the token of this request is not that of this api",
        Some(_) => "this api takes no other authorization than a bearer token",
        None => "this api needs a token, and the request has none",
    };
    format!(
        "{what}: send the header \"authorization: Bearer TOKEN\", where TOKEN is the value of the setting api.token \
         (variable QRON__API__TOKEN) of the qron that answers; the command line of qron reads the same setting and variable"
    )
}

fn is_bearer(authorization: &str) -> bool {
    authorization.split_once(' ').is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
}

/// Compares digests, every byte of them, so that the time taken says nothing about the token.
fn presents(headers: &HeaderMap, token: &[u8; 32]) -> bool {
    let Some((scheme, presented)) = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
    else {
        return false;
    };
    let presented: [u8; 32] = Sha256::digest(presented.trim().as_bytes()).into();
    let difference = presented.iter().zip(token).fold(0, |difference, (a, b)| difference | (a ^ b));
    scheme.eq_ignore_ascii_case("bearer") && std::hint::black_box(difference) == 0
}

/// The middleware around every handler.
pub(super) async fn guard(State(door): State<Door>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let mut response = match door.admit(&request) {
        Err(problem) => problem.into_response(),
        Ok(()) => tokio::time::timeout(TIME_LIMIT, next.run(request)).await.unwrap_or_else(|_| {
            let detail = format!("the request took longer than {} s", TIME_LIMIT.as_secs());
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
        }),
    };
    add_headers(response.headers_mut());
    let took = started.elapsed();
    metrics::API_REQUESTS.inc([method, route, response.status().as_str()]);
    metrics::API_REQUEST_SECONDS.record(took, [method, route]);
    tracing::debug!(method, route, status = response.status().as_u16(), ?took, "request");
    response
}

fn add_headers(headers: &mut HeaderMap) {
    let mut default = |name, value| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    default(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
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
    Problem::internal("qron made a mistake; its log says more").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_host_pass_on_loopback() {
        for good in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.0.0.2", "[::1]:8080"] {
            assert!(names_this_host(good), "{good}");
        }
        for bad in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", ""] {
            assert!(!names_this_host(bad), "{bad}");
        }
    }
}
