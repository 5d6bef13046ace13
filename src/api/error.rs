//! Every error of the API, as `application/problem+json` (RFC 9457). The only place that chooses status codes for
//! failures.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::id::InvalidTaskId;
use crate::queue::{ChangeError, SubmitError, UnknownAgent};
use crate::schedules::service::ScheduleError;
use crate::store::StoreError;

/// An error, as RFC 9457 describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Kind of problem; `about:blank` says that the status tells it all.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The status code.
    pub status: u16,
    /// What happened, to what input, and the way out.
    pub detail: String,
    /// Each single fault, where there can be several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    /// Seconds after which the same request may succeed, told in the header `Retry-After`.
    #[serde(skip)]
    pub retry_after_s: Option<u64>,
}

impl Problem {
    /// A problem of `status` that says `detail`.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_s: (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1),
        }
    }

    /// The request does not read as it must.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// There is no such thing.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// The state of the thing does not allow it.
    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// The request reads well and asks for something impossible.
    pub(super) fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// More than is allowed; after `retry_after_s` seconds it may be otherwise.
    pub(super) fn too_many(detail: impl Into<String>, retry_after_s: u64) -> Self {
        Self { retry_after_s: Some(retry_after_s), ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    /// A fault of qron.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    /// Several faults of one request.
    pub(super) fn several(status: StatusCode, errors: Vec<String>) -> Self {
        let detail = errors.join("; ");
        Self { errors, ..Self::new(status, detail) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let status = match &error {
            StoreError::Unavailable { .. } | StoreError::CollectionMissing { .. } => StatusCode::SERVICE_UNAVAILABLE,
            // A point that another client wrote, and that nobody can read: its dead letter says more.
            StoreError::Corrupt { .. } => StatusCode::CONFLICT,
            StoreError::Refused { .. } | StoreError::Incompatible(_) | StoreError::Artifact { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        tracing::warn!(%error, "the store failed a request to the API");
        Self::new(status, error.to_string())
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Store(error) => error.into(),
            ChangeError::Missing(_) => Self::not_found(error.to_string()),
            ChangeError::Moved(_)
            | ChangeError::Illegal(_)
            | ChangeError::KeyTaken(_)
            | ChangeError::Unreadable { .. }
            | ChangeError::StillRefused { .. }
            | ChangeError::Ended { .. } => Self::conflict(error.to_string()),
        }
    }
}

impl From<UnknownAgent> for Problem {
    fn from(error: UnknownAgent) -> Self {
        Self::unprocessable(error.to_string())
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Store(error) => error.into(),
            SubmitError::Incomplete(faults) => Self::several(StatusCode::SERVICE_UNAVAILABLE, faults),
            SubmitError::Broken => Self::internal(error.to_string()),
        }
    }
}

impl From<ScheduleError> for Problem {
    fn from(error: ScheduleError) -> Self {
        match error {
            ScheduleError::Store(error) => error.into(),
            ScheduleError::Missing(_) => Self::not_found(error.to_string()),
            ScheduleError::Taken(_)
            | ScheduleError::Busy(_)
            | ScheduleError::Overlaps { .. }
            | ScheduleError::Full(_)
            | ScheduleError::NoPlan(_)
            | ScheduleError::OwnPlan(_) => Self::conflict(error.to_string()),
            ScheduleError::Range(_) | ScheduleError::Timing(_) | ScheduleError::Template(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
            }
        }
    }
}

impl From<InvalidTaskId> for Problem {
    fn from(error: InvalidTaskId) -> Self {
        Self::bad_request(error.to_string())
    }
}

/// No route of that path.
pub(super) async fn no_such_path(uri: axum::http::Uri) -> Problem {
    Problem::not_found(format!(
        "the path {:?} is unknown: the endpoints of the API begin with /api/v1/, e.g. /api/v1/tasks",
        uri.path()
    ))
}

/// A route, and another method.
pub(super) async fn no_such_method(method: axum::http::Method, uri: axum::http::Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!(
            "the path {:?} does not take the method {method}: the header allow of this answer names those that it takes",
            uri.path()
        ),
    )
}
