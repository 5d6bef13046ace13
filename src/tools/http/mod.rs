//! `http_request`: to the public internet and to what the configuration opens, nowhere else.
//!
//! Addresses are vetted where connections are made: in the resolver for names, in the URL for literal addresses, and
//! again for each redirect. No proxy is used, whatever the environment says.

mod answer;
mod network;
mod page;
mod resolver;
mod target;

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use self::answer::Answered;
pub use self::network::{AllowList, IpNetwork, closed_by_nature};
use self::resolver::{ClosedAddress, VettingResolver};
pub use self::resolver::{Lookup, SystemLookup};
pub(in crate::tools) use self::target::impossible;
use self::target::{Outgoing, check_host, check_redirect, read_headers, read_url, shown};
use super::inputs::{ANY_TYPE, argument_fault, blocking, is_given, object, parse, refused};
use super::{HttpSettings, Tool, ToolContext, ToolboxError};
use crate::clock;
use crate::domain::failure::Failure;
use crate::domain::id::derived;
use crate::domain::plan::filled;
use crate::domain::tool::{Effect, ToolResult, ToolSpec};

/// The literal address that a URL names, when it may be reached without an entry of the allow-list.
#[cfg(feature = "fuzzing")]
pub(super) fn open_address(text: &str) -> Option<std::net::IpAddr> {
    let url = read_url(text, &AllowList::default()).ok()?;
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

/// Whether `body`, which came with these `headers` of an answer, is an HTML page.
pub(super) fn is_page(headers: &Value, body: &str) -> bool {
    let content_type = headers["content-type"].as_str().unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    page::is_html(&media_type, body.as_bytes())
}

/// The tables of an HTML page, each as rows of texts.
pub(super) fn tables(html: &str) -> Vec<Vec<Vec<String>>> {
    page::tables(html)
}

/// Name of the tool.
pub(super) use crate::domain::table_source::HTTP_REQUEST as NAME;
/// Header of every request that an agent makes. qron itself refuses those, so that no agent steers the queue it works for
/// or approves its own calls, even where the allow-list opens this host.
pub const FROM_AGENT: &str = "qron-agent";
const TWO_BODIES: &str = "both body and json are given: leave one of them out";
/// Time limit to connect; the limit of the whole request still holds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Most response headers.
const MAX_RESPONSE_HEADERS: usize = 100;
/// Largest response headers together, in bytes.
const MAX_RESPONSE_HEADER_BYTES: usize = 64 * 1024;

/// The tool `http_request`.
pub struct HttpRequest {
    /// The reason instead, on a machine without root certificates.
    client: Result<Client, String>,
    allow: Arc<AllowList>,
    max_response_bytes: usize,
    max_redirects: u32,
    timeout: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    url: String,
    #[serde(default)]
    method: Verb,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    json: Option<Value>,
    #[serde(default)]
    raw: bool,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Verb {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl From<Verb> for Method {
    fn from(verb: Verb) -> Self {
        match verb {
            Verb::Get => Self::GET,
            Verb::Head => Self::HEAD,
            Verb::Post => Self::POST,
            Verb::Put => Self::PUT,
            Verb::Patch => Self::PATCH,
            Verb::Delete => Self::DELETE,
        }
    }
}

/// Why a request has no answer.
enum RequestError {
    /// Policy forbids going on.
    Refused(String),
    /// The network or the server failed.
    Failed(Failure),
}

impl HttpRequest {
    /// A client with these limits that resolves names with `lookup`.
    ///
    /// # Errors
    /// Names the entry of `allow` that cannot be read.
    pub fn new(settings: &HttpSettings, lookup: Arc<dyn Lookup>) -> Result<Self, ToolboxError> {
        let allow = AllowList::parse(&settings.allow).map_err(|reason| ToolboxError::new("http.allow", reason))?;
        let allow = Arc::new(allow);
        super::tls::install_provider();
        let client = Client::builder()
            .dns_resolver(VettingResolver { lookup, allow: Arc::clone(&allow) })
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .http1_max_headers(MAX_RESPONSE_HEADERS)
            .http2_max_header_list_size(u32::try_from(MAX_RESPONSE_HEADER_BYTES).unwrap_or(u32::MAX))
            .user_agent(concat!("qron/", env!("CARGO_PKG_VERSION")))
            .default_headers(HeaderMap::from_iter([(
                HeaderName::from_static(FROM_AGENT),
                HeaderValue::from_static("1"),
            )]))
            .build()
            .map_err(|error| chain(&error));
        Ok(Self {
            client,
            allow,
            max_response_bytes: settings.max_response_bytes,
            max_redirects: settings.max_redirects,
            timeout: Duration::from_millis(settings.timeout_ms),
        })
    }

    /// Sends `outgoing` and follows its redirects as far as `context` allows.
    async fn exchange(
        &self,
        context: &ToolContext,
        mut outgoing: Outgoing,
        raw: bool,
    ) -> Result<ToolResult, RequestError> {
        let client = self.client.as_ref().map_err(|reason| {
            RequestError::Failed(Failure::permanent(format!(
                "no HTTP client: {reason}; are root certificates installed?"
            )))
        })?;
        for redirects in 0.. {
            let shown = shown(&outgoing.url);
            let response = send(client, &outgoing).await.map_err(|error| stop(&shown, &error))?;
            check_head(response.headers()).map_err(|reason| RequestError::Refused(format!("{shown} {reason}")))?;
            let next = outgoing.redirected(response.status(), response.headers(), &self.allow);
            let Some(next) = next.map_err(RequestError::Refused)? else {
                let (status, headers) = (response.status(), response.headers().clone());
                let body = self.body(&shown, response).await?;
                let answered = Answered { url: outgoing.url, status, headers, body, raw };
                return Ok(blocking(move || answer::outcome(answered, clock::now())).await);
            };
            if redirects >= self.max_redirects {
                return Err(RequestError::Refused(format!("{shown} redirects more than {} times", self.max_redirects)));
            }
            check_redirect(context, &shown, &next.url).map_err(RequestError::Refused)?;
            outgoing = next;
        }
        Err(RequestError::Failed(Failure::permanent("redirects without end")))
    }

    /// The body, decompressed; stops as soon as it is too large, however small it arrives.
    async fn body(&self, shown: &str, mut response: Response) -> Result<Vec<u8>, RequestError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| stop(shown, &error))? {
            if body.len() + chunk.len() > self.max_response_bytes {
                return Err(RequestError::Refused(format!(
                    "the answer of {shown} is larger than {} bytes",
                    self.max_response_bytes
                )));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

#[async_trait]
impl Tool for HttpRequest {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: NAME.into(),
            description:
                "Sends an HTTP request to a public server. Answers {\"status\", \"headers\", \"text\": an HTML page as \
                          Markdown with its links and tables, \"body\": anything else, JSON or text, \"encoding\": base64, when body is \
                          neither}; a status of 400 and above is a failure. Private addresses are closed."
                    .into(),
            parameters: object(
                &json!({
                    "url": { "type": "string", "description": "http or https, without credentials" },
                    "method": { "type": "string", "enum": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], "default": "GET" },
                    "headers": { "type": "object", "additionalProperties": { "type": "string" } },
                    "body": { "type": ["string", "null"], "default": null, "description": "body as text; not together with json" },
                    "json": { "type": ANY_TYPE, "description": "body as a JSON value" },
                    "raw": { "type": "boolean", "default": false, "description": "give the HTML of a page in body, and no text" },
                }),
                &["url"],
            ),
            output: object(
                &json!({
                    "status": { "type": "integer" },
                    "headers": {
                        "type": "object", "additionalProperties": { "type": "string" },
                        "description": "those that matter, by name in lower case"
                    },
                    "text": { "type": "string", "description": "an HTML page as Markdown, unless raw" },
                    "body": {
                        "description": "the value of JSON, else a text; of an HTML page its HTML, when raw or up to 4 KiB"
                    },
                    "encoding": { "type": "string", "enum": ["base64"], "description": "when body is neither JSON nor text" },
                }),
                &["status", "headers"],
            ),
            effect: Effect::External,
            idempotent: false,
            untrusted: true,
        }
    }

    fn fault(&self, arguments: &Value) -> Option<String> {
        let url = arguments.get("url").and_then(Value::as_str);
        if let Some(reason) = url.and_then(impossible) {
            return Some(argument_fault(NAME, "url", reason));
        }
        let headers = arguments.get("headers").and_then(Value::as_object).into_iter().flatten();
        let texts = headers.filter_map(|(name, value)| Some((name.clone(), filled(value.as_str()?, "1"))));
        if let Err(reason) = read_headers(texts.collect::<BTreeMap<_, _>>().iter()) {
            return Some(argument_fault(NAME, "headers", reason));
        }
        let is_twice = is_given(arguments, "body") && is_given(arguments, "json");
        is_twice.then(|| format!("{NAME}: {TWO_BODIES}"))
    }

    async fn call(&self, context: &ToolContext, arguments: Value) -> ToolResult {
        let arguments: Arguments = parse(arguments)?;
        let raw = arguments.raw;
        let outgoing = self.read(context, arguments).map_err(|reason| refused(NAME, context, reason))?;
        let shown = shown(&outgoing.url);
        match tokio::time::timeout(self.timeout, self.exchange(context, outgoing, raw)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(RequestError::Failed(failure))) => Err(failure),
            Ok(Err(RequestError::Refused(reason))) => Err(refused(NAME, context, reason)),
            Err(_) => Err(Failure::timeout(format!("{shown} did not answer within {} ms", self.timeout.as_millis()))),
        }
    }
}

impl HttpRequest {
    fn read(&self, context: &ToolContext, arguments: Arguments) -> Result<Outgoing, String> {
        let Arguments { url, method, headers, body, json, raw: _ } = arguments;
        let url = read_url(&url, &self.allow)?;
        check_host(context, &url)?;
        let mut headers = read_headers(headers.iter())?;
        let method = Method::from(method);
        let body = match (body, json) {
            (Some(_), Some(_)) => return Err(TWO_BODIES.to_owned()),
            (Some(text), None) => Some(text.into_bytes()),
            (None, Some(value)) => {
                headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
                Some(value.to_string().into_bytes())
            }
            (None, None) => None,
        };
        if !method.is_safe() {
            // Derived, so that servers learn nothing of tasks, and the same for each repetition.
            let key = derived(&["http", &context.idempotency_key]).to_string();
            let key = HeaderValue::from_str(&key).map_err(|error| error.to_string())?;
            headers.insert("idempotency-key", key);
        }
        Ok(Outgoing { method, url, headers, body })
    }
}

async fn send(client: &Client, outgoing: &Outgoing) -> Result<Response, reqwest::Error> {
    let request = client.request(outgoing.method.clone(), outgoing.url.clone()).headers(outgoing.headers.clone());
    match &outgoing.body {
        Some(body) => request.body(body.clone()).send().await,
        None => request.send().await,
    }
}

fn check_head(headers: &HeaderMap) -> Result<(), String> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() > MAX_RESPONSE_HEADERS || bytes > MAX_RESPONSE_HEADER_BYTES {
        return Err(format!("answered with {} headers of {bytes} bytes, too many", headers.len()));
    }
    Ok(())
}

/// Sorts an error of the client. Its own text is not used where it would name the whole URL.
fn stop(shown: &str, error: &reqwest::Error) -> RequestError {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(closed) = cause.downcast_ref::<ClosedAddress>() {
            return RequestError::Refused(closed.to_string());
        }
        source = cause.source();
    }
    let reason = error.source().map_or_else(|| "the request failed".to_owned(), chain);
    RequestError::Failed(if error.is_builder() {
        Failure::invalid(format!("no request to {shown} can be made: {reason}"))
    } else if error.is_timeout() {
        Failure::timeout(format!("{shown}: {reason}"))
    } else {
        Failure::transient(format!("{shown}: {reason}"))
    })
}

/// An error with its causes, each once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
