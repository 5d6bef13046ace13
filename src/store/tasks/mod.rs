//! Tasks: their payload, and every operation on the points of the tasks collection.
//!
//! - `fields`, `codec`, `foreign`: the names of the fields, a task as a payload, and the tolerant reading of points that other
//!   clients wrote;
//! - `insert`, `unique` (who holds a unique key), `trees` (tasks that tasks made): new tasks;
//! - `admission`, `overlooked`, `earlier`: points that other clients wrote or changed, and what earlier runs left of them;
//! - `claims`, `transitions`, and `writer`, their group commit: changes of tasks;
//! - `read`, `newest`, `found` (also what cannot be read), `dependents`, `queues`, `model_waits`: reading, listing and counting tasks.

mod admission;
mod claims;
pub(super) mod codec;
pub(super) mod dependents;
pub(super) mod earlier;
pub(super) mod fields;
mod foreign;
pub(super) mod found;
mod insert;
mod model_waits;
pub(super) mod newest;
mod overlooked;
pub(super) mod queues;
mod read;
mod transitions;
pub(super) mod trees;
pub(super) mod unique;
pub(super) mod writer;
