//! Log lines on standard error, as the section `[log]` wants them, without the secrets of this process.

use std::io::{self, Write};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use super::{LogFormat, Settings, log_lines, secrets};

/// The crates that a level without a name is for. All others are libraries.
const OWN_CRATES: [&str; 2] = ["qron", "qdrant_embedded"];
/// A module of a library that warns at each start of a setting that it was not given, and works all the same.
const QUIET: &str = "qdrant_edge::common::mmap::ops=error";

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
        // A full disk or a closed pipe loses lines. No place is left to report that, and the library would panic on an error.
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

/// Reads a filter. A level without a name is for the crates of qron; libraries say what goes wrong, and less when the level
/// allows less. A directive with a name has the last word on what it names.
fn parse(filter: &str) -> Result<EnvFilter, String> {
    if filter.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    let mut level = LevelFilter::WARN;
    let mut named = Vec::new();
    for part in filter.split(',').map(str::trim) {
        match part.parse::<LevelFilter>() {
            Ok(own) => level = own,
            // A single word that is no level would be read as the name of a module and silence everything.
            Err(_) if !part.contains(['=', '[', ':']) && !part.starts_with("qron") => {
                return Err(format!("{part:?} is no level: use error, warn, info, debug, trace or off"));
            }
            Err(_) => named.push(part),
        }
    }
    let libraries = level.min(LevelFilter::WARN).to_string();
    let own = OWN_CRATES.map(|name| format!("{name}={level}")).join(",");
    let spans = format!("{}=error", log_lines::SPANS);
    let directives = [&[libraries.as_str(), QUIET, &own, &spans], named.as_slice()].concat().join(",");
    EnvFilter::builder().parse(directives).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use tracing::{Level, enabled, error_span};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::{check_filter, log_lines, parse};

    /// Runs `check` with the filter in place.
    fn with(filter: &str, check: impl FnOnce()) {
        let subscriber = tracing_subscriber::registry().with(parse(filter).expect("a filter"));
        tracing::subscriber::with_default(subscriber, check);
    }

    #[test]
    fn a_library_warns_of_what_goes_wrong_and_of_nothing_else() {
        for filter in ["info", "debug", "trace"] {
            with(filter, || {
                assert!(enabled!(target: "qdrant_edge::segment", Level::WARN));
                assert!(!enabled!(target: "qdrant_edge::segment", Level::INFO));
                assert!(!enabled!(target: "h2::proto", Level::INFO));
                assert!(!enabled!(target: "qdrant_edge::common::mmap::ops", Level::WARN));
                assert!(enabled!(target: "qdrant_edge::common::mmap::ops", Level::ERROR));
            });
        }
    }

    #[test]
    fn a_level_is_for_the_crates_of_qron() {
        with("debug", || {
            assert!(enabled!(target: "qron::worker::execute", Level::DEBUG));
            assert!(enabled!(target: "qdrant_embedded::engine", Level::DEBUG));
            assert!(!enabled!(target: "qron::worker::execute", Level::TRACE));
        });
        with("error", || {
            assert!(!enabled!(target: "qron::worker::execute", Level::WARN));
            assert!(!enabled!(target: "hyper::client", Level::WARN));
        });
    }

    #[test]
    fn a_directive_has_the_last_word_wherever_it_stands() {
        for filter in ["qron::worker=trace,h2=debug,warn", "warn,h2=debug,qron::worker=trace"] {
            with(filter, || {
                assert!(enabled!(target: "qron::worker::execute", Level::TRACE));
                assert!(!enabled!(target: "qron::api", Level::INFO));
                assert!(enabled!(target: "h2::proto", Level::DEBUG));
            });
        }
    }

    #[test]
    fn every_filter_keeps_the_spans() {
        for filter in ["error", "off,hyper=warn", "qron::worker=debug"] {
            with(filter, || assert!(!error_span!(target: log_lines::SPANS, "run").is_disabled(), "{filter}"));
        }
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
