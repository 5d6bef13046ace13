//! The gRPC services: each method finds its collection, converts, asks it and converts back. No rules live here.

pub(crate) mod collections;
pub(crate) mod health;
pub(crate) mod points;
pub(crate) mod query;
pub(crate) mod read;
pub(crate) mod snapshots;
pub(crate) mod write;

use tonic::{Response, Status};

use super::error::Fault;

type Reply<T> = Result<Response<T>, Status>;

fn reply<T>(answer: Result<T, Fault>) -> Reply<T> {
    answer.map(Response::new).map_err(Status::from)
}

fn unsupported<T>(method: &str) -> Reply<T> {
    Err(Fault::Unsupported(format!("the method {method}")).into())
}
