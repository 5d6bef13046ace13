//! `qron demo`: the whole program on a scripted model, for a first look.
//!
//! Only the model is scripted: the embedded store, the scheduler, the agents, the tools and the API are the real ones. The
//! demo uses the program as a person does: it submits tasks and schedules through the API, and one task as a raw point
//! through a plain Qdrant client.

use std::future::Future;
use std::path::{Path, PathBuf};

use crate::app::model_check::{self, CheckedEndpoint};
use crate::app::model_choice;
use crate::app::{App, install_crypto};
use crate::config::{Config, given_variables};
use crate::console::CliError;
use crate::console::client::Client;
use crate::console::output;
use crate::llm::scripted::ScriptedModel;
use crate::telemetry::logging;

mod endpoint;
mod folder;
mod layout;
mod schedules;
mod script;
mod tasks;
mod watch;

use endpoint::Endpoint;
use folder::Folder;

/// How the demo runs.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Configuration file of the user, which may name a real model.
    pub config: Option<PathBuf>,
    /// Folder that keeps the data; without one, a temporary folder.
    pub keep: Option<PathBuf>,
    /// Whether the demo ends when all tasks have ended.
    pub exit: bool,
}

/// Runs the demo until its tasks have ended and, without `exit`, until `stop`.
///
/// # Errors
/// [`CliError`] when something does not start, or a task did not end as intended.
pub(crate) async fn run(options: Options, stop: impl Future<Output = ()>) -> Result<(), CliError> {
    let folder = Folder::open(options.keep.as_deref())?;
    let outcome = {
        let mut stop = std::pin::pin!(stop);
        tokio::select! {
            biased;
            () = &mut stop => return Err(CliError::Failed("the demo was stopped before its tasks had ended".to_owned())),
            started = start(&options, folder.path()) => {
                let demo = started?;
                let outcome = demo.play(&options, stop).await;
                demo.stop().await?;
                outcome
            }
        }
    };
    if options.keep.is_some() {
        let path = folder.path().display();
        output::line(&format!(
            "The data is kept in {path}. Open it with: QRON__EMBEDDED__DATA_DIR={path} qron run --no-model"
        ))?;
        output::line(&format!("{}.", schedules::hint()))?;
    }
    outcome
}

/// The folder of this program, when a shell does not find the program there.
fn folder_outside_path() -> Option<PathBuf> {
    let folder = std::env::current_exe().ok()?.parent()?.to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    (!std::env::split_paths(&path).any(|entry| entry == folder)).then_some(folder)
}

struct Demo {
    app: App,
    endpoint: Endpoint,
    /// `None` when a real model is configured.
    scripted: Option<ScriptedModel>,
    /// The endpoint of the real model.
    model: Option<CheckedEndpoint>,
    client: Client,
    prefix: String,
}

