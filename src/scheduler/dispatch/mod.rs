//! From due to claimed: which due tasks this replica claims, for which of its agents, and when.
//!
//! - `dispatcher`: the loop; `scan`: due tasks that one read found; `claims`: claims under way;
//! - `assign`: agents for tasks; `fairness`: turns of concurrency keys; `contention`: keeping replicas out of each other's way;
//! - `limits`, `models`: limits of the whole fleet, and models that do not answer;
//! - `optimistic_claim`: tasks that are inserted as claimed.

mod assign;
mod claims;
mod contention;
pub(super) mod dispatcher;
mod fairness;
mod limits;
mod models;
pub(super) mod optimistic_claim;
mod scan;
