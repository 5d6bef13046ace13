//! Composition root: the only place that names concrete parts and starts them in order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use qdrant_embedded::connections::{FileLimit, Seats};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::agent::Agent;
use crate::api::connection::{ConnectionSeat, Listener};
use crate::api::uploads::UploadBudget;
use crate::config::Config;
use crate::domain::agent::AgentProfile;
use crate::domain::failure::Failure;
use crate::domain::schedule::zone::Zone;
use crate::domain::schedule::zone::data::ZoneData;
use crate::domain::url;
use crate::llm::Models;
use crate::queue::Queue;
use crate::scheduler::{self, Runner, RunnerError};
use crate::store::{Store, StoreError};
use crate::telemetry::exporter::{self, ExporterError};
use crate::tools::vector_search::TextEmbedder;
use crate::tools::{Toolbox, ToolboxError};
use crate::{api, clock};

pub(crate) mod embedded;
mod folders;
pub(crate) mod model_check;
pub(crate) mod model_choice;
mod model_records;
mod private;
mod reach;
mod replica;

use embedded::{EmbeddedStore, EmbeddedStoreError};
use model_records::ModelRecords;

/// How long open connections of the API may go on at the end, when the grace period is not nearly over.
const API_GRACE: Duration = Duration::from_secs(1);
/// How long the API goes on after the last run has ended, so that those who follow its task learn how.
const LAST_LOOK: Duration = Duration::from_millis(600);

