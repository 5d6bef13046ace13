//! The HTTP client of the API of a running qron.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::CliError;
use super::http_error::{NO_HTTP, ended_early, is_of_system, root_cause};
use crate::api::error::Problem;
use crate::app;
use crate::config::Config;
use crate::domain::url;
use crate::telemetry::secrets;

const CONNECT_TIME_LIMIT: Duration = Duration::from_secs(5);
const TIME_LIMIT: Duration = Duration::from_mins(1);
/// The same for an answer that is taken piece by piece, each of which has [`TIME_LIMIT`].
const DOWNLOAD_TIME_LIMIT: Duration = Duration::from_hours(1);
/// Most bytes of an answer that a command holds in memory.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// The same for all pages of a listing.
const MAX_LISTING: usize = 512 * 1024 * 1024;
/// Most characters of an address that an error names.
const SHOWN_ADDRESS: usize = 200;
/// How long a server that speaks before it is asked has for its first byte.
const FIRST_WORD_TIME_LIMIT: Duration = Duration::from_secs(1);
/// Smallest body, in bytes, for which a connection that ends early is taken to mean that the server refused its size.
const LARGE_BODY: usize = 1024 * 1024;

/// The API of one qron.
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: SecretString,
    /// Where the configuration of this command has the API.
    own: String,
    /// Ports of the store, as far as this command knows them.
    store_ports: Vec<u16>,
}

/// Ports on which a Qdrant listens by default: REST, gRPC, and the next one that the embedded one takes.
const QDRANT_PORTS: [u16; 3] = [6333, 6334, 6335];

