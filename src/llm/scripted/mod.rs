//! A scripted model server: real HTTP on a loopback port, deterministic, with faults on demand.
//!
//! Speaks chat completions, whole and in pieces, and embeddings of the OpenAI protocol. Reachable from `qron demo` and from
//! tests only. Knows nothing of the client: it sees what any endpoint sees. The purpose of a request is its header
//! `X-Qron-Purpose`, else the name of its response schema, else `act`.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};

mod embedding;
mod request;
mod response;
mod script;
mod streaming;

pub use request::RecordedRequest;
pub use script::{Fault, RefusalRule, Reply, Scenario, Script, Turn};

use request::Incoming;
use streaming::AnswerForm;

/// A running scripted model. Stops when dropped.
#[derive(Debug)]
pub struct ScriptedModel {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Shared {
    script: Script,
    seen: Mutex<RequestLog>,
    places: Arc<Semaphore>,
    stopped: CancellationToken,
}

#[derive(Debug, Default)]
struct RequestLog {
    requests: Vec<RecordedRequest>,
    /// Requests answered so far, by scenario and conversation.
    answered: HashMap<(usize, String), u32>,
    in_flight: usize,
    in_flight_peak: usize,
}

impl ScriptedModel {
    /// Starts a server that follows `script` on a free loopback port.
    ///
    /// # Errors
    /// When no port can be opened.
    pub async fn start(script: Script) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let stopped = CancellationToken::new();
        let places = if script.places == 0 { Semaphore::MAX_PERMITS } else { script.places };
        let places = Arc::new(Semaphore::new(places));
        let shared = Arc::new(Shared { script, seen: Mutex::default(), places, stopped: stopped.clone() });
        let router = Router::new()
            .route("/v1/chat/completions", post(chat))
            .route("/v1/embeddings", post(embeddings))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&shared));
        let until_stopped = stopped.clone().cancelled_owned();
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(until_stopped).await {
                tracing::warn!(%error, "the scripted model stopped");
            }
        });
        Ok(Self { address, shared, _stop: stopped.drop_guard() })
    }

    /// What to configure as `model.base_url`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Every request so far, in order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.shared.seen().requests.clone()
    }

    /// Most requests that were in flight at once.
    #[must_use]
    pub fn in_flight_peak(&self) -> usize {
        self.shared.seen().in_flight_peak
    }

    /// Requests in flight now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.seen().in_flight
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, RequestLog> {
        // Counts and copies stay usable when a test thread panicked while it held them.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn that answers `request`, counted as answered; `None` when no scenario fits.
    fn turn_for(&self, request: &Incoming) -> Option<Turn> {
        let mut fitting = self.script.scenarios.iter().enumerate();
        let (index, scenario, goal) =
            fitting.find_map(|(index, scenario)| Some((index, scenario, request.goal_in(scenario)?)))?;
        let mut seen = self.seen();
        let answered = seen.answered.entry((index, request.conversation(goal))).or_default();
        let mut before = *answered;
        *answered = answered.saturating_add(1);
        let turn = scenario.turns.iter().find(|turn| {
            let its_turn = before < turn.times.max(1);
            before = before.saturating_sub(turn.times.max(1));
            its_turn
        });
        turn.or(scenario.turns.last()).cloned()
    }
}

/// Counts a request as in flight until it is dropped: answered to the last byte, or given up by the client.
struct InFlight {
    shared: Arc<Shared>,
    /// Its place among those that are answered at once.
    place: Option<OwnedSemaphorePermit>,
}

impl InFlight {
    fn begin(shared: &Arc<Shared>, request: RecordedRequest) -> Self {
        let mut seen = shared.seen();
        seen.requests.push(request);
        seen.in_flight += 1;
        seen.in_flight_peak = seen.in_flight_peak.max(seen.in_flight);
        drop(seen);
        Self { shared: Arc::clone(shared), place: None }
    }

    /// Waits until the request is one of those that are answered at once.
    async fn wait_for_place(&mut self) {
        self.place = Arc::clone(&self.shared.places).acquire_owned().await.ok();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.shared.seen().in_flight -= 1;
    }
}

async fn chat(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let request = match Incoming::read(&headers, &body) {
        Ok(request) => request,
        Err(message) => return response::refusal(StatusCode::BAD_REQUEST, &message, None),
    };
    let mut in_flight = InFlight::begin(&shared, request.record(&request.purpose, shared.script.keep_bodies));
    if let Some(refusal) = refuse(&shared.script, &headers, &request.body) {
        return refusal;
    }
    in_flight.wait_for_place().await;
    let cut = shared.script.turn_after_cut(&request.body);
    let Some(turn) = cut.or_else(|| shared.turn_for(&request)) else {
        let message = format!("no scenario fits: purpose {:?}, goal {:?}", request.purpose, request.goal());
        return response::refusal(StatusCode::BAD_REQUEST, &message, None);
    };
    let latency = turn.latency_ms.unwrap_or(shared.script.latency_ms);
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(latency)) => {}
        () = shared.stopped.cancelled() => {}
    }
    if turn.fault == Some(Fault::Hang) {
        shared.stopped.cancelled().await;
    }
    let form = AnswerForm::of(&request.body, shared.script.streams);
    response::answer(&request, form, &turn, turn.usage.unwrap_or(shared.script.usage), in_flight)
}

async fn embeddings(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let request = match Incoming::read(&headers, &body) {
        Ok(request) => request,
        Err(message) => return response::refusal(StatusCode::BAD_REQUEST, &message, None),
    };
    let _in_flight = InFlight::begin(&shared, request.record("embed", shared.script.keep_bodies));
    if let Some(refusal) = refuse(&shared.script, &headers, &request.body) {
        return refusal;
    }
    let dimensions = request.body["dimensions"].as_u64().and_then(|wanted| usize::try_from(wanted).ok());
    let dimensions = dimensions.unwrap_or(shared.script.dimensions);
    let texts = match &request.body["input"] {
        Value::Array(texts) => texts.as_slice(),
        one => std::slice::from_ref(one),
    };
    let vectors: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let vector = embedding::embed(text.as_str().unwrap_or_default(), dimensions);
            json!({ "object": "embedding", "index": index, "embedding": vector })
        })
        .collect();
    let tokens: usize = texts.iter().map(|text| text.as_str().unwrap_or_default().len() / 4 + 1).sum();
    response::json(
        StatusCode::OK,
        &json!({ "object": "list", "model": request.model, "data": vectors,
            "usage": { "prompt_tokens": tokens, "total_tokens": tokens } }),
    )
}

/// The refusal of a request without the right key or with a field that the server does not know.
fn refuse(script: &Script, headers: &HeaderMap, body: &Value) -> Option<Response> {
    if let Some(key) = &script.api_key {
        let presented = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if presented != format!("Bearer {key}") {
            // Real servers repeat the wrong key; a client must not pass it on.
            let message = format!("Incorrect API key provided: {}", presented.trim_start_matches("Bearer "));
            return Some(response::refusal(StatusCode::UNAUTHORIZED, &message, Some("invalid_api_key")));
        }
    }
    if let Some(refusing) = script.refusals.iter().find(|refusing| (refusing.when)(body)) {
        let status = StatusCode::from_u16(refusing.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return Some(response::refusal(status, refusing.message, None));
    }
    let field = script.refused_fields.iter().find(|field| body.get(field).is_some())?;
    let message = format!("Unsupported parameter: '{field}' is not supported with this model.");
    Some(response::refusal(StatusCode::BAD_REQUEST, &message, Some("unsupported_parameter")))
}
