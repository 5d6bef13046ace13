//! A node in front of the Qdrant under test that stops the requests which a test names: it refuses them, says that it cannot
//! answer now, or holds them until the test lets them pass. Every other request it passes on.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use tokio::sync::{mpsc, oneshot, watch};
use tonic::Code;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tower::ServiceExt as _;

use super::waiting::DEADLINE;
use super::world::World;

/// The node, and the collections of the test whose requests it may stop.
pub(crate) struct Gate {
    pub(crate) url: String,
    prefix: String,
    shared: Arc<Shared>,
}

struct Shared {
    server: Channel,
    rules: Mutex<Vec<Rule>>,
}

/// Requests to stop, and how.
#[derive(Clone)]
struct Rule {
    path: String,
    /// Texts that all are in the body.
    words: Vec<String>,
    deed: Deed,
    met: Arc<watch::Sender<usize>>,
}

#[derive(Clone)]
enum Deed {
    Answer(Code),
    Hold(mpsc::UnboundedSender<Held>),
}

/// A request that the gate holds; it passes when this is dropped.
pub(crate) struct Held {
    _pass: oneshot::Sender<()>,
}

/// Requests that are stopped from now on, until this is dropped.
pub(crate) struct Stopped {
    shared: Arc<Shared>,
    met: Arc<watch::Sender<usize>>,
}

/// Requests that are held from now on, one after the other; when this is dropped they pass.
pub(crate) struct HeldRequests {
    requests: mpsc::UnboundedReceiver<Held>,
    _stopped: Stopped,
}

impl Gate {
    async fn before(url: &str, prefix: &str) -> Self {
        let server = Channel::from_shared(url.to_owned()).expect("a url").connect().await.expect("a server");
        let shared = Arc::new(Shared { server, rules: Mutex::default() });
        let router = Router::new().fallback(pass_or_stop).with_state(Arc::clone(&shared));
        Self { url: serve(router).await, prefix: prefix.to_owned(), shared }
    }

    /// Refuses each request of this method to this collection that has all of `words` in it: for good, as a server does that
    /// finds it wrong.
    pub(crate) fn refuse(&self, method: &str, collection: &str, words: &[&str]) -> Stopped {
        self.stop(method, collection, words, Deed::Answer(Code::InvalidArgument))
    }

    /// Answers each such request as a server does that is not ready.
    pub(crate) fn silence(&self, method: &str, collection: &str, words: &[&str]) -> Stopped {
        self.stop(method, collection, words, Deed::Answer(Code::Unavailable))
    }

    /// Holds each such request until the test lets it pass.
    pub(crate) fn hold(&self, method: &str, collection: &str, words: &[&str]) -> HeldRequests {
        let (sender, requests) = mpsc::unbounded_channel();
        HeldRequests { requests, _stopped: self.stop(method, collection, words, Deed::Hold(sender)) }
    }

    fn stop(&self, method: &str, collection: &str, words: &[&str], deed: Deed) -> Stopped {
        let met = Arc::new(watch::Sender::new(0));
        let name = format!("{}{collection}", self.prefix);
        let words = words.iter().map(ToString::to_string).chain([name]).collect();
        let rule = Rule { path: format!("/qdrant.Points/{method}"), words, deed, met: Arc::clone(&met) };
        self.shared.rules.lock().expect("not poisoned").push(rule);
        Stopped { shared: Arc::clone(&self.shared), met }
    }
}

impl World {
    /// A world whose runners reach the store through a gate.
    pub(crate) async fn gated(variables: &[(&str, &str)]) -> (Self, Gate) {
        let prefix = super::unique_prefix();
        let gate = Gate::before(&super::qdrant_url(), &prefix).await;
        let through = [("STORE__URL", gate.url.as_str()), ("STORE__PREFIX", &prefix)];
        (Self::new(&[&through, variables].concat()).await, gate)
    }
}

impl Stopped {
    /// Waits until `count` requests were stopped.
    pub(crate) async fn met(&self, count: usize) {
        let mut met = self.met.subscribe();
        let enough = met.wait_for(|met| *met >= count);
        tokio::time::timeout(DEADLINE, enough).await.expect("such requests are made").expect("the gate counts");
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.shared.rules.lock().expect("not poisoned").retain(|rule| !Arc::ptr_eq(&rule.met, &self.met));
    }
}

impl HeldRequests {
    /// The next request that the gate holds.
    pub(crate) async fn next(&mut self) -> Held {
        tokio::time::timeout(DEADLINE, self.requests.recv())
            .await
            .expect("a request is made")
            .expect("the rule is there")
    }
}

impl Rule {
    fn covers(&self, path: &str, body: &[u8]) -> bool {
        let has = |word: &String| body.windows(word.len()).any(|part| part == word.as_bytes());
        self.path == path && self.words.iter().all(has)
    }
}

async fn pass_or_stop(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = to_bytes(body, usize::MAX).await.expect("a request");
    let rule = {
        let rules = shared.rules.lock().expect("not poisoned");
        rules.iter().find(|rule| rule.covers(parts.uri.path(), &body)).cloned()
    };
    if let Some(rule) = rule {
        rule.met.send_modify(|met| *met += 1);
        match rule.deed {
            Deed::Answer(code) => return refusal(code, "stopped by the test"),
            Deed::Hold(requests) => {
                let (pass, passed) = oneshot::channel();
                // Of a rule that is gone, or of a test that has dropped it, the request passes.
                drop(requests.send(Held { _pass: pass }));
                drop(passed.await);
            }
        }
    }
    pass_on(shared.server.clone(), Request::from_parts(parts, Body::from(body))).await
}

/// The answer of `server` to `request`.
pub(crate) async fn pass_on(server: Channel, request: Request) -> Response {
    match server.oneshot(request.map(tonic::body::Body::new)).await {
        Ok(answer) => answer.map(Body::new).into_response(),
        Err(error) => refusal(Code::Unavailable, &error.to_string()),
    }
}

/// A refusal as a gRPC server words it.
pub(crate) fn refusal(code: Code, words: &str) -> Response {
    let status = [("content-type", "application/grpc".to_owned()), ("grpc-status", (code as i32).to_string())];
    (status, [("grpc-message", words.to_owned())]).into_response()
}

/// Serves gRPC on any free port; gives back its URL.
pub(crate) async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let serving = Server::builder().add_routes(Routes::from(router));
    tokio::spawn(serving.serve_with_incoming(TcpIncoming::from(listener)));
    url
}
