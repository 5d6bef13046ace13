//! `qron config`: checks and shows the configuration, and prints what each setting means.

use clap::Subcommand;

use super::{CliError, Global, output};
use crate::app;
use crate::clock;
use crate::config::DEFAULT_TOML;
use crate::domain::schedule::zone::data::ZoneData;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the configuration and print every problem
    Check,
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
            Self::Check => {
                let mut config = global.load()?;
                app::install_crypto();
                let warnings = app::check_settings(&config)?;
                let chosen = app::model_choice::choose(&mut config).await?;
                output::line("the configuration is valid")?;
                if let Some(model) = chosen {
                    output::note(&format!(
                        "model.models names no model: qron calls {model}, the only one of the endpoint"
                    ));
                }
                config.warnings().iter().chain(&warnings).for_each(|warning| output::note(warning));
                if !config.has_model() {
                    output::note(
                        "no model endpoint is configured: set OPENAI_API_KEY or model.base_url, or start with: qron run --no-model",
                    );
                }
                Ok(())
            }
        }
    }
}
