//! The JSON that the API answers, with times in RFC 3339. The command line reads the same structs.
//!
//! One file for each resource.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::store::Page;

pub mod agents;
pub mod approvals;
pub mod artifacts;
pub mod bulk;
pub mod control;
pub mod dead_letters;
pub mod health;
pub mod schedule_plan;
pub mod schedules;
pub mod search;
pub mod steps;
pub mod suspect;
pub mod tasks;
pub mod tools;
pub mod tree;

/// A page of a listing.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Page)]
pub struct Listing<T> {
    /// The items.
    pub items: Vec<T>,
    /// What to send as `after` to get the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> Listing<T> {
    /// A page of stored items, each converted by `view`.
    pub(super) fn page<S>(page: Page<S>, view: impl FnMut(S) -> T) -> Self {
        Self { items: page.items.into_iter().map(view).collect(), next: page.next }
    }

    /// A listing of all items, without further pages.
    pub(super) fn whole<S: Into<T>>(items: impl IntoIterator<Item = S>) -> Self {
        Self { items: items.into_iter().map(Into::into).collect(), next: None }
    }
}
