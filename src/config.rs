//! The configuration: sections of every module, read once and validated before anything starts.
//!
//! `config/default.toml` is compiled in and complete; a file and the environment override it. Every problem is
//! reported at once. Knows the settings of all modules, and none of their parts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::Figment;
use serde::de::DeserializeOwned;

use crate::domain::agent::AgentProfile;
use crate::domain::approval::ApprovalPolicy;
use crate::domain::limit::Limits;
use crate::domain::retry::RetryPolicy;
use crate::domain::tree::TreeBudget;
use crate::telemetry::secrets;
use crate::{api, llm, scheduler, store, telemetry, tools, worker};

mod known;
mod layer;
mod layers;
mod misnamed;
mod retired;
mod secret_files;
mod shape;
mod show;
mod sources;
mod validate;

use layer::Layer;
pub(crate) use shape::truth;

/// The defaults, as documented.
pub const DEFAULT_TOML: &str = include_str!("../config/default.toml");

/// Every setting of qron.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where tasks are kept.
    pub store: store::Settings,
    /// The embedded Qdrant, used when `store.url` is empty.
    pub embedded: qdrant_embedded::Settings,
    /// The search for due tasks.
    pub scheduler: scheduler::Settings,
    /// Their execution.
    pub worker: worker::Settings,
    /// Retries of failed tasks.
    pub retry: RetryPolicy,
    /// Questions to people.
    pub approvals: ApprovalPolicy,
    /// Limits of a task and its descendants together.
    pub tree: TreeBudget,
    /// How long what has ended is kept.
    pub retention: scheduler::RetentionSettings,
    /// Limits of concurrency keys and agents.
    pub limits: Limits,
    /// The model endpoint.
    pub model: llm::Settings,
    /// The embeddings endpoint.
    pub embeddings: llm::EmbeddingSettings,
    /// Recall of past tasks.
    pub memory: crate::agent::MemorySettings,
    /// The tools.
    pub tools: tools::Settings,
    /// Artifacts.
    pub artifacts: store::ArtifactSettings,
    /// The HTTP API.
    pub api: api::Settings,
    /// Logging.
    pub log: telemetry::Settings,
    /// The agents, by name: the default one, unless overridden, and those that the user adds.
    pub agents: BTreeMap<String, AgentProfile>,
    /// What holds, as TOML, secrets left out.
    effective: String,
    /// What is allowed and yet unsafe.
    warnings: Vec<String>,
    /// Those about variables of qron that it does not know.
    unknown_variables: Vec<String>,
}

/// Why a configuration is not accepted: every problem found, one a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

impl ConfigError {
    /// An error of one problem.
    pub fn one(problem: impl Into<String>) -> Self {
        Self(vec![problem.into()])
    }
}

