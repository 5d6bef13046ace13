//! The tests of qron through its public interfaces: the real engine, real sockets, the real program. One binary, so that
//! the engine is linked once; one module for each area, and what they share in [`support`].
//!
//! All tests share this process and run side by side. So none of them sets a variable, a working folder, a limit or a
//! handler of the process, and none counts what all tests together do; a test that must do so starts a child. The log of
//! this process belongs to `tools::support::Audit`. Tests that load the whole machine are in `tests/faults`.
//!
//! In a build without the feature `embedded` the areas and files are left out that start the embedded store, or the program with
//! its defaults; the others need `QRON_TEST_QDRANT_URL`.

mod support;

mod agent;
mod api;
#[cfg(feature = "embedded")]
mod cli;
#[cfg(feature = "embedded")]
mod config;
mod deploy;
mod llm;
mod policies;
#[cfg(feature = "embedded")]
mod recovery;
mod runner;
mod schedules;
mod steering;
mod store;
mod tools;
#[cfg(not(feature = "embedded"))]
mod without_embedded;
