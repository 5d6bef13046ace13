//! HTTP to the endpoint, as a tower service below the OpenAI client.
//!
//! Every exchange has a time limit and a size limit, and comes back either as a success whose body is JSON or as a
//! [`CallError`]: the client above would drop the status and log the body of anything else. An answer in pieces comes back as if
//! it had come whole.

use std::borrow::Cow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_openai::config::Config;
use async_openai::middleware::HttpRequestFactory;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Body, Request, Response, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

use super::errors::{CallError, innermost};
use super::events::are_events;
use super::memory_budget::{self, MemoryBudget, MemoryReservation, ReadPermit};
use super::pieces::MEMORY_FOR_A_BYTE;
use super::refusal::Refusal;
use super::streamed::{self, StreamLimits};
use super::{CONNECT_TIMEOUT, Settings, waits};
use crate::clock;
use crate::domain::failure::Failure;
use crate::domain::json::{Size, least_memory, read_bytes};
use crate::domain::redaction::Secret;
use crate::telemetry::large::beside_other_work;
use crate::telemetry::secrets;

/// OpenAI's own endpoint.
const OPENAI: &str = "https://api.openai.com/v1";
/// The model of OpenAI that is called when the configuration names none.
const OPENAI_MODEL: &str = "gpt-5-mini";
/// Most white space in front of an answer that is read before its form is judged, in bytes.
const MAX_BLANK_BYTES: usize = 1024;
/// Most of a refusal's body that is read, in bytes.
const REFUSAL_BYTES: usize = 64 * 1024;

/// Endpoint of the models: address and key.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    base: String,
    key: SecretString,
    headers: HeaderMap,
    pub(super) is_openai: bool,
    is_loopback: bool,
    is_tls: bool,
}

impl Endpoint {
    /// The endpoint of `settings`; `None` without address and key.
    ///
    /// # Errors
    /// Class invalid, naming the setting.
    pub(super) fn from_settings(settings: &Settings) -> Result<Option<Self>, Failure> {
        let key = settings.api_key.expose_secret().trim();
        let base = match (settings.base_url.trim(), key) {
            ("", "") => return Ok(None),
            ("", _) => OPENAI,
            (base, _) => base,
        };
        let url = base_url(base)?;
        let mut headers = HeaderMap::new();
        if !key.is_empty() {
            let unusable = || Failure::invalid("model.api_key must be printable ASCII without line breaks or spaces");
            if !key.chars().all(|c| c.is_ascii_graphic()) {
                return Err(unusable());
            }
            let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| unusable())?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let is_loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        Ok(Some(Self {
            base: url.as_str().trim_end_matches('/').to_owned(),
            key: key.into(),
            headers,
            is_openai: host.ends_with(".openai.com") || host.ends_with(".azure.com"),
            is_loopback,
            is_tls: url.scheme() == "https",
        }))
    }

    /// A model that the endpoint is known to have, without asking it.
    pub(super) fn known_model(&self) -> Option<String> {
        self.is_openai.then(|| OPENAI_MODEL.to_owned())
    }
}

