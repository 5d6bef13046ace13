//! `qron run`: starts the service and stops it on a signal.

use std::pin::pin;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{CliError, Global};
use crate::app::{App, AppError};
use crate::config::Config;
use crate::telemetry::logging;

#[derive(Debug, Args)]
pub(super) struct Run {
    /// Start without a model: only tasks with a plan run, the others wait for a replica that has a model
    #[arg(long, env = "QRON_NO_MODEL", value_parser = super::on_or_off)]
    no_model: bool,
}

/// Longest wait after the second signal for running tasks to be handed back.
const HAND_BACK_LIMIT: Duration = Duration::from_secs(5);

const NO_MODEL: &str = "no model endpoint is configured, so qron could not plan any task:
set OPENAI_API_KEY (for OpenAI) or OPENAI_BASE_URL (for any compatible endpoint, e.g. http://127.0.0.1:11434/v1),
or start with --no-model to run only tasks that carry a plan; \"qron demo\" needs no model";

/// Why `config` does not start without `--no-model`, with what was set in vain; `None` when it does.
pub(super) fn without_model(config: &Config) -> Option<String> {
    (!config.has_model()).then(|| {
        let vain = config.warnings().iter().filter(|warning| warning.contains("OPENAI_") || warning.contains("model."));
        vain.fold(NO_MODEL.to_owned(), |said, warning| format!("{said}\n{warning}"))
    })
}

impl Run {
    pub(super) async fn run(self, global: &Global) -> Result<(), CliError> {
        let config = global.load()?;
        if let Some(why) = without_model(&config).filter(|_| !self.no_model) {
            return Err(CliError::Usage(why));
        }
        logging::init(&config.log).map_err(|error| CliError::Usage(error.to_string()))?;
        let mut signals = Signals::new()?;
        let app = tokio::select! {
            started = App::start(config) => started.map_err(CliError::from)?,
            () = signals.next() => return Ok(()),
        };
        signals.next().await;
        tracing::info!(
            "stopping: waiting for running tasks to end; send a second signal to hand them back and stop at once"
        );
        let runner = app.runner().clone();
        let mut stopped = pin!(app.shutdown());
        tokio::select! {
            stopped = &mut stopped => return Ok(stopped?),
            () = signals.next() => {}
        }
        tracing::warn!(
            "stopping at once: handing running tasks back; a third signal stops without that, and other replicas rescue them"
        );
        runner.stop_now();
        tokio::select! {
            stopped = tokio::time::timeout(HAND_BACK_LIMIT, stopped) => {
                if let Ok(stopped) = stopped { stopped? }
            }
            () = signals.next() => {}
        }
        Err(CliError::Reported)
    }
}

impl From<AppError> for CliError {
    fn from(error: AppError) -> Self {
        if error.is_usage() { Self::Usage(error.to_string()) } else { Self::Failed(error.to_string()) }
    }
}

/// The signals that ask this process to stop: SIGINT (Ctrl-C) and SIGTERM.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, CliError> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| CliError::Failed(format!("the signals that stop qron cannot be handled: {error}")))
        };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for the next of the signals.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
