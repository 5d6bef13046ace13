//! Every metric that qron exports: name, kind, labels and meaning, in one place.
//!
//! The table in docs/telemetry.md is compared with this one by a test.

/// What a metric measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Distribution, in buckets.
    Histogram,
}

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it measures.
    pub kind: Kind,
    /// Its labels; never an id.
    pub labels: &'static [&'static str],
    /// Its meaning, in a sentence.
    pub help: &'static str,
}

const fn metric(name: &'static str, kind: Kind, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind, labels, help }
}

/// Time to answer requests to the store.
pub const STORE_SECONDS: Metric = metric(
    "qron_store_operation_seconds",
    Kind::Histogram,
    &["operation", "outcome"],
    "Time of an operation of the store, as the caller sees it.",
);

/// All of them.
pub const ALL: &[Metric] = &[STORE_SECONDS];