impl Config {
    /// Reads the defaults, then `file`, then the environment of this process, and validates the whole. An empty
    /// variable counts as unset: compose files and shells leave one of a value that was not given.
    ///
    /// # Errors
    /// Names every wrong key, its value, where it came from and what is allowed.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load_with(file, given_variables())
    }

    /// [`Config::load`] with other variables than those of the environment. Of two with the same name the later holds,
    /// and an empty one sets an empty value.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let defaults = layers::defaults()?;
        let variables = secret_files::read(&variables.into_iter().collect::<Vec<_>>(), &mut problems);
        misnamed::check(&variables, &mut problems);
        let environment = layers::environment(&variables, &mut problems);
        secrets::know(environment.iter().flat_map(|layer| known::secrets(&layer.values)));
        let layers: Vec<Layer> = layers::file(file, &mut problems)?.into_iter().chain(environment).collect();
        let mut warnings = learn_secrets(&layers);
        let unknown_variables = misnamed::without_section(&variables);
        warnings.extend_from_slice(&unknown_variables);
        let is_set = |path: &[&str]| layers.iter().any(|layer| layer.sets(path));
        warnings.extend(misnamed::of_others(&variables, is_set));

        let base = Figment::from(defaults);
        let merged = layers.into_iter().fold(base.clone(), |figment, mut layer| {
            warnings.extend(retired::take_out(&mut layer));
            shape::check(&mut layer, &mut problems);
            figment.merge(layer)
        });
        let (base, merged) = (within_data(base), within_data(merged));
        let mut sections = Sections { merged: &merged, defaults: &base, problems: &mut problems };
        let mut config = Self {
            store: sections.read("store")?,
            embedded: sections.read("embedded")?,
            scheduler: sections.read("scheduler")?,
            worker: sections.read("worker")?,
            retry: sections.read("retry")?,
            approvals: sections.read("approvals")?,
            tree: sections.read("tree")?,
            retention: sections.read("retention")?,
            limits: sections.read("limits")?,
            model: sections.read("model")?,
            embeddings: sections.read("embeddings")?,
            memory: sections.read("memory")?,
            tools: sections.read("tools")?,
            artifacts: sections.read("artifacts")?,
            api: sections.read("api")?,
            log: sections.read("log")?,
            agents: sections.read("agents")?,
            effective: show::toml(&merged),
            warnings,
            unknown_variables,
        };
        for (name, profile) in &mut config.agents {
            profile.name.clone_from(name);
        }
        config.tools.zone = config.scheduler.zone;
        config.store.zone = config.scheduler.zone;
        config.tools.tree = config.tree.clone();
        config.tools.approvals = config.approvals.clone();
        let mut broken = Vec::new();
        validate::check(&config, &mut broken);
        problems.extend(broken.into_iter().map(|problem| sources::with_source(&problem, &merged)));
        config.warnings.extend(sources::rest_port(&config.store.url, &merged));
        config.warnings.extend(validate::beyond_tree(&config));
        if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
    }

    /// What holds, as TOML that can be read again; secrets are shown as `***`.
    #[must_use]
    pub fn effective_toml(&self) -> &str {
        &self.effective
    }

    /// What is allowed and yet hardly meant: files with secrets that every user of this machine may read, and budgets of
    /// agents that the one of a tree of tasks cuts short.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// A warning for each variable of the environment that is called nearly as one of qron and changes nothing; part of
    /// [`Config::warnings`].
    #[must_use]
    pub fn unknown_variables(&self) -> &[String] {
        &self.unknown_variables
    }

    /// Whether a model endpoint is configured.
    #[must_use]
    pub fn has_model(&self) -> bool {
        use secrecy::ExposeSecret as _;
        !self.model.base_url.is_empty() || !self.model.api_key.expose_secret().is_empty()
    }
}

/// Makes the secrets of `layers` known, so that neither log nor error holds them, and gives back a warning for each file with
/// one that every user may read, and for each that ordinary text may hold.
fn learn_secrets(layers: &[Layer]) -> Vec<String> {
    let mut warnings = Vec::new();
    for layer in layers {
        let found = known::secrets(&layer.values);
        if !found.is_empty() {
            warnings.extend(layer.file.as_deref().and_then(known::exposed));
        }
        warnings.extend(known::mistakable(&found));
        secrets::know(found);
    }
    warnings
}

/// The variables of this process that hold more than blanks.
pub fn given_variables() -> impl Iterator<Item = (String, String)> {
    let readable =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    readable.filter(|(_, value)| !value.trim().is_empty())
}

/// Puts the folders that are not set below the data folder, so that one setting moves everything.
fn within_data(figment: Figment) -> Figment {
    let set = |key: &str| figment.extract_inner::<PathBuf>(key).ok().filter(|path| !path.as_os_str().is_empty());
    let Some(data) = set("embedded.data_dir") else { return figment };
    let unset = [("tools.workspace", "workspace"), ("artifacts.folder", "artifacts")]
        .into_iter()
        .filter(|(key, _)| figment.extract_inner::<PathBuf>(key).is_ok_and(|path| path.as_os_str().is_empty()));
    let unset: Vec<(&str, PathBuf)> = unset.map(|(key, name)| (key, data.join(name))).collect();
    unset.into_iter().fold(figment, Figment::merge)
}

/// Reads section by section, so that a fault in one does not hide those of the others.
struct Sections<'a> {
    merged: &'a Figment,
    defaults: &'a Figment,
    problems: &'a mut Vec<String>,
}

impl Sections<'_> {
    fn read<T: DeserializeOwned>(&mut self, section: &str) -> Result<T, ConfigError> {
        match self.merged.extract_inner(section) {
            Ok(settings) => Ok(settings),
            Err(error) => {
                self.problems.extend(error.into_iter().map(|error| layers::describe(&error, self.merged)));
                // Stands in so that the remaining sections are checked too; the problem is recorded.
                self.defaults
                    .extract_inner(section)
                    .map_err(|error| ConfigError::one(layers::describe(&error, self.defaults)))
            }
        }
    }
}
