//! Which page of a listing a request asks for.

use serde::Deserialize;
use utoipa::IntoParams;

use super::error::Problem;
use crate::domain::id::TaskId;
use crate::store::{InvalidCursor, PageCursor};

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 1_000;

/// The parameters that all listings of stored things share.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Paging {
    /// Most items of the page; 50 without it.
    #[param(minimum = 1, maximum = 1_000)]
    pub(super) limit: Option<u32>,
    /// Where the page begins: `next` of the page before.
    pub(super) after: Option<String>,
}

impl Paging {
    /// How many items the page shall have, and where it starts.
    pub(super) fn read(&self) -> Result<(u32, Option<String>), Problem> {
        Ok((self.limit()?, start(self.after.as_deref())?))
    }

    /// Where the page of a listing with the latest first starts.
    pub(super) fn place(&self) -> Result<Option<PageCursor>, Problem> {
        let unknown = |error: InvalidCursor| format!("after: {error}; send the value of next of the page before");
        let after = self.after.as_deref().map(str::parse).transpose();
        after.map_err(|error| Problem::bad_request(unknown(error)))
    }

    /// How many items the page shall have.
    pub(super) fn limit(&self) -> Result<u32, Problem> {
        match self.limit.unwrap_or(DEFAULT_LIMIT) {
            limit @ 1..=MAX_LIMIT => Ok(limit),
            limit => Err(Problem::bad_request(format!("limit = {limit} is out of range: use 1 to {MAX_LIMIT}"))),
        }
    }
}

/// Where a page starts: the id of a point, which the page before gave as its `next`.
pub(super) fn start(after: Option<&str>) -> Result<Option<String>, Problem> {
    let id: Option<TaskId> = after
        .map(str::parse)
        .transpose()
        .map_err(|error| Problem::bad_request(format!("after: {error}; send the value of next of the page before")))?;
    Ok(id.map(|id| id.to_string()))
}
