//! `qron demo`: its arguments.

use std::path::PathBuf;

use clap::Args;

use super::run::Signals;
use super::{CliError, Global};
use crate::demo::{self, Options};

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// End when all tasks have ended; exit code 1 when one did not end as intended
    #[arg(long)]
    exit: bool,
    /// Keep the data in this folder instead of a temporary one
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

impl Demo {
    pub(super) async fn run(self, global: &Global) -> Result<(), CliError> {
        let mut signals = Signals::new()?;
        let options = Options { config: global.config.clone(), keep: self.keep, exit: self.exit };
        demo::run(options, signals.next()).await
    }
}
