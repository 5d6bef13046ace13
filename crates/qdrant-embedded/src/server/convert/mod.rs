//! Between the protobuf messages of Qdrant and the types of the engine, in both directions.
//!
//! Pure: no I/O, no state. What a message cannot mean is a [`Fault`] that names the field.

pub(crate) mod change;
pub(crate) mod collection;
pub(crate) mod filter;
pub(crate) mod index;
pub(crate) mod limits;
pub(crate) mod query;
pub(crate) mod select;
pub(crate) mod value;
pub(crate) mod vector;

use super::error::Fault;

type Converted<T> = Result<T, Fault>;
