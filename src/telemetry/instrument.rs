//! Counters, gauges and histograms whose labels are checked by the compiler: a metric of two labels takes two values.
//!
//! Knows nothing of what is measured; the table is in [`metrics`](super::metrics).

use std::time::Duration;

use ::metrics::Label;

use crate::domain::time::Timestamp;

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

impl Kind {
    /// The kind as Prometheus writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A row of the table of metrics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it measures.
    pub kind: Kind,
    /// Names of its labels; never an id.
    pub labels: &'static [&'static str],
    /// Its meaning, in a sentence.
    pub help: &'static str,
    /// Upper bounds of its buckets; empty unless it is a histogram.
    pub buckets: &'static [f64],
}

impl Metric {
    /// Whether another metric has taken its place. It goes with the next version; dashboards and alerts do not use it.
    #[must_use]
    pub fn is_deprecated(&self) -> bool {
        self.help.starts_with("Deprecated")
    }
}

/// Something that is counted, with `N` labels.
#[derive(Clone, Copy, Debug)]
pub struct Counter<const N: usize> {
    name: &'static str,
    labels: &'static [&'static str; N],
    help: &'static str,
}

impl<const N: usize> Counter<N> {
    pub(super) const fn new(name: &'static str, labels: &'static [&'static str; N], help: &'static str) -> Self {
        Self { name, labels, help }
    }

    /// Its row in the table.
    #[must_use]
    pub const fn row(self) -> Metric {
        Metric { name: self.name, kind: Kind::Counter, labels: self.labels, help: self.help, buckets: &[] }
    }

    /// Counts one.
    pub fn inc(self, values: [&str; N]) {
        self.add(1, values);
    }

    /// Lets a series exist, at zero, for every combination of these values of its labels.
    pub fn begin(self, values: [&[&str]; N]) {
        let mut combinations = vec![Vec::new()];
        for of_label in values {
            let longer = |known: &Vec<_>| of_label.iter().map(|value| [known.as_slice(), &[*value]].concat()).collect();
            combinations = combinations.iter().flat_map::<Vec<Vec<&str>>, _>(longer).collect();
        }
        for combination in combinations.into_iter().filter_map(|values| <[&str; N]>::try_from(values).ok()) {
            self.add(0, combination);
        }
    }

    /// Counts `count`. Zero is worth it: the series exists from then on, and its first increase is seen.
    pub fn add(self, count: impl TryInto<u64>, values: [&str; N]) {
        ::metrics::counter!(self.name, labelled(self.labels, values)).increment(count.try_into().unwrap_or(0));
    }
}

/// Something that is read off, with `N` labels.
#[derive(Clone, Copy, Debug)]
pub struct Gauge<const N: usize> {
    name: &'static str,
    labels: &'static [&'static str; N],
    help: &'static str,
}

impl<const N: usize> Gauge<N> {
    pub(super) const fn new(name: &'static str, labels: &'static [&'static str; N], help: &'static str) -> Self {
        Self { name, labels, help }
    }

    /// Its row in the table.
    #[must_use]
    pub const fn row(self) -> Metric {
        Metric { name: self.name, kind: Kind::Gauge, labels: self.labels, help: self.help, buckets: &[] }
    }

    /// Sets a number of things.
    #[expect(clippy::cast_precision_loss, reason = "nobody reads a gauge to 53 bits")]
    pub fn set(self, count: impl TryInto<u64>, values: [&str; N]) {
        self.set_f64(count.try_into().unwrap_or(0) as f64, values);
    }

    /// Sets an instant, as seconds since the Unix epoch.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this era fit into 53 bits")]
    pub fn set_time(self, at: Timestamp, values: [&str; N]) {
        self.set_f64(at.as_millis() as f64 / 1000.0, values);
    }

    /// Sets a measure in the base unit that the name ends with.
    pub fn set_f64(self, value: f64, values: [&str; N]) {
        ::metrics::gauge!(self.name, labelled(self.labels, values)).set(value);
    }
}

/// Something whose distribution matters, with `N` labels.
#[derive(Clone, Copy, Debug)]
pub struct Histogram<const N: usize> {
    name: &'static str,
    labels: &'static [&'static str; N],
    help: &'static str,
    buckets: &'static [f64],
}

impl<const N: usize> Histogram<N> {
    pub(super) const fn new(
        name: &'static str,
        labels: &'static [&'static str; N],
        buckets: &'static [f64],
        help: &'static str,
    ) -> Self {
        Self { name, labels, help, buckets }
    }

    /// Its row in the table.
    #[must_use]
    pub const fn row(self) -> Metric {
        Metric { name: self.name, kind: Kind::Histogram, labels: self.labels, help: self.help, buckets: self.buckets }
    }

    /// Lets the series exist, empty, so that its first value is seen as an increase.
    pub fn begin(self, values: [&str; N]) {
        drop(::metrics::histogram!(self.name, labelled(self.labels, values)));
    }

    /// Records how long something took, in seconds.
    pub fn record(self, took: Duration, values: [&str; N]) {
        self.record_f64(took.as_secs_f64(), values);
    }

    /// Records a measure in the base unit that the name ends with.
    pub fn record_f64(self, value: f64, values: [&str; N]) {
        ::metrics::histogram!(self.name, labelled(self.labels, values)).record(value);
    }
}

/// The value of a label `outcome` that knows only success and failure: `ok` or `error`.
#[must_use]
pub const fn outcome<T, E>(result: &Result<T, E>) -> &'static str {
    if result.is_ok() { "ok" } else { "error" }
}

fn labelled<const N: usize>(names: &'static [&'static str; N], values: [&str; N]) -> Vec<Label> {
    names.iter().zip(values).map(|(name, value)| Label::new(*name, value.to_owned())).collect()
}
