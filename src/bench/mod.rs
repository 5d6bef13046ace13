//! `qron bench`: measures this machine and this store with the parts of the program that also run tasks.
//!
//! The benchmark uses collections of its own and removes them afterwards; the embedded store gets a temporary folder. Its
//! tasks have empty plans, so that it measures the queue and not the work. A write counts when it is durable. Client, worker
//! and store share this machine, unless `store.url` names another one.
//!
//! - [`queue`]: enqueue, then drain;
//! - [`protocol`]: a drain with the fewest requests possible, for comparison;
//! - [`latency`]: from a request to the API to the start of the run, on an idle runner;
//! - [`idle`]: the cost of waiting.

use std::time::{Duration, Instant};

use serde::Serialize;
use tempfile::TempDir;
use uuid::Uuid;

use crate::agent::Agent;
use crate::app::{self, embedded::EmbeddedStore};
use crate::clock;
use crate::config::Config;
use crate::domain::agent::AgentProfile;
use crate::domain::time::Timestamp;
use crate::queue::Queue;
use crate::scheduler::{self, Runner};
use crate::store::Store;
use crate::telemetry::exporter;
use crate::tools::Toolbox;

mod idle;
mod latency;
mod protocol;
mod queue;
mod report;

pub use report::Report;

/// What to measure.
#[derive(Clone, Debug, Serialize)]
pub struct Options {
    /// Tasks to enqueue and drain.
    pub tasks: usize,
    /// Tasks in flight at most.
    pub capacity: usize,
    /// Bytes of data that each task carries.
    pub payload_bytes: usize,
    /// Tasks per second through the API while latency is measured; 0 skips that measurement.
    pub rate: u32,
    /// Seconds for which latency, and then idleness, is measured.
    pub seconds: u64,
}

/// Time between two reads of the progress.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The store, the settings and the temporary folder of the benchmark.
pub(crate) struct BenchEnv {
    config: Config,
    store: Store,
    embedded: Option<EmbeddedStore>,
    folder: TempDir,
}

/// Runs every measurement.
///
/// # Errors
/// When the store cannot be used, or a part of the program fails.
pub async fn run(config: Config, options: Options) -> anyhow::Result<Report> {
    exporter::install(clock::now())?;
    let env = BenchEnv::open(config, &options).await?;
    let measured = measure(&env, options).await;
    let closed = env.close().await;
    let report = measured?;
    closed?;
    Ok(report)
}

async fn measure(env: &BenchEnv, options: Options) -> anyhow::Result<Report> {
    let mut report = Report::new(env.store_kind(), options.clone());
    // Latency comes first, while the store has no work left from the other measurements.
    if options.rate > 0 {
        report.latency = Some(latency::measure(env, &options).await?);
    }
    report.enqueue = Some(queue::enqueue(env, &options).await?);
    report.drain = Some(queue::drain(env, &options).await?);
    report.protocol = Some(protocol::drain(env, &options).await?);
    report.idle = Some(idle::measure(env, &options).await?);
    report.peak_rss_bytes = idle::peak_rss_bytes();
    Ok(report)
}

impl BenchEnv {
    async fn open(mut config: Config, options: &Options) -> anyhow::Result<Self> {
        app::install_crypto();
        let folder = tempfile::tempdir()?;
        config.store.prefix = format!("{}bench_{}_", config.store.prefix, Uuid::new_v4().simple());
        let embedded = if config.store.url.is_empty() {
            let mut settings = config.embedded.clone();
            settings.data_dir = folder.path().join("qdrant");
            settings.address.set_port(0);
            let embedded = EmbeddedStore::start(&settings).await?;
            config.store = embedded.connection(&config.store);
            Some(embedded)
        } else {
            None
        };
        config.tools.workspace = folder.path().join("workspace");
        config.artifacts.folder = folder.path().join("artifacts");
        config.api.address.set_port(0);
        config.agents = [("bench".to_owned(), profile(options.capacity)?)].into();
        let store = Store::connect(&config.store, &config.artifacts, None).await?;
        Ok(Self { config, store, embedded, folder })
    }

    fn store_kind(&self) -> &'static str {
        if self.embedded.is_some() { "embedded" } else { "server" }
    }

    /// A runner over the scratch collections.
    async fn runner(&self) -> anyhow::Result<Runner> {
        let queue = Queue::new(self.store.clone(), &format!("bench-{}", Uuid::new_v4().simple()));
        let tools = Toolbox::new(&self.config.tools, &self.store, &queue)?;
        let agent = Agent::new(None, tools, self.store.clone(), self.config.memory.clone(), self.config.scheduler.zone);
        let parts = scheduler::Parts {
            queue,
            agent,
            agents: self.config.agents.values().cloned().collect(),
            scheduler: self.config.scheduler.clone(),
            limits: self.config.limits.clone(),
            worker: self.config.worker.clone(),
            retry: self.config.retry.clone(),
            approvals: self.config.approvals.clone(),
            retention: self.config.retention.clone(),
        };
        Ok(Runner::start(parts).await?)
    }

    async fn close(self) -> anyhow::Result<()> {
        protocol::remove_collections(&self.config.store).await?;
        drop(self.store);
        if let Some(embedded) = self.embedded {
            embedded.shutdown().await?;
        }
        self.folder.close()?;
        Ok(())
    }
}

fn profile(capacity: usize) -> anyhow::Result<AgentProfile> {
    Ok(serde_json::from_value(serde_json::json!({"name": "bench", "capacity": capacity}))?)
}

/// The rate per second of `count` things that took this long.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(f64::EPSILON)
}

/// The value below which the share `part`, from 0 to 1, of the sorted `values` lies.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
fn percentile(values: &[f64], part: f64) -> f64 {
    let index = ((values.len() as f64 * part).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    values.get(index).copied().unwrap_or_default()
}

fn elapsed(began: Instant) -> f64 {
    began.elapsed().as_secs_f64()
}

fn now() -> Timestamp {
    clock::now()
}
