//! Who may call: decided by the head of a request, before any of its body is read.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::Settings;
use super::error::Problem;
use super::headers::{self, SEC_FETCH_MODE, SEC_FETCH_SITE};
use super::rate::Rate;
use crate::tools::http::FROM_AGENT;

/// Paths that tell nothing and that probes call without a token.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];
/// Paths that describe the API. They tell nothing of what is stored, so they need no token either; they count as requests.
const DESCRIPTIONS: [&str; 5] = ["/openapi.json", "/llms.txt", "/docs", "/docs/page.js", "/docs/page.css"];
/// The limit of a body, and the way out, in errors.
const BODY_LIMIT: &str = "(api.max_body_bytes): send several requests";
/// The limit of a file, and the way out, in errors.
const FILE_LIMIT: &str = "(artifacts.max_bytes): give the task less, or raise that setting";
/// What monitoring reads at its own pace.
const UNCOUNTED: &str = "/metrics";

/// Admits requests.
#[derive(Clone, Debug)]
pub(super) struct Door {
    /// Digest of the token; `None` when none is asked for.
    token: Option<[u8; 32]>,
    /// Whether only this host can connect, so that every other name in `Host` is a trick.
    loopback: bool,
    max_body_bytes: usize,
    /// Largest file that is uploaded for a task.
    max_file_bytes: usize,
    rate: Arc<Rate>,
}

impl Door {
    pub(super) fn new(settings: &Settings, address: SocketAddr, max_file_bytes: usize) -> Self {
        Self {
            token: digest_of(&settings.token),
            loopback: address.ip().is_loopback(),
            max_body_bytes: settings.max_body_bytes,
            max_file_bytes,
            rate: Arc::new(Rate::new(settings.requests_per_s)),
        }
    }

    /// # Errors
    /// Why the request is refused.
    pub(super) fn admit(&self, request: &Request) -> Result<(), Problem> {
        let headers = request.headers();
        headers::check(headers)?;
        let path = request.uri().path();
        let is_open = OPEN.contains(&path);
        let host = match host_of(request) {
            // Probes of load balancers speak HTTP/1.0, which knows no such header.
            Ok(None) if is_open => return headers::check_length(headers, self.max_body_bytes, BODY_LIMIT),
            Ok(None) => {
                let detail =
                    "the header host is missing: send the host and port of this API, e.g. \"host: 127.0.0.1:8080\"";
                return Err(Problem::bad_request(detail));
            }
            Ok(Some(host)) => host,
            Err(problem) => return Err(problem),
        };
        // A page of another site can make a browser send requests here, under that site's own name (DNS
        // rebinding) or across sites. Neither is possible for a program that people start themselves.
        if self.loopback && !names_this_host(&host) {
            return Err(Problem::new(
                StatusCode::MISDIRECTED_REQUEST,
                format!("the header host names another host, {host:?}: send the request to localhost or 127.0.0.1"),
            ));
        }
        check_site(request.method(), headers, &host)?;
        if headers.contains_key(FROM_AGENT) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "an agent must not call the API of qron over HTTP: give it the tools of qron, such as create_task",
            ));
        }
        if needs_token(path) {
            self.check_token(headers)?;
        }
        if is_counted(path) {
            self.rate.count()?;
        }
        if is_upload(request) {
            return headers::check_length(headers, self.max_file_bytes, FILE_LIMIT);
        }
        headers::check_length(headers, self.max_body_bytes, BODY_LIMIT)
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match &self.token {
            None => Ok(()),
            Some(token) if presents(headers, token) => Ok(()),
            Some(_) => Err(Problem::new(StatusCode::UNAUTHORIZED, refused(headers))),
        }
    }
}

/// Whether the request uploads a file for a task: its body is longer than those of others.
fn is_upload(request: &Request) -> bool {
    let mut parts = request.uri().path().strip_prefix("/api/v1/tasks/").unwrap_or_default().split('/');
    *request.method() == Method::PUT && parts.nth(1) == Some("files")
}

/// Whether requests for this path need the token, where one is configured.
pub(super) fn needs_token(path: &str) -> bool {
    !OPEN.contains(&path) && !DESCRIPTIONS.contains(&path)
}

/// Whether requests for this path count against the rate.
pub(super) fn is_counted(path: &str) -> bool {
    !OPEN.contains(&path) && path != UNCOUNTED
}

fn digest_of(token: &SecretString) -> Option<[u8; 32]> {
    let token = token.expose_secret();
    (!token.is_empty()).then(|| Sha256::digest(token.as_bytes()).into())
}