/// Why the program does not start, or did not stop well.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The embedded Qdrant.
    #[error("embedded qdrant: {error}{setting}", error = .0, setting = embedded::setting_of(.0))]
    Embedded(#[from] EmbeddedStoreError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The model endpoint as configured.
    #[error("model: {}", .0.message)]
    Model(Failure),
    /// The model endpoint does not answer, and without it no model can be chosen.
    #[error("model: {0}")]
    ModelAway(String),
    /// The tools as configured.
    #[error(transparent)]
    Tools(#[from] ToolboxError),
    /// The scheduler.
    #[error(transparent)]
    Runner(#[from] RunnerError),
    /// Folders of the configuration, each problem in a line.
    #[error("{}", .0.join("\n"))]
    Folders(Vec<String>),
    /// Metrics.
    #[error(transparent)]
    Metrics(#[from] ExporterError),
    /// The API's address.
    #[error("the API cannot listen on {address}: {source}; stop what listens there, or set another api.address, e.g. \
         QRON__API__ADDRESS=127.0.0.1:{}", address.port().wrapping_add(1))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of the data folder.
    #[error("{} cannot be used: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl AppError {
    /// Whether other settings are the way out, and not another try.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Model(_)
                | Self::Tools(_)
                | Self::Folders(_)
                | Self::Runner(RunnerError::BadSweep(_))
                | Self::Store(StoreError::Incompatible(_))
        )
    }
}

/// A running qron.
pub struct App {
    api_address: SocketAddr,
    store_url: String,
    replica_id: String,
    store: Store,
    runner: Runner,
    embedded: Option<EmbeddedStore>,
    draining: CancellationToken,
    stop_api: CancellationToken,
    api_seats: Seats,
    api: JoinHandle<()>,
    upkeep: AbortHandle,
    model_check: Option<AbortOnDropHandle<()>>,
    model_records: Option<AbortOnDropHandle<()>>,
}

/// The models, as the tools see them.
struct EmbeddingModels(Models);

#[async_trait]
impl TextEmbedder for EmbeddingModels {
    async fn embed(&self, text: String) -> Result<Vec<f32>, Failure> {
        self.0.embed(&[text]).await?.pop().ok_or_else(|| Failure::permanent("the embeddings model gave no vector"))
    }
}

impl App {
    /// Starts every part, each after those it needs. When one fails, those before it stop again.
    ///
    /// # Errors
    /// [`AppError`] of the first part that fails.
    pub async fn start(mut config: Config) -> Result<Self, AppError> {
        install_crypto();
        clock::zones::install();
        log_zone_data(&config);
        exporter::install(clock::now())?;
        config.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
        check_settings(&config)?.iter().for_each(|warning| tracing::warn!("{warning}"));
        if let Some(model) = model_choice::choose(&mut config).await? {
            tracing::info!(%model, endpoint = %config.model.base_url, "the model endpoint has one model; qron calls it, because model.models names none");
        }
        let files = FileLimit::raise();
        files.log();
        private::close(&config)?;
        let listener = listen(config.api.address).await?;
        let api_address = address_of(&listener, config.api.address)?;
        let replica_id = replica::fresh_id();
        let model_check = model_check::start(&config)?;

        let folder = config.embedded.data_dir.clone();
        let embedded = if config.store.url.is_empty() { Some(start_embedded(&config).await?) } else { None };
        let parts = Self::start_parts(&config, embedded.as_ref(), &replica_id).await;
        let (store, models, tools, runner, model_records) = match parts {
            Ok(parts) => parts,
            Err(error) => {
                stop_embedded(embedded).await;
                return Err(error);
            }
        };
        if embedded.is_some() {
            replica::take_over(&folder, &replica_id, &runner).await?;
        }
        let store_url =
            embedded.as_ref().map_or_else(|| config.store.clone(), |embedded| embedded.connection(&config.store)).url;
        reach::log_addresses(&config, api_address, embedded.as_ref().map(EmbeddedStore::address));
        let draining = CancellationToken::new();
        let api_parts = api::Parts {
            uploads: UploadBudget::new(),
            store: store.clone(),
            queue: runner.queue().clone(),
            runner: runner.clone(),
            tools,
            models,
            agents: config.agents.into_values().collect(),
            lease_ms: config.worker.lease_ms,
            approvals: config.approvals,
            limits: config.limits,
            zone: config.scheduler.zone,
            draining: draining.clone(),
        };
        let stop_api = CancellationToken::new();
        let router = api::router(&config.api, api_address, api_parts);
        let api_seats = Seats::new(files.connections());
        let listener = Listener::new(listener, Duration::from_secs(config.api.head_timeout_s), api_seats.clone());
        let api = tokio::spawn(serve(listener, router, stop_api.clone()));
        let upkeep = tokio::spawn(exporter::upkeep()).abort_handle();
        tracing::info!(api = %format!("http://{api_address}"), store = %url::redacted(&store_url), replica = %replica_id, zone_data = ZoneData::version(), "qron is running");
        Ok(Self {
            api_address,
            store_url,
            replica_id,
            store,
            runner,
            embedded,
            draining,
            stop_api,
            api_seats,
            api,
            upkeep,
            model_check,
            model_records,
        })
    }

    async fn start_parts(
        config: &Config,
        embedded: Option<&EmbeddedStore>,
        replica_id: &str,
    ) -> Result<(Store, Option<Models>, Toolbox, Runner, Option<AbortOnDropHandle<()>>), AppError> {
        let models = Models::new(&config.model, &config.embeddings).map_err(AppError::Model)?;
        let settings = embedded.map_or_else(|| config.store.clone(), |embedded| embedded.connection(&config.store));
        let has_embeddings = models.as_ref().is_some_and(Models::has_embeddings);
        let vector_size = has_embeddings.then_some(config.embeddings.dimensions);
        let store = Store::connect(&settings, &config.artifacts, vector_size).await?;
        let model_records = match &models {
            Some(models) => {
                let of_agents = config.agents.values().filter_map(|agent| agent.model.as_deref());
                Some(ModelRecords::restore(models, &store, of_agents).await.keep())
            }
            None => None,
        };
        let queue = Queue::new(store.clone(), replica_id);
        let mut tools = Toolbox::new(&config.tools, &store, &queue)?;
        if let Some(models) = models.clone().filter(Models::has_embeddings) {
            tools = tools.with_embedder(Arc::new(EmbeddingModels(models)))?;
        }
        let agents: Vec<AgentProfile> = config.agents.values().cloned().collect();
        let agent =
            Agent::new(models.clone(), tools.clone(), store.clone(), config.memory.clone(), config.scheduler.zone);
        let runner = Runner::start(scheduler::Parts {
            queue,
            agent,
            agents,
            scheduler: config.scheduler.clone(),
            limits: config.limits.clone(),
            worker: config.worker.clone(),
            retry: config.retry.clone(),
            approvals: config.approvals.clone(),
            retention: config.retention.clone(),
        })
        .await?;
        Ok((store, models, tools, runner, model_records))
    }

    /// Where the API is.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://{}", self.api_address)
    }

    /// Where Qdrant clients find the store, which is the embedded one or the configured one.
    #[must_use]
    pub fn store_url(&self) -> &str {
        &self.store_url
    }

    /// Id of this replica.
    #[must_use]
    pub fn replica_id(&self) -> &str {
        &self.replica_id
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The scheduler and its workers.
    #[must_use]
    pub const fn runner(&self) -> &Runner {
        &self.runner
    }

    /// Drains, then stops everything, each part before those it needs. The API answers until the tasks have ended,
    /// so that people can watch the drain; it says that it is not ready.
    ///
    /// # Errors
    /// [`AppError`] when the embedded store did not stop well.
    pub async fn shutdown(self) -> Result<(), AppError> {
        let (began, times) = (Instant::now(), self.runner.shutdown_times());
        self.draining.cancel();
        let has_run = self.runner.loads().iter().any(|agent| agent.in_flight > 0);
        self.runner.shutdown().await;
        if has_run {
            tokio::time::sleep_until((Instant::now() + LAST_LOOK).min(began + times.api_closed)).await;
        }
        self.stop_api.cancel();
        self.api_seats.dismiss_idle();
        let abort = self.api.abort_handle();
        let limit = (Instant::now() + API_GRACE).min(began + times.api_closed);
        if tokio::time::timeout_at(limit, self.api).await.is_err() {
            abort.abort();
        }
        self.upkeep.abort();
        drop((self.model_check, self.model_records));
        drop(self.store);
        if let Some(embedded) = self.embedded {
            embedded.shutdown_within((began + times.flushed).saturating_duration_since(Instant::now())).await?;
        }
        tracing::info!(replica = %self.replica_id, "qron has stopped");
        Ok(())
    }
}

/// Checks what a start needs beside a valid configuration, an endpoint that can be asked and folders that can be used, without
/// starting anything, and gives back warnings.
///
/// # Errors
/// [`AppError::Model`], or [`AppError::Folders`] with every folder that cannot be used.
pub(crate) fn check_settings(config: &Config) -> Result<Vec<String>, AppError> {
    model_check::check_of(config)?;
    let folders::Folders { faults, warnings } = folders::check(config);
    if faults.is_empty() { Ok(warnings) } else { Err(AppError::Folders(faults)) }
}

/// Warns of old zone data. A schedule may name a zone of its own, so they matter whatever zone the configuration has.
fn log_zone_data(config: &Config) {
    log_zone_advice(clock::zones::advice(ZoneData::version(), clock::now()), config.scheduler.zone);
}

fn log_zone_advice(advice: Option<String>, zone: Zone) {
    if let Some(advice) = advice {
        tracing::warn!(%zone, "{advice}");
    }
}

/// Chooses the cryptography of every TLS connection of this process; those who choose again change nothing.
pub fn install_crypto() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::trace!("the cryptography was chosen before");
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|source| AppError::Listen { address, source })
}