fn base_url(text: &str) -> Result<Url, Failure> {
    // The text itself is not repeated where it may hold a password.
    let url = Url::parse(text).map_err(|error| {
        Failure::invalid(format!("model.base_url is no URL ({error}); write e.g. http://localhost:11434/v1"))
    })?;
    if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none() {
        return Err(Failure::invalid("model.base_url must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Failure::invalid("model.base_url must hold no user or password; use model.api_key"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Failure::invalid("model.base_url must have no ? or # part"));
    }
    Ok(url)
}

impl Config for Endpoint {
    fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
    fn query(&self) -> Vec<(&str, &str)> {
        Vec::new()
    }
    fn api_base(&self) -> &str {
        &self.base
    }
    fn api_key(&self) -> &SecretString {
        &self.key
    }
}

/// Sends requests and reads responses within the time and size limits.
#[derive(Clone)]
pub(super) struct Transport {
    client: reqwest::Client,
    key: SecretString,
    read_timeout: Duration,
    timeout: Duration,
    max_bytes: usize,
    budget: MemoryBudget,
}

impl Transport {
    /// A transport to `endpoint` with the limits of `settings`.
    ///
    /// # Errors
    /// When TLS cannot be set up on this host.
    pub(super) fn new(settings: &Settings, endpoint: &Endpoint) -> Result<Self, Failure> {
        // Refused when it is installed already, by the Qdrant client or an earlier call: then all is well.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("qron/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none());
        if endpoint.is_loopback {
            builder = builder.no_proxy();
        }
        if !endpoint.is_tls {
            // Spares hosts that have none from the search for root certificates.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| {
            let cause = innermost(&error);
            Failure::permanent(format!(
                "no TLS for model.base_url; install root certificates (ca-certificates): {cause}"
            ))
        })?;
        secrets::know(Secret::new("model.api_key", endpoint.key.expose_secret()));
        Ok(Self {
            client,
            key: endpoint.key.clone(),
            read_timeout: Duration::from_millis(settings.read_timeout_ms),
            timeout: Duration::from_millis(settings.timeout_ms),
            max_bytes: settings.max_response_bytes,
            budget: MemoryBudget::new(),
        })
    }

    /// The HTTP client underneath.
    pub(super) fn client(&self) -> reqwest::Client {
        self.client.clone()
    }

    async fn exchange(&self, factory: HttpRequestFactory) -> Result<Response, CallError> {
        let began = Instant::now();
        let late = |_| CallError::TimedOut(self.timeout.as_millis());
        let mut memory = self.budget.reservation();
        let answer = timeout_at(began + self.timeout, self.begin(factory, &mut memory)).await.map_err(late)??;
        let (body, permit) = match answer {
            Begun::Whole(body, permit) => (body, permit),
            Begun::Pieces(mut response, head) => {
                let limits =
                    StreamLimits { first: self.timeout, silence: self.read_timeout, max_bytes: self.max_bytes };
                let key = self.key.expose_secret();
                let answer = streamed::read(&mut response, head, began, limits, key, &self.budget, &mut memory).await?;
                drop(response);
                let bytes = Size::of(&answer).text;
                let permit = self.budget.read_permit(bytes).await;
                // A secret may be spread over pieces, so that it shows in the whole only.
                (beside_other_work(bytes, || without_known_secrets(answer.to_string().into_bytes())), permit)
            }
        };
        memory_budget::keep_until_read(memory, permit);
        Ok(axum::http::Response::new(body).into())
    }

    /// Sends the request and reads the answer, or the begin of one that comes in pieces.
    async fn begin(&self, factory: HttpRequestFactory, memory: &mut MemoryReservation) -> Result<Begun, CallError> {
        let request = without_secrets(factory.build().await?);
        let asked = request.url().clone();
        let mut response = self.client.execute(request).await.map_err(|error| CallError::from_reqwest(&error))?;
        let status = response.status();
        if !status.is_success() {
            let retry_after_ms = waits::from_headers(response.headers(), clock::now());
            let body = self.read(&mut response, REFUSAL_BYTES).await.unwrap_or_default();
            let key = self.key.expose_secret();
            let refusal = Refusal::read(status.as_u16(), &body, key, retry_after_ms).of_url(asked);
            return Err(CallError::Refused(refusal));
        }
        let begin = self.begin_of(&mut response).await?;
        if are_events(&begin) == Some(true) {
            return Ok(Begun::Pieces(response, begin));
        }
        let body = self.read_on(begin, &mut response, self.max_bytes, memory).await?;
        let permit = self.budget.read_permit(body.len()).await;
        beside_other_work(body.len(), || self.checked(body)).map(|body| Begun::Whole(body, permit))
    }

    /// The body of an answer that came whole, without secrets of this process.
    fn checked(&self, body: Vec<u8>) -> Result<Vec<u8>, CallError> {
        // Servers, and models that saw one, repeat secrets.
        let body = without_known_secrets(body);
        if least_memory(&body) / MEMORY_FOR_A_BYTE > self.max_bytes {
            return Err(CallError::TooLarge(self.max_bytes));
        }
        let value = read_bytes(&body).map_err(|_| CallError::unreadable(&body))?;
        match refusal_inside(&value, &body, self.key.expose_secret()) {
            Some(refusal) => Err(CallError::Refused(refusal)),
            None => Ok(body),
        }
    }

    /// The begin of the body, as much as tells whether the answer comes in pieces.
    async fn begin_of(&self, response: &mut Response) -> Result<Vec<u8>, CallError> {
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        // Such a server may send the head before it has anything to say.
        let may_wait = content_type.is_some_and(|kind| kind.starts_with("text/event-stream"));
        let mut begin = Vec::new();
        while are_events(&begin).is_none() && begin.len() < MAX_BLANK_BYTES {
            let chunk = response.chunk();
            let chunk = if may_wait { chunk.await } else { self.in_time(chunk).await? };
            match chunk.map_err(|error| CallError::from_reqwest(&error))? {
                Some(chunk) => begin.extend_from_slice(&chunk),
                None => break,
            }
        }
        Ok(begin)
    }

    /// What comes next, unless the connection is silent for too long.
    async fn in_time<T>(&self, next: impl Future<Output = T>) -> Result<T, CallError> {
        timeout(self.read_timeout, next).await.map_err(|_| CallError::Silent(self.read_timeout.as_millis()))
    }

    /// The body without secrets of this process, as long as it keeps coming and stays below `limit` bytes.
    pub(super) async fn read(&self, response: &mut Response, limit: usize) -> Result<Vec<u8>, CallError> {
        self.read_on(Vec::new(), response, limit, &mut self.budget.reservation()).await.map(without_known_secrets)
    }

    /// The body as it is, which begins with `body` and reserves its memory in `memory`.
    async fn read_on(
        &self,
        mut body: Vec<u8>,
        response: &mut Response,
        limit: usize,
        memory: &mut MemoryReservation,
    ) -> Result<Vec<u8>, CallError> {
        let announced = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        if announced > limit || body.len() > limit {
            return Err(CallError::TooLarge(limit));
        }
        loop {
            let chunk = self.in_time(response.chunk()).await?;
            match chunk.map_err(|error| CallError::from_reqwest(&error))? {
                None => return Ok(body),
                Some(chunk) if body.len() + chunk.len() > limit => return Err(CallError::TooLarge(limit)),
                Some(chunk) => body.extend_from_slice(&chunk),
            }
            memory.resize(body.capacity())?;
        }
    }
}

/// An answer, as far as its form is known.
enum Begun {
    /// It has come whole; the permit to read it.
    Whole(Vec<u8>, ReadPermit),
    /// It comes in pieces; what was read of it.
    Pieces(Response, Vec<u8>),
}

impl tower::Service<HttpRequestFactory> for Transport {
    type Response = Response;
    type Error = CallError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, CallError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, factory: HttpRequestFactory) -> Self::Future {
        let transport = self.clone();
        Box::pin(async move { transport.exchange(factory).await })
    }
}

/// `body` without secrets of this process.
fn without_known_secrets(body: Vec<u8>) -> Vec<u8> {
    match secrets::redact_json(&body) {
        Cow::Owned(redacted) => redacted,
        Cow::Borrowed(_) => body,
    }
}

/// The request without secrets of this process in its body: the operator of a model may read prompts and need not
/// hold those secrets.
fn without_secrets(mut request: Request) -> Request {
    let redacted = request.body().and_then(Body::as_bytes).map(secrets::redact_json);
    if let Some(Cow::Owned(body)) = redacted {
        *request.body_mut() = Some(body.into());
    }
    request
}

/// Some gateways report errors with status 200: then the code inside is the status.
fn refusal_inside(value: &Value, body: &[u8], key: &str) -> Option<Refusal> {
    value.get("error").filter(|error| !error.is_null())?;
    if value.get("choices").or(value.get("data")).is_some() {
        return None;
    }
    Some(Refusal::within_answer(body, key))
}
