//! A node of a cluster in front of a single server: it passes everything on, but says that what it creates is there already,
//! and shows it only after a few looks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use tonic::Code;
use tonic::transport::Channel;

use crate::support::gate::{pass_on, refusal, serve};

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
        Self { url: serve(Router::new().fallback(forward).with_state(shared)).await }
    }
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if path == "/qdrant.Collections/Get" && take_one(&shared.hidden) {
        return refusal(Code::NotFound, "Not found: Collection `it` doesn't exist!");
    }
    let answer = pass_on(shared.server.clone(), request).await;
    if path == "/qdrant.Collections/Create" {
        return refusal(shared.code, &shared.words.replace("{}", "it"));
    }
    answer
}

fn take_one(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}
