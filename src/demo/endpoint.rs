//! A web server on a loopback port with the pages that tasks of the demo fetch.

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
const STATION_DELAY: Duration = Duration::from_millis(1_500);
/// Requests that the box office refuses before it opens.
const REFUSALS: u32 = 2;

/// The running web server. Dropping it stops it.
pub(super) struct Endpoint {
    address: SocketAddr,
    server: AbortHandle,
}

impl Endpoint {
    pub(super) async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let requests = Arc::new(AtomicU32::new(0));
        let router = Router::new()
            .route("/stations/{name}", get(station))
            .route("/box-office", get(box_office))
            .with_state(requests);
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!(%error, "the web server of the demo stopped, so tasks cannot fetch its pages");
            }
        });
        Ok(Self { address, server: server.abort_handle() })
    }

    /// The host that `tools.http.allow` must open.
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

/// Answers the temperature after a delay, which shows that steps run side by side.
async fn station(Path(name): Path<String>) -> Json<Value> {
    tokio::time::sleep(STATION_DELAY).await;
    let celsius = match name.as_str() {
        "north" => 4,
        "east" => 11,
        "south" => 19,
        _ => 14,
    };
    Json(json!({ "station": name, "celsius": celsius }))
}

/// Refuses the first requests, then answers how many tickets are left.
async fn box_office(State(requests): State<Arc<AtomicU32>>) -> Response {
    if requests.fetch_add(1, Ordering::Relaxed) < REFUSALS {
        let headers = [(header::RETRY_AFTER, "1")];
        return (StatusCode::SERVICE_UNAVAILABLE, headers, "the box office opens in a moment").into_response();
    }
    Json(json!({ "tickets_left": 42 })).into_response()
}
