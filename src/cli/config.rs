//! `qron config`.

use clap::Subcommand;

use super::{CliError, Global, output};
use crate::config::DEFAULT_TOML;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say whether the configuration is valid, and every problem if not
    Check,
    /// Print what holds, from defaults, file and environment; secrets as ***
    Show,
    /// Print every setting with its default and its meaning
    Example,
}

impl ConfigCommand {
    pub(super) fn run(self, global: &Global) -> Result<(), CliError> {
        match self {
            Self::Example => output::raw(DEFAULT_TOML),
            Self::Show => output::raw(global.load()?.effective_toml()),
            Self::Check => {
                let config = global.load()?;
                output::line("the configuration is valid")?;
                if !config.has_model() {
                    output::note("no model endpoint is configured: \"qron run\" needs --no-model");
                }
                Ok(())
            }
        }
    }
}
