//! A node of a cluster in front of a single server: it passes everything on, but says that what it creates is there already,
//! and shows it only after a few looks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use tonic::Code;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tower::ServiceExt as _;

/// Looks at collections that show nothing yet.
const HIDDEN_LOOKS: usize = 15;

pub(crate) struct Node {
    pub(crate) url: String,
}

struct Shared {
    server: Channel,
    code: Code,
    words: &'static str,
    /// Looks that still show nothing.
    hidden: AtomicUsize,
}

impl Node {
    /// A node before the server at `url`, which refuses to create with `code` and `words`.
    pub(crate) async fn before(url: &str, code: Code, words: &'static str) -> Self {
        let server = Channel::from_shared(url.to_owned()).expect("a url").connect().await.expect("a server");
        let shared = Arc::new(Shared { server, code, words, hidden: AtomicUsize::new(HIDDEN_LOOKS) });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(forward).with_state(shared);
        let serving = Server::builder().add_routes(Routes::from(router));
        tokio::spawn(serving.serve_with_incoming(TcpIncoming::from(listener)));
        Self { url }
    }
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if path == "/qdrant.Collections/Get" && take_one(&shared.hidden) {
        return refusal(Code::NotFound, "Not found: Collection `it` doesn't exist!");
    }
    let request = request.map(tonic::body::Body::new);
    let answer = shared.server.clone().oneshot(request).await.expect("the server answers");
    if path == "/qdrant.Collections/Create" {
        return refusal(shared.code, &shared.words.replace("{}", "it"));
    }
    answer.map(axum::body::Body::new).into_response()
}

fn take_one(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

fn refusal(code: Code, words: &str) -> Response {
    let status = [("content-type", "application/grpc".to_owned()), ("grpc-status", (code as i32).to_string())];
    (status, [("grpc-message", words.to_owned())]).into_response()
}
