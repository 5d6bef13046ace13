//! The embedded server behaves like Qdrant: the same cases pass on a real one (`QRON_TEST_QDRANT_URL`).

mod support;

mod batch;
mod collections;
mod crash;
mod doors;
mod embedded;
mod journal;
mod measure;
mod payload;
mod points;
mod python;
mod queries;
mod reads;
