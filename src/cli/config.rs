//! `qron config`: checks and shows the configuration, and prints what each setting means.

use clap::Subcommand;

use super::run::without_model;
use super::{CliError, Global, output};
use crate::app;
use crate::app::model_check::CheckedEndpoint;
use crate::clock;
use crate::config::DEFAULT_TOML;
use crate::domain::schedule::zone::data::ZoneData;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the configuration and print every problem; the exit code is that with which "qron run" would refuse it: 2, and 1 when
    /// the endpoint does not answer that is asked for the model
    Check {
        /// As for "qron run --no-model": a model may be missing
        #[arg(long, env = "QRON_NO_MODEL", value_parser = super::on_or_off)]
        no_model: bool,
        /// Ask the model endpoint whether it answers and has the models; exit code 1 when it does not
        #[arg(long)]
        ask_model: bool,
    },
    /// Print the settings in effect, from defaults, file and environment; secrets as ***
    Show,
    /// Print every setting with its default and its meaning
    Example,
}

impl ConfigCommand {
    pub(super) async fn run(self, global: &Global) -> Result<(), CliError> {
        match self {
            Self::Example => output::raw(DEFAULT_TOML),
            Self::Show => {
                clock::zones::install();
                let version = ZoneData::version();
                let advice = clock::zones::advice(version, clock::now()).map(|advice| format!("# {advice}.\n"));
                let toml = global.load()?.effective_toml().to_owned();
                output::raw(&format!("# Zone data: {version}.\n{}{toml}", advice.unwrap_or_default()))
            }
            Self::Check { no_model, ask_model } => {
                let mut config = global.load()?;
                app::install_crypto();
                let warnings = app::check_settings(&config)?;
                let chosen = app::model_choice::choose(&mut config).await?;
                let why = without_model(&config);
                let is_told =
                    |warning: &&String| !no_model && why.as_ref().is_some_and(|why| why.contains(warning.as_str()));
                let notes = config.warnings().iter().chain(&warnings).filter(|warning| !is_told(warning));
                notes.for_each(|warning| output::note(warning));
                if let Some(why) = why {
                    if !no_model {
                        return Err(CliError::Usage(format!("the configuration has no problem but this one: {why}")));
                    }
                    return output::line("the configuration is valid for \"qron run --no-model\": it names no model");
                }
                let asked = if ask_model { app::model_check::ask(&config).await? } else { None };
                if let Some(CheckedEndpoint { models, url, fault: Some(fault) }) = &asked {
                    return Err(CliError::Failed(format!(
                        "the configuration is valid, and the model {models} at {url} cannot be asked: {fault}"
                    )));
                }
                output::line("the configuration is valid")?;
                match (chosen, asked) {
                    (Some(model), _) => output::note(&format!(
                        "model.models names no model: qron calls {model}, the only one of the endpoint"
                    )),
                    (None, Some(CheckedEndpoint { models, url, .. })) => {
                        output::note(&format!("the model endpoint {url} answers, and lacks none of: {models}"));
                    }
                    (None, None) => output::note(
                        "not checked: whether the model endpoint answers and has the models; see with: qron config check --ask-model",
                    ),
                }
                Ok(())
            }
        }
    }
}
