//! The memory that all uploads take together while they come in.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Shared;
use super::error::Problem;
use super::headers;

/// The budget, in kibibytes: an upload is held in memory until it has come whole.
const BUDGET_KIB: u32 = 256 * 1024;

/// The budget of one process. Clones share it.
#[derive(Clone, Debug)]
pub struct UploadBudget(Arc<Semaphore>);

/// The part of the budget that one upload has, until it is dropped.
pub(super) struct UploadReservation {
    _permit: OwnedSemaphorePermit,
}

impl Default for UploadBudget {
    fn default() -> Self {
        Self::new()
    }
}

impl UploadBudget {
    /// A budget of which nothing is taken.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET_KIB as usize)))
    }

    /// Reserves `bytes` bytes, or all there is where that is less.
    fn reserve(&self, bytes: u64) -> Result<UploadReservation, Problem> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, BUDGET_KIB);
        if let Ok(permit) = Arc::clone(&self.0).try_acquire_many_owned(kib) {
            return Ok(UploadReservation { _permit: permit });
        }
        let most = BUDGET_KIB / 1024;
        let problem =
            format!("other uploads take the {most} MiB that all may take together: try again when they have ended");
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, problem))
    }
}

impl FromRequestParts<Shared> for UploadReservation {
    type Rejection = Problem;

    /// Reserves what the request says that its body has; the most that a file may have when it does not say.
    async fn from_request_parts(request: &mut Parts, parts: &Shared) -> Result<Self, Problem> {
        let length = headers::text(&request.headers, &header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
        let most = u64::try_from(parts.store.max_artifact_bytes()).unwrap_or(u64::MAX);
        parts.uploads.reserve(length.unwrap_or(most).min(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_share_the_budget_and_give_it_back() {
        let budget = UploadBudget::new();
        let held: Vec<_> = (0..4).map(|_| budget.reserve(64 * 1024 * 1024).expect("room")).collect();
        let refused = budget.reserve(1).err().expect("no room");
        assert_eq!(refused.status, 503);
        assert!(refused.detail.contains("256 MiB"), "{}", refused.detail);
        drop(held);
        assert!(budget.reserve(u64::MAX).is_ok(), "one that is larger than all takes all");
    }
}
