//! Log lines on standard error, as the section `[log]` wants them, without the secrets of this process.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use super::{LogFormat, Settings, secrets};

/// Crates whose news are of no interest to those who run qron. A filter that names one of them has the last word. The last
/// one warns at each start that it was not told what it then assumes.
const QUIET: &str = "qdrant_edge=warn,qdrant=warn,tokio_cron_scheduler=warn,qdrant_edge::common::mmap::ops=error";

/// Logging could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter cannot be read.
    #[error("log.filter = {filter:?}: {reason}")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something else in this process logs already.
    #[error("logging is running already: {0}")]
    Running(#[from] TryInitError),
}

/// Starts logging of this process.
///
/// # Errors
/// [`LoggingError`] for a filter that cannot be read, or when it has been started before.
pub fn init(settings: &Settings) -> Result<(), LoggingError> {
    let filter =
        parse(&settings.filter).map_err(|reason| LoggingError::Filter { filter: settings.filter.clone(), reason })?;
    let registry = tracing_subscriber::registry().with(filter);
    let format = settings.format;
    let layer = tracing_subscriber::fmt::layer().with_writer(move || Redacting(format));
    match format {
        LogFormat::Text => {
            use std::io::IsTerminal as _;
            let colours =
                std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
            registry.with(layer.with_ansi(colours)).try_init()?;
        }
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init()?,
    }
    Ok(())
}

/// Standard error, without the secrets of this process. A line comes in one piece.
struct Redacting(LogFormat);

impl Write for Redacting {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line).map(|()| line.len())
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let redactor = secrets::log_redactor();
        let written = match self.0 {
            LogFormat::Text => io::stderr().write_all(&redactor.redact_bytes(line)),
            LogFormat::Json => {
                let (line, end) = line.strip_suffix(b"\n").map_or((line, &b""[..]), |line| (line, b"\n"));
                io::stderr().write_all(&[&redactor.redact_json(line), end].concat())
            }
        };
        // A disk that is full, or a pipe that is closed, loses lines. There is no place left to say so, and the library would
        // panic if it were told.
        drop(written);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Whether `filter` can be used.
///
/// # Errors
/// What is wrong with it.
pub fn check_filter(filter: &str) -> Result<(), String> {
    parse(filter).map(drop)
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    if filter.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    // A single word that is no level would be read as the name of a module and silence everything.
    for part in filter.split(',').map(str::trim) {
        let bare = !part.contains(['=', '[', ':']);
        if bare && part.parse::<tracing_subscriber::filter::LevelFilter>().is_err() && !part.starts_with("qron") {
            return Err(format!("{part:?} is no level: use error, warn, info, debug, trace or off"));
        }
    }
    EnvFilter::builder().parse(format!("{QUIET},{filter}")).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use tracing::{Level, enabled};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::{check_filter, parse};

    #[test]
    fn the_engine_warns_of_what_goes_wrong_and_of_nothing_else() {
        let subscriber = tracing_subscriber::registry().with(parse("info").expect("a filter"));
        tracing::subscriber::with_default(subscriber, || {
            assert!(enabled!(target: "qdrant_edge::segment", Level::WARN));
            assert!(!enabled!(target: "qdrant_edge::segment", Level::INFO));
            assert!(!enabled!(target: "qdrant_edge::common::mmap::ops", Level::WARN));
            assert!(enabled!(target: "qdrant_edge::common::mmap::ops", Level::ERROR));
        });
    }

    #[test]
    fn filters_are_levels_or_directives() {
        for good in ["info", "off", "info,qron::worker=debug", "warn,qron=trace,hyper=error"] {
            assert_eq!(check_filter(good), Ok(()), "{good}");
        }
        for bad in ["", "verbose", "info,loud", "qron=shouting"] {
            assert!(check_filter(bad).is_err(), "{bad}");
        }
    }
}