fn address_of(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, AppError> {
    listener.local_addr().map_err(|source| AppError::Listen { address, source })
}

async fn serve(listener: Listener, router: axum::Router, stop: CancellationToken) {
    let router = router.into_make_service_with_connect_info::<ConnectionSeat>();
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await {
        tracing::error!(%error, "the API server has failed, so this replica answers no more requests: restart qron");
    }
}

/// The engine's files get a folder of their own beside what else qron keeps.
async fn start_embedded(config: &Config) -> Result<EmbeddedStore, AppError> {
    let mut settings = config.embedded.clone();
    settings.data_dir = settings.data_dir.join(private::STORE);
    Ok(EmbeddedStore::start(&settings).await?)
}

async fn stop_embedded(embedded: Option<EmbeddedStore>) {
    if let Some(Err(error)) = match embedded {
        Some(embedded) => Some(embedded.shutdown().await),
        None => None,
    } {
        tracing::error!(%error, "the embedded Qdrant failed to shut down cleanly");
    }
}

/// A path that is named in an error.
fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> AppError {
    let path = path.to_owned();
    move |source| AppError::File { path, source }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use super::*;
    use crate::domain::time::Timestamp;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("unpoisoned").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn old_zone_data_are_a_warning_and_new_ones_are_none() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let at = Timestamp::from_millis(1_790_000_000_000);
        tracing::subscriber::with_default(subscriber, || {
            log_zone_advice(clock::zones::advice("2026c", at), Zone::UTC);
            log_zone_advice(clock::zones::advice("2024a", at), Zone::UTC);
        });
        let said = String::from_utf8(lines.0.lock().expect("unpoisoned").clone()).expect("UTF-8");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(" WARN ") && said.contains("the zone data 2024a are old"), "{said}");
    }
}