/// The host that the request is for, by its target and its header, which must agree. `None` when neither names one.
fn host_of(request: &Request) -> Result<Option<String>, Problem> {
    let target = request.uri().authority().map(Authority::as_str);
    match (headers::text(request.headers(), &header::HOST), target) {
        (Some(host), Some(target)) if !host.eq_ignore_ascii_case(target) => Err(Problem::bad_request(format!(
            "the header host names {host:?} and the target of the request names {target:?}: use one host in both"
        ))),
        (Some(host), _) | (None, Some(host)) => Ok(Some(host.to_owned())),
        (None, None) => Ok(None),
    }
}

/// Refuses what a page of another site made a browser send.
///
/// A browser says `same-site` also for another port of the same host: any other program of this machine that shows
/// pages. So only this very origin, and what a person does without a page (`none`), may change something. Other sites
/// may only lead a person here: a link to qron works, and what their pages load themselves is refused, so that it neither counts
/// against the rate nor runs as their script.
fn check_site(method: &Method, headers: &HeaderMap, host: &str) -> Result<(), Problem> {
    let refusal = || {
        Problem::new(
            StatusCode::FORBIDDEN,
            "this request comes from a page of another site, which may not use the API: call it from a program, or from a page of its own address",
        )
    };
    if let Some(origin) = headers::text(headers, &header::ORIGIN) {
        let is_same = origin.split_once("://").is_some_and(|(_, authority)| authority == host);
        if !is_same {
            return Err(refusal());
        }
    }
    let is_change = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    match headers::text(headers, &SEC_FETCH_SITE) {
        Some("same-origin" | "none") | None => Ok(()),
        Some(_) if is_change || headers::text(headers, &SEC_FETCH_MODE) != Some("navigate") => Err(refusal()),
        Some(_) => Ok(()),
    }
}

fn names_this_host(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Why a request without the right token is refused, and where the token is set.
fn refused(headers: &HeaderMap) -> String {
    let what = match headers::text(headers, &header::AUTHORIZATION) {
        Some(text) if is_bearer(text) => "the token of this request is not the token of this API",
        Some(_) => "the authorization of this request is no bearer token, and this API takes no other",
        None => "this API needs a token, and the request has none",
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
    let presented = headers::text(headers, &header::AUTHORIZATION).and_then(|value| value.split_once(' '));
    let Some((scheme, presented)) = presented else { return false };
    let presented: [u8; 32] = Sha256::digest(presented.trim().as_bytes()).into();
    let difference = presented.iter().zip(token).fold(0, |difference, (a, b)| difference | (a ^ b));
    scheme.eq_ignore_ascii_case("bearer") && std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

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

    #[test]
    fn only_this_origin_may_change_something() {
        let passes = |method: Method, site: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(site) = site {
                headers.insert(SEC_FETCH_SITE, HeaderValue::from_static(site));
            }
            check_site(&method, &headers, "localhost:8080").is_ok()
        };
        for site in [None, Some("same-origin"), Some("none")] {
            for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                assert!(passes(method.clone(), site), "{method} {site:?}");
            }
        }
        for site in ["cross-site", "same-site", "", "SAME-ORIGIN", "none, none", "anything"] {
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                assert!(!passes(method.clone(), Some(site)), "{method} {site:?}");
            }
            assert!(!passes(Method::GET, Some(site)), "{site:?}");
        }
    }

    /// The port of the header is not compared: behind a tunnel or a port that is mapped, it is another one. A page cannot choose
    /// the header, and its origin has the port that it came from.
    #[test]
    fn a_page_of_another_port_of_this_host_is_another_site() {
        for (origin, host, passes) in [
            ("http://localhost:3000", "localhost:8080", false),
            ("http://127.0.0.1:3000", "127.0.0.1:8080", false),
            ("http://localhost:9000", "localhost:9000", true),
        ] {
            let headers = HeaderMap::from_iter([(header::ORIGIN, HeaderValue::from_static(origin))]);
            for method in [Method::GET, Method::POST] {
                assert_eq!(check_site(&method, &headers, host).is_ok(), passes, "{method} {origin} {host}");
            }
        }
    }

    #[test]
    fn the_target_and_the_header_name_the_same_host() {
        let host = |target: &str, header: Option<&'static str>| {
            let mut request = Request::builder().uri(target);
            if let Some(header) = header {
                request = request.header("host", header);
            }
            host_of(&request.body(axum::body::Body::empty()).expect("a request")).ok().flatten()
        };
        assert_eq!(host("/", Some("a:1")).as_deref(), Some("a:1"));
        assert_eq!(host("http://a:1/", None).as_deref(), Some("a:1"));
        assert_eq!(host("http://a:1/", Some("a:1")).as_deref(), Some("a:1"));
        assert_eq!(host("http://Ab:1/", Some("aB:1")).as_deref(), Some("aB:1"));
        assert_eq!(host("http://evil/", Some("localhost")), None);
        assert_eq!(host("/", None), None);
    }
}