async fn start(options: &Options, folder: &Path) -> Result<Demo, CliError> {
    let failed = |what: &str, error: std::io::Error| CliError::Failed(format!("{what} cannot start: {error}"));
    let endpoint = Endpoint::start().await.map_err(|error| failed("the web server of the demo", error))?;
    let own = settings(folder, &endpoint);
    let mut config = load(options, &own)?;
    let (config, scripted, model) = if config.has_model() {
        let model = real_model(&mut config).await?;
        (config, None, model)
    } else {
        let model = ScriptedModel::start(script::script(&endpoint));
        let model = model.await.map_err(|error| failed("the scripted model", error))?;
        let scripted = [
            ("QRON__MODEL__BASE_URL", model.base_url()),
            ("QRON__MODEL__MODELS", r#"["scripted"]"#.to_owned()),
            ("QRON__EMBEDDINGS__MODEL", String::new()),
        ];
        let all: Vec<_> = own.into_iter().chain(scripted).collect();
        (load(options, &all)?, Some(model), None)
    };
    logging::init(&config.log).map_err(|error| CliError::Usage(error.to_string()))?;
    let prefix = config.store.prefix.clone();
    let mut client_config = config.clone();
    let app = App::start(config).await?;
    client_config.api.token = String::new().into();
    let client = Client::new(Some(&app.api_url()), &client_config)?;
    Ok(Demo { app, endpoint, scripted, model, client, prefix })
}

/// The endpoint of `config`, when a configured model can be asked there.
async fn real_model(config: &mut Config) -> Result<Option<CheckedEndpoint>, CliError> {
    install_crypto();
    let own = "without OPENAI_BASE_URL, OPENAI_API_KEY and model settings the demo brings its own model";
    model_choice::choose(config)
        .await
        .map_err(|error| CliError::Failed(format!("the demo cannot use a model: {error}; {own}")))?;
    let checked = model_check::ask(config).await?;
    match &checked {
        Some(CheckedEndpoint { models, url, fault: Some(fault) }) => {
            Err(CliError::Failed(format!("the demo cannot use the model {models} at {url}: {fault}; {own}")))
        }
        _ => Ok(checked),
    }
}

/// Settings of the demo, which override those of the user.
fn settings(folder: &Path, endpoint: &Endpoint) -> Vec<(&'static str, String)> {
    let within = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let mut settings = vec![
        ("QRON__STORE__URL", String::new()),
        ("QRON__EMBEDDED__DATA_DIR", folder.to_string_lossy().into_owned()),
        ("QRON__EMBEDDED__ADDRESS", "127.0.0.1:0".to_owned()),
        ("QRON__EMBEDDED__API_KEY", String::new()),
        ("QRON__TOOLS__WORKSPACE", within("workspace")),
        ("QRON__ARTIFACTS__FOLDER", within("artifacts")),
        ("QRON__TOOLS__HTTP__ALLOW", format!("[\"{}\"]", endpoint.host())),
        ("QRON__API__ADDRESS", "127.0.0.1:0".to_owned()),
        ("QRON__API__TOKEN", String::new()),
        // The sweep finds the raw point; its default of a minute is too long for a demo.
        ("QRON__SCHEDULER__SWEEP", "*/2 * * * * *".to_owned()),
        ("QRON__RETRY__BASE_MS", "300".to_owned()),
        ("QRON__RETRY__MAX_MS", "2000".to_owned()),
    ];
    if given_variables().all(|(name, _)| name != "QRON__LOG__FILTER") {
        settings.push(("QRON__LOG__FILTER", "off".to_owned()));
    }
    settings
}

fn load(options: &Options, own: &[(&'static str, String)]) -> Result<Config, CliError> {
    let own = own.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    Ok(Config::load_with(options.config.as_deref(), given_variables().chain(own))?)
}

impl Demo {
    async fn play(&self, options: &Options, stop: impl Future<Output = ()>) -> Result<(), CliError> {
        self.print_header()?;
        let mut stop = std::pin::pin!(stop);
        let tasks = tasks::submit(&self.client, &self.endpoint, self.app.store_url(), &self.prefix).await?;
        let items = watch::DemoItems { tasks, schedules: schedules::define(&self.client).await? };
        let outcome = tokio::select! {
            outcome = watch::until_ended(&self.client, &items) => outcome?,
            () = &mut stop => {
                schedules::pause(&self.client).await?;
                return Err(CliError::Failed("the demo was stopped before its tasks had ended".to_owned()));
            }
        };
        let as_intended = watch::print_summary(&outcome, self.scripted.is_some())?;
        if let Some(unfinished) = outcome.unfinished() {
            schedules::pause(&self.client).await?;
            return Err(CliError::Failed(format!("the demo gives up: {unfinished}{}", self.asked_model())));
        }
        self.print_hints(options)?;
        if !options.exit {
            stop.await;
        }
        schedules::pause(&self.client).await?;
        if as_intended {
            return Ok(());
        }
        Err(CliError::Failed("a task did not end as intended: it is marked ?? in the table above".to_owned()))
    }

    fn print_header(&self) -> Result<(), CliError> {
        output::line("qron: cron for agents, on Qdrant")?;
        output::line("")?;
        if self.scripted.is_some() {
            output::line("  model   scripted: its answers are fixed; everything else is real")?;
            output::line("          (for a real model set OPENAI_API_KEY or OPENAI_BASE_URL)")?;
        } else if let Some(model) = &self.model {
            output::line(&format!("  model   {} at {}", model.models, model.url))?;
            output::line(
                "          (ok means the right status, the right number and the artifacts; the wording is not judged)",
            )?;
        }
        output::line(&format!("  store   embedded Qdrant at {} (gRPC)", self.app.store_url()))?;
        output::line(&format!("  api     {}", self.app.api_url()))?;
        output::line("")
    }

    /// Which real model was asked, for an error.
    fn asked_model(&self) -> String {
        let asked = |model: &CheckedEndpoint| format!("; the model is {} at {}", model.models, model.url);
        self.model.as_ref().map_or_else(String::new, asked)
    }

    fn print_hints(&self, options: &Options) -> Result<(), CliError> {
        if options.exit {
            return Ok(());
        }
        let url = self.app.api_url();
        output::line("")?;
        output::line("Look around while it runs, from another terminal:")?;
        if let Some(folder) = folder_outside_path() {
            output::line(&format!("  export PATH=\"{}:$PATH\"", folder.display()))?;
        }
        output::line(&format!("  export QRON_URL={url}"))?;
        output::line("  qron list                     qron dead-letters list        qron agents")?;
        output::line("  qron show ID                  qron schedules list           qron search sales")?;
        output::line(&format!("  qron add \"{} once more\" --follow", tasks::FACTORIAL))?;
        output::line(&format!("  curl {url}/api/v1/tasks"))?;
        output::line(&format!("  curl {url}/metrics"))?;
        output::line(&format!("  any Qdrant client, gRPC       {}", self.app.store_url()))?;
        output::line("Ctrl-C ends the demo.")
    }

    async fn stop(self) -> Result<(), CliError> {
        Ok(self.app.shutdown().await?)
    }
}
