//! The last thing that happens to an answer, and the first to a body: no secret of this process passes.

use std::borrow::Cow;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::error::Problem;
use crate::telemetry::secrets;

/// Marks the answer that carries it as one whose secrets were taken out when its content was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct WrittenWithout;

/// The middleware around everything else. An answer whose length is not known, which the API has none of, passes as it is.
pub(super) async fn without_secrets(request: Request, next: Next) -> Response {
    let (mut parts, body) = next.run(request).await.into_parts();
    if parts.extensions.get::<WrittenWithout>().is_some() {
        return Response::from_parts(parts, body);
    }
    let Some(length) = body.size_hint().exact().and_then(|length| usize::try_from(length).ok()) else {
        return Response::from_parts(parts, body);
    };
    let bytes = match axum::body::to_bytes(body, length).await {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::warn!(%error, "an answer of the api cannot be read");
            return Problem::internal(
                "qron could not write its answer, which is a fault of qron: its log names the cause",
            )
            .into_response();
        }
    };
    let is_json = is_json(&parts.headers);
    let redacted = if is_json { secrets::redact_json(&bytes) } else { secrets::redact_bytes(&bytes) };
    let Cow::Owned(redacted) = redacted else { return Response::from_parts(parts, Body::from(bytes)) };
    if parts.headers.contains_key(header::CONTENT_LENGTH) {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(redacted.len()));
    }
    Response::from_parts(parts, Body::from(redacted))
}

/// Whether `headers` announce JSON, of whichever kind.
fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media_type.contains("json")
}