impl Client {
    /// A client of the API at `url`, or without one at the `api.address` of `config`.
    ///
    /// # Errors
    /// A usage error when `url` is no HTTP URL.
    pub(crate) fn new(url: Option<&str>, config: &Config) -> Result<Self, CliError> {
        app::install_crypto();
        let text = url.map_or_else(|| own_url(config), str::to_owned);
        secrets::know(url::secrets_in("--url", &text));
        let base = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let base = base.ok_or_else(|| {
            CliError::Usage(format!(
                "{:?} is not the URL of a qron: use http:// or https:// and a host, e.g. http://127.0.0.1:8080",
                url::redacted(&text)
            ))
        })?;
        // The API is on this machine or network, where a proxy for the web does not lead.
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_TIME_LIMIT)
            .timeout(TIME_LIMIT)
            .read_timeout(TIME_LIMIT)
            // The client would send the token along, after the second hop to any host.
            .redirect(Policy::none())
            .user_agent(concat!("qron/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| CliError::Failed(format!("the HTTP client cannot be set up: {error}")))?;
        let of_server = Url::parse(&config.store.url).ok().and_then(|url| url.port());
        let store_ports = [config.embedded.address.port()].into_iter().chain(of_server).chain(QDRANT_PORTS).collect();
        Ok(Self { http, base, token: config.api.token.clone(), own: own_url(config), store_ports })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> Result<T, CliError> {
        self.send(self.http.request(Method::GET, self.url_with(path, query)?)).await
    }

    /// A page of a listing that a command collects, of which it holds `held` bytes already.
    ///
    /// # Errors
    /// Those of every request, and [`CliError::TooLarge`] when the pages together are.
    pub(crate) async fn page<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        held: &mut usize,
    ) -> Result<T, CliError> {
        let body = self.answer(self.http.request(Method::GET, self.url_with(path, query)?)).await?;
        *held = held.saturating_add(body.len());
        if *held > MAX_LISTING { Err(self.too_large("listing", MAX_LISTING)) } else { self.read(&body) }
    }

    /// What is at `path`; `None` when the API says that there is nothing.
    pub(crate) async fn find<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Option<T>, CliError> {
        match self.reply(self.http.request(Method::GET, self.url(path)?)).await? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, body) if status.is_success() => self.read(&body).map(Some),
            (status, body) => Err(self.refused(status, &body)),
        }
    }

    /// The body of a GET of `path`, as it is, for those who take it piece by piece.
    pub(crate) async fn download(&self, path: &[&str]) -> Result<Download<'_>, CliError> {
        let request = self.http.request(Method::GET, self.url(path)?).timeout(DOWNLOAD_TIME_LIMIT);
        let response = self.respond(request).await?;
        let download = Download { client: self, response };
        match download.response.status() {
            status if status.is_success() => Ok(download),
            status => Err(self.refused(status, &download.whole().await?)),
        }
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: Option<&impl Serialize>,
    ) -> Result<T, CliError> {
        let mut request = self.http.request(Method::POST, self.url(path)?);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.send(request).await
    }

    /// A PUT of bytes as they are.
    pub(crate) async fn upload(&self, path: &[&str], content: Vec<u8>, media_type: &str) -> Result<(), CliError> {
        let request = self.http.request(Method::PUT, self.url(path)?);
        self.answer(request.header(CONTENT_TYPE, media_type).body(content)).await.map(drop)
    }

    /// A POST without a body.
    pub(crate) async fn post_with<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, CliError> {
        self.send(self.http.request(Method::POST, self.url_with(path, query)?)).await
    }

    /// A POST with a body and parameters.
    pub(crate) async fn post_body<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        self.send(self.http.request(Method::POST, self.url_with(path, query)?).json(body)).await
    }

    pub(crate) async fn put<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T, CliError> {
        self.send(self.http.request(Method::PUT, self.url(path)?).json(body)).await
    }

    pub(crate) async fn patch<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T, CliError> {
        self.send(self.http.request(Method::PATCH, self.url(path)?).json(body)).await
    }

    /// A DELETE, whose answer has no body.
    pub(crate) async fn delete(&self, path: &[&str]) -> Result<(), CliError> {
        self.answer(self.http.request(Method::DELETE, self.url(path)?)).await.map(drop)
    }

    /// The URL of `path` with parameters.
    fn url_with(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url, CliError> {
        let mut url = self.url(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    /// The URL of `path` below `/api/v1`, each part escaped.
    fn url(&self, path: &[&str]) -> Result<Url, CliError> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| {
                CliError::Usage(format!(
                    "{} is not the URL of a qron: use e.g. http://127.0.0.1:8080",
                    self.shown_base()
                ))
            })?
            .pop_if_empty()
            .extend(["api", "v1"])
            .extend(path);
        Ok(url)
    }

    /// The URL of the API for messages, without user and password.
    fn shown_base(&self) -> String {
        url::redacted(self.base.as_str().trim_end_matches('/'))
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, CliError> {
        let body = self.answer(request).await?;
        self.read(&body)
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, CliError> {
        serde_json::from_slice(body).map_err(|error| {
            if serde_json::from_slice::<serde_json::Value>(body).is_err() {
                return self.not_from_qron("its answer is no JSON");
            }
            CliError::Failed(format!(
                "this command, of version {}, cannot read the answer of {}: {error}; use the command and the qron of one version, and check --url",
                env!("CARGO_PKG_VERSION"),
                self.shown_base()
            ))
        })
    }

    /// The body of a successful answer.
    ///
    /// # Errors
    /// What the API refuses, or why there is no answer, in a sentence for people.
    async fn answer(&self, request: RequestBuilder) -> Result<Vec<u8>, CliError> {
        match self.reply(request).await? {
            (status, body) if status.is_success() => Ok(body),
            (status, body) => Err(self.refused(status, &body)),
        }
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> CliError {
        refusal(status, body)
            .unwrap_or_else(|| self.not_from_qron(&format!("it answers {status} without an explanation")))
    }

    /// Status and body of an answer to a request whose token was accepted.
    ///
    /// # Errors
    /// Why there is no answer, or that the token was refused, in a sentence for people.
    async fn reply(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), CliError> {
        let response = self.respond(request).await?;
        let status = response.status();
        Ok((status, Download { client: self, response }.whole().await?))
    }

    /// The head of an answer to a request whose token was accepted.
    ///
    /// # Errors
    /// Those of [`Client::reply`], and that the answer leads elsewhere.
    async fn respond(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let token = self.token.expose_secret();
        let request = if token.is_empty() { request } else { request.bearer_auth(token) };
        let (client, request) = request.build_split();
        let request = request.map_err(|error| self.unreachable(&error))?;
        let bytes = request.body().and_then(reqwest::Body::as_bytes).map_or(0, <[u8]>::len);
        let response = match client.execute(request).await {
            Ok(response) => response,
            Err(error) if ended_early(&error) && self.speaks_first().await => {
                return Err(self.not_from_qron("it does not speak HTTP/1.1"));
            }
            Err(error) => return Err(self.unsent(&error, bytes)),
        };
        if response.status() == StatusCode::UNAUTHORIZED {
            return Err(self.unauthorized(token.is_empty()));
        }
        if response.status().is_redirection() {
            return Err(self.leads_elsewhere(&response));
        }
        Ok(response)
    }

    fn too_large(&self, what: &str, most: usize) -> CliError {
        CliError::TooLarge(format!(
            "the {what} of the qron at {} is larger than {} MiB, and a command holds no more: ask for less at once, e.g. with --limit, or \
             for an artifact with --output",
            self.shown_base(),
            most / (1024 * 1024)
        ))
    }

    /// The error for an answer that names another address.
    fn leads_elsewhere(&self, response: &Response) -> CliError {
        let location = response.headers().get(LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let target = location.map_or_else(
            || "nowhere".to_owned(),
            |text| response.url().join(&text).map_or_else(|_| text.to_string(), |url| url.to_string()),
        );
        let target: String = url::redacted(&target).chars().take(SHOWN_ADDRESS).collect();
        CliError::Failed(format!(
            "what answers at {} leads to {target:?}, and this command follows nobody, lest its token go there: set --url or QRON_URL to \
             the address of the API itself",
            self.shown_base()
        ))
    }

    /// The error for an answer of something else than a qron, which `found` tells.
    fn not_from_qron(&self, found: &str) -> CliError {
        let port = self.base.port_or_known_default().filter(|port| self.store_ports.contains(port));
        let store = port.map_or_else(String::new, |port| {
            format!("; port {port} is one of the store (embedded.address, store.url), where Qdrant clients connect")
        });
        let (base, own) = (self.shown_base(), &self.own);
        let own = if self.own == base { "by default http://127.0.0.1:8080".to_owned() } else { format!("here {own}") };
        CliError::Failed(format!(
            "what answers at {base} is not the API of a qron: {found}{store}; set --url or QRON_URL to the address of the API \
             (api.address, {own})"
        ))
    }

    /// The error for a missing or a wrong token.
    fn unauthorized(&self, has_no_token: bool) -> CliError {
        let base = self.shown_base();
        let what = if has_no_token {
            format!("the qron at {base} needs a token, and this command has none")
        } else {
            format!("the qron at {base} refuses the token of this command")
        };
        CliError::Failed(format!(
            "{what}: set the variable QRON__API__TOKEN, or api.token in the file of --config, to the api.token of that qron"
        ))
    }

    /// The error for a request with a body of `bytes` that got no answer. The server refuses a body that is too large as soon as it
    /// has read the head, and its answer may be lost while this client still sends the rest.
    fn unsent(&self, error: &reqwest::Error, bytes: usize) -> CliError {
        if bytes < LARGE_BODY || error.is_connect() || error.is_timeout() {
            return self.unreachable(error);
        }
        CliError::Usage(format!(
            "the qron at {} refused a request of {bytes} bytes as too large: send less at once, or raise its setting api.max_body_bytes (of a file: artifacts.max_bytes)",
            self.shown_base()
        ))
    }

    /// Whether what listens there sends bytes before it is asked, as a server of gRPC does and no one of HTTP/1.1. Such a server may
    /// close a connection before this client has read them.
    async fn speaks_first(&self) -> bool {
        let Ok(addresses) = self.base.socket_addrs(|| None) else { return false };
        let first = async {
            let mut connection = TcpStream::connect(&addresses[..]).await?;
            connection.read_u8().await
        };
        matches!(timeout(FIRST_WORD_TIME_LIMIT, first).await, Ok(Ok(_)))
    }

    fn unreachable(&self, error: &reqwest::Error) -> CliError {
        let base = self.shown_base();
        if error.is_connect() && self.base.scheme() == "https" && !is_of_system(error) {
            return CliError::Failed(format!(
                "no TLS connection to {base} can be made: {}; a qron itself speaks http:// alone, TLS is that of a proxy before it",
                root_cause(error)
            ));
        }
        if error.is_connect() {
            return CliError::Failed(format!(
                "no qron answers at {base}: start one with \"qron run\", or name another address with --url or QRON_URL"
            ));
        }
        if error.is_timeout() {
            return CliError::Failed(format!(
                "the qron at {base} did not answer within {} s: look for the reason in its log, then try again",
                TIME_LIMIT.as_secs()
            ));
        }
        let cause = root_cause(error);
        if NO_HTTP.iter().any(|text| cause.contains(text)) {
            return self.not_from_qron(&format!("it does not speak HTTP/1.1 ({cause})"));
        }
        CliError::Failed(format!("the connection to the qron at {base} failed: {cause}"))
    }
}

/// The body of an answer, on its way.
pub(crate) struct Download<'a> {
    client: &'a Client,
    response: Response,
}

impl Download<'_> {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// The end of the connection before that of the body.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, CliError> {
        let piece = self.response.chunk().await.map_err(|error| self.client.unreachable(&error))?;
        Ok(piece.map(Vec::from))
    }

    /// All of it.
    ///
    /// # Errors
    /// As for [`Download::next`], and [`CliError::TooLarge`].
    pub(crate) async fn whole(mut self) -> Result<Vec<u8>, CliError> {
        let mut body = Vec::new();
        while let Some(piece) = self.next().await? {
            if body.len() + piece.len() > MAX_ANSWER {
                return Err(self.client.too_large("answer", MAX_ANSWER));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

/// The URL of the API that a `qron run` with this configuration serves.
fn own_url(config: &Config) -> String {
    let mut address = config.api.address;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    format!("http://{address}")
}

/// The error for an answer with a status of failure; `None` for one that no qron gives. What the user can mend in the input is a
/// usage error.
fn refusal(status: StatusCode, body: &[u8]) -> Option<CliError> {
    let problem: Problem = serde_json::from_slice(body).ok()?;
    let detail = if problem.errors.is_empty() { problem.detail } else { problem.errors.join("\n") };
    Some(match status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            CliError::Usage(detail)
        }
        _ => CliError::Failed(detail),
    })
}
