//! The filter of a request, read from its parameters beside its options.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::IntoParams;

use super::Shared;
use super::error::Problem;
use super::extract::Query;
use crate::domain::id::TaskId;
use crate::domain::json;
use crate::domain::task::{InvalidFilter, TaskFilter};

/// The parameters after the `?`: those that are conditions as a filter, the rest as the options `T`.
pub(super) struct Filtered<T> {
    pub(super) filter: TaskFilter,
    pub(super) options: T,
}

/// Describes the conditions as parameters.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what `TaskFilter::parse` reads")]
pub(super) struct Conditions {
    /// Statuses, any of which the task has, with commas: `failed,blocked`.
    status: Option<String>,
    /// Agent that must run the task.
    agent: Option<String>,
    /// One of the tags of the task.
    tag: Option<String>,
    /// User on whose behalf the task runs.
    user: Option<String>,
    /// Schedule whose firing created the task.
    schedule: Option<String>,
    /// Id of the task that created the task, or that it is a part of.
    #[param(inline)]
    parent: Option<TaskId>,
    /// Concurrency key of the task.
    concurrency_key: Option<String>,
    /// Text that the goal contains, in any case. The tasks that meet the other conditions are read to find out.
    text: Option<String>,
    /// Time at which the task was there already: RFC 3339, or seconds or milliseconds since 1970.
    created_before: Option<String>,
}

impl<T: DeserializeOwned> FromRequestParts<Shared> for Filtered<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await?;
        let options = json::field_names::<T>();
        let is_condition = |name: &str| TaskFilter::NAMES.contains(&name);
        let unknown: Vec<&str> = pairs
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| !is_condition(name) && !options.contains(name))
            .collect();
        if !unknown.is_empty() {
            let known = [TaskFilter::NAMES.as_slice(), options].concat().join(", ");
            return Err(Problem::bad_request(format!("unknown parameters {unknown:?}; known are {known}")));
        }
        let Query(options) = Query::from_request_parts(parts, state).await?;
        let conditions = pairs.into_iter().filter(|(name, _)| is_condition(name));
        let conditions = conditions.map(|(name, value)| (name, Value::from(value)));
        Ok(Self { filter: TaskFilter::parse(conditions, state.zone)?, options })
    }
}

impl From<InvalidFilter> for Problem {
    fn from(InvalidFilter(faults): InvalidFilter) -> Self {
        Self::several(axum::http::StatusCode::BAD_REQUEST, faults)
    }
}
