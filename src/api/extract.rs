//! Reading requests, with errors as problems instead of axum's plain text.

use super::error::Problem;
use super::headers;
use crate::domain::id::TaskId;
use crate::domain::json::{DistinctKeys, keep_digits, located};
use crate::telemetry::secrets;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the body must be JSON: send the header content-type: application/json",
            ));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| body_problem(&rejection))?;
        read_text(&bytes).map(Self).map_err(|error| Problem::bad_request(format!("the body cannot be read: {error}")))
    }
}

fn read_text<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    // What is no UTF-8, or no JSON, is told with its place by the reader below.
    let kept = str::from_utf8(text).ok().and_then(|text| keep_digits(text).ok());
    let text = kept.as_deref().map_or(text, str::as_bytes);
    let mut reader = serde_json::Deserializer::from_slice(text);
    // Asked of what was sent: taking a secret out would keep one of two. A mistake in the syntax is told by the reader below, with what it wanted there.
    if let Err(error) = serde_path_to_error::deserialize::<_, DistinctKeys>(&mut reader)
        && error.inner().is_data()
    {
        return Err(located(&error));
    }
    // What is asked for must be the same in the answer, in the store and in the run.
    let text = secrets::redact_json(text);
    let mut reader = serde_json::Deserializer::from_slice(&text);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| located(&error))?;
    reader.end().map(|()| value).map_err(|error| error.to_string())
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers::text(headers, &header::CONTENT_TYPE).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn body_problem(rejection: &BytesRejection) -> Problem {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than api.max_body_bytes allows")
        }
        other => Problem::bad_request(format!("the body could not be read: {other}")),
    }
}

/// Parameters after the `?`.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Query::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|rejection| Problem::bad_request(rejection.body_text()))
    }
}

/// The id of a task as the only parameter of the path.
pub(super) struct Id(pub(super) TaskId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state).await?;
        Ok(Self(text.parse()?))
    }
}

/// Parameters of the path.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(path)| Self(path))
            .map_err(|rejection| Problem::bad_request(rejection.body_text()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::domain::redaction::Secret;

    #[test]
    fn a_key_that_is_there_twice_is_refused_also_beside_a_secret() {
        secrets::know(Secret::new("test", "sk-canary-of-extract-1"));
        for body in [
            r#"{"a": 1, "a": 2, "b": "sk-canary-of-extract-1"}"#,
            r#"{"b": ["sk-canary-of-extract-1"], "c": {"a": 1, "\u0061": 2}}"#,
            r#"{"sk-canary-of-extract-1": 18446744073709551616, "a": 1, "a": 1}"#,
        ] {
            let error = read_text::<Value>(body.as_bytes()).expect_err("twice");
            assert!(error.contains("\"a\" appears twice"), "{error}");
        }
        let read: Value = read_text(br#"{"a": 18446744073709551616, "b": "sk-canary-of-extract-1"}"#).expect("JSON");
        assert_eq!(read, serde_json::json!({"a": "18446744073709551616", "b": "[test]"}));
    }
}
