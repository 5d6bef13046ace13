//! Qdrant: the connection, the schema of the collections, and the one way every request takes. Knows no tasks.
//!
//! - `connect`, `rest_port`: the connection; `collections`, `vectors`: what is stored in what; `schema`: what a start creates;
//!   `agreement`: waiting until all nodes of a cluster show it; `completeness`: whether it is still there;
//! - `requests`: every request; `values`: its values; `unreadable`: one warning for each point that cannot be read;
//! - `prefix`, `search`: finding points by the beginning of their id, and by vector.

mod agreement;
pub(super) mod collections;
pub(super) mod completeness;
mod connect;
mod prefix;
pub(super) mod requests;
mod rest_port;
mod schema;
mod search;
pub(super) mod unreadable;
pub(super) mod values;
pub(super) mod vectors;
