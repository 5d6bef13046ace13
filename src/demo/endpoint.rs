//! A few web pages on a loopback port, for the tasks that fetch something.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// How long a weather station takes to answer.
const SLOW: Duration = Duration::from_millis(1_500);
/// Requests that the box office refuses before it opens.
const REFUSALS: u32 = 2;

/// The running pages. They end when it is dropped.
pub(super) struct Endpoint {
    address: SocketAddr,
    server: AbortHandle,
}

impl Endpoint {
    pub(super) async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let asked = Arc::new(AtomicU32::new(0));
        let router = Router::new()
            .route("/stations/{name}", get(station))
            .route("/box-office", get(box_office))
            .with_state(asked);
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!(%error, "the endpoint of the demo stopped");
            }
        });
        Ok(Self { address, server: server.abort_handle() })
    }

    /// What the HTTP tool must be allowed to reach.
    pub(super) fn host(&self) -> String {
        self.address.ip().to_string()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A slow answer with the temperature, so that one sees steps run side by side.
async fn station(Path(name): Path<String>) -> Json<Value> {
    tokio::time::sleep(SLOW).await;
    let celsius = match name.as_str() {
        "north" => 4,
        "east" => 11,
        "south" => 19,
        _ => 14,
    };
    Json(json!({ "station": name, "celsius": celsius }))
}

/// Closed at first.
async fn box_office(State(asked): State<Arc<AtomicU32>>) -> Response {
    if asked.fetch_add(1, Ordering::Relaxed) < REFUSALS {
        let headers = [(header::RETRY_AFTER, "1")];
        return (StatusCode::SERVICE_UNAVAILABLE, headers, "the box office opens in a moment").into_response();
    }
    Json(json!({ "tickets_left": 42 })).into_response()
}
