//! The recorder behind the metrics, and their text for Prometheus. One for each process.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::known_labels;
use super::metrics::{self, Kind};
use crate::domain::time::Timestamp;

/// Recorded values wait in memory until somebody reads them, or until this.
const UPKEEP: Duration = Duration::from_secs(5);

static HANDLE: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();

/// The metrics cannot be exported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metrics cannot be exported: {0}")]
pub struct ExporterError(String);

/// Starts to record every metric of the table. Until then they cost nothing and are lost; calling it again is harmless.
///
/// # Errors
/// When the process records metrics elsewhere already.
pub fn install(now: Timestamp) -> Result<(), ExporterError> {
    HANDLE.get_or_init(|| start(now)).as_ref().map(|_| ()).map_err(|reason| ExporterError(reason.clone()))
}

/// The metrics in the text format of Prometheus; empty before [`install`].
#[must_use]
pub fn render() -> String {
    handle().map(PrometheusHandle::render).unwrap_or_default()
}

/// Keeps the memory of the recorder small while nobody reads it. Runs until dropped.
pub async fn upkeep() {
    let mut tick = tokio::time::interval(UPKEEP);
    loop {
        tick.tick().await;
        if let Some(handle) = handle() {
            handle.run_upkeep();
        }
    }
}

fn handle() -> Option<&'static PrometheusHandle> {
    HANDLE.get().and_then(|installed| installed.as_ref().ok())
}

fn start(now: Timestamp) -> Result<PrometheusHandle, String> {
    let mut builder = PrometheusBuilder::new();
    for metric in metrics::ALL.iter().filter(|metric| metric.kind == Kind::Histogram) {
        builder = builder
            .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), metric.buckets)
            .map_err(|error| error.to_string())?;
    }
    let handle = builder.install_recorder().map_err(|error| error.to_string())?;
    for metric in metrics::ALL {
        match metric.kind {
            Kind::Counter => ::metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge => ::metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram => ::metrics::describe_histogram!(metric.name, metric.help),
        }
    }
    begin_at_zero();
    metrics::START_TIME.set_time(now, []);
    metrics::BUILD_INFO.set(1, [env!("CARGO_PKG_VERSION")]);
    Ok(handle)
}

/// Prometheus sees the first increase of a counter only when it has seen its zero.
fn begin_at_zero() {
    for metric in metrics::ALL.iter().filter(|metric| metric.labels.is_empty()) {
        match metric.kind {
            Kind::Counter => ::metrics::counter!(metric.name).increment(0),
            // Exists from here on, empty.
            Kind::Histogram => drop(::metrics::histogram!(metric.name)),
            Kind::Gauge => {}
        }
    }
    known_labels::begin();
}
