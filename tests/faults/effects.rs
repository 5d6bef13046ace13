//! What tasks do to the world: a web server that notes every call, with its idempotency key.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method};
use axum::routing::get;
use qron::clock;
use qron::domain::time::Timestamp;
use tokio::sync::watch;

/// A call of a tool, as the world sees it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Which task made it.
    pub(crate) task: usize,
    /// Which step.
    pub(crate) step: String,
    /// The same for each repetition of one call; none for calls that change nothing.
    pub(crate) key: Option<String>,
    pub(crate) began: Instant,
    /// The same moment on the clock on the wall.
    pub(crate) at: Timestamp,
}

/// The step that never comes back.
pub(crate) const ENDLESS: &str = "endless";

/// The web server. A call takes its time, and waits while the doors are closed.
#[derive(Clone)]
pub(crate) struct Effects {
    pub(crate) base: String,
    world: Arc<World>,
}

struct World {
    takes: Duration,
    calls: Mutex<Vec<Call>>,
    firings: Mutex<Vec<(String, Timestamp)>>,
    closed: watch::Sender<bool>,
}

impl Effects {
    pub(crate) async fn start(takes: Duration) -> Self {
        let world = Arc::new(World {
            takes,
            calls: Mutex::default(),
            firings: Mutex::default(),
            closed: watch::Sender::new(false),
        });
        let router = Router::new()
            .route("/{task}/{step}", get(called).post(called))
            .route("/fired/{time}", get(fired))
            .with_state(Arc::clone(&world));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base, world }
    }

    /// Lets callers in but not out, or out again.
    pub(crate) fn close(&self, closed: bool) {
        self.world.closed.send_replace(closed);
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.world.calls.lock().expect("not poisoned").clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.world.calls.lock().expect("not poisoned").len()
    }

    /// Firings of schedules: the time that each was for, and when it was carried out.
    pub(crate) fn firings(&self) -> Vec<(String, Timestamp)> {
        self.world.firings.lock().expect("not poisoned").clone()
    }

    /// The calls by task and step, each in the order of time.
    pub(crate) fn by_step(&self) -> BTreeMap<(usize, String), Vec<Call>> {
        let mut steps: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for call in self.calls() {
            steps.entry((call.task, call.step.clone())).or_default().push(call);
        }
        steps
    }
}

async fn called(
    State(world): State<Arc<World>>,
    Path((task, step)): Path<(usize, String)>,
    method: Method,
    headers: HeaderMap,
) -> &'static str {
    let key = headers.get("idempotency-key").map(|key| key.to_str().expect("text").to_owned());
    assert_eq!(key.is_some(), method == Method::POST, "what has an effect has a key");
    let is_endless = step == ENDLESS;
    let call = Call { task, step, key, began: Instant::now(), at: clock::now() };
    world.calls.lock().expect("not poisoned").push(call);
    if is_endless {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(world.takes).await;
    drop(world.closed.subscribe().wait_for(|closed| !*closed).await);
    "done"
}

async fn fired(State(world): State<Arc<World>>, Path(time): Path<String>) -> &'static str {
    world.firings.lock().expect("not poisoned").push((time, clock::now()));
    "done"
}
