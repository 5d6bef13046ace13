//! The report of a benchmark, as JSON and as rows for people.

use serde::Serialize;

use super::Options;

/// All figures of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `embedded` or `server`.
    pub store: &'static str,
    /// Version of qron.
    pub version: &'static str,
    /// Processors of this machine.
    pub cores: usize,
    /// Options of the run.
    pub options: Options,
    /// Durable inserts in bulk.
    pub enqueue: Option<Throughput>,
    /// The queue drained by a runner.
    pub drain: Option<Drain>,
    /// The same number of tasks drained by the bare protocol.
    pub protocol: Option<Throughput>,
    /// From the API to the start of a run.
    pub latency: Option<Latency>,
    /// Cost of waiting.
    pub idle: Option<Idle>,
    /// Peak of resident memory of the process, with the embedded store, in bytes.
    pub peak_rss_bytes: Option<u64>,
}

/// A rate.
#[derive(Clone, Debug, Serialize)]
pub struct Throughput {
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Tasks per second.
    pub tasks_per_s: f64,
}

/// A drained queue.
#[derive(Clone, Debug, Serialize)]
pub struct Drain {
    /// Its rate.
    #[serde(flatten)]
    pub throughput: Throughput,
    /// Claims lost to others.
    pub conflicts: f64,
    /// Requests to the store for each task.
    pub store_calls_per_task: f64,
}

/// Waits from enqueue to start, in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// Tasks measured.
    pub tasks: usize,
    /// Half of them waited less.
    pub p50_ms: f64,
    /// 95 of 100 waited less.
    pub p95_ms: f64,
    /// 99 of 100 waited less.
    pub p99_ms: f64,
}

/// A runner that waits.
#[derive(Clone, Debug, Serialize)]
pub struct Idle {
    /// Tasks in the queue, none of them due.
    pub pending: usize,
    /// Processor time it takes, as a share of one core, with the embedded store if that is used.
    pub cpu_share_of_a_core: Option<f64>,
    /// Half of the scans for due tasks were faster, in milliseconds.
    pub due_scan_p50_ms: f64,
    /// 99 of 100 scans were faster, in milliseconds.
    pub due_scan_p99_ms: f64,
    /// Half of the searches that found no due task, and read when the next becomes due, were faster, in milliseconds.
    pub search_p50_ms: f64,
    /// 99 of 100 such searches were faster, in milliseconds.
    pub search_p99_ms: f64,
}

impl Report {
    pub(super) fn new(store: &'static str, options: Options) -> Self {
        Self {
            store,
            version: env!("CARGO_PKG_VERSION"),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            options,
            enqueue: None,
            drain: None,
            protocol: None,
            latency: None,
            idle: None,
            peak_rss_bytes: None,
        }
    }

    /// The rows of the table for people: the name and the figures of each measurement.
    #[must_use]
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let rate =
            |throughput: &Throughput| format!("{:.0} tasks/s ({:.2} s)", throughput.tasks_per_s, throughput.seconds);
        let mut rows = Vec::new();
        rows.extend(self.enqueue.as_ref().map(|enqueue| ("enqueue", rate(enqueue))));
        rows.extend(self.drain.as_ref().map(|drain| ("drain", rate(&drain.throughput))));
        rows.extend(self.protocol.as_ref().map(|protocol| ("bare protocol", rate(protocol))));
        if let Some((drain, protocol)) = self.drain.as_ref().zip(self.protocol.as_ref()) {
            let percent = 100.0 * drain.throughput.tasks_per_s / protocol.tasks_per_s.max(f64::EPSILON);
            rows.push(("drain of bare protocol", format!("{percent:.0} %")));
            rows.push(("store calls", format!("{:.3} per task", drain.store_calls_per_task)));
            rows.push(("claims lost", format!("{:.0}", drain.conflicts)));
        }
        rows.extend(self.latency.as_ref().map(|latency| {
            let Latency { p50_ms, p95_ms, p99_ms, .. } = latency;
            ("enqueue to start", format!("p50 {p50_ms:.0} ms, p95 {p95_ms:.0} ms, p99 {p99_ms:.0} ms"))
        }));
        if let Some(idle) = &self.idle {
            let (p50, p99) = (idle.due_scan_p50_ms, idle.due_scan_p99_ms);
            rows.push(("due scan", format!("p50 {p50:.1} ms, p99 {p99:.1} ms, {} tasks pending", idle.pending)));
            let (p50, p99) = (idle.search_p50_ms, idle.search_p99_ms);
            rows.push(("search, none due", format!("p50 {p50:.1} ms, p99 {p99:.1} ms")));
            rows.extend(idle.cpu_share_of_a_core.map(|share| ("idle", format!("{:.1} % of a core", 100.0 * share))));
        }
        rows.extend(self.peak_rss_bytes.map(|bytes| ("peak memory", format!("{} MiB", bytes / (1 << 20)))));
        rows
    }
}
