//! Log lines on standard error, as the section `[log]` wants them, without the secrets of this process.

use std::borrow::Cow;
use std::io::{self, Write};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use super::{LogFormat, Settings, log_lines, secrets};
use crate::domain::hidden::is_hidden;

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
    let colours = format == LogFormat::Text && has_colours();
    let layer = tracing_subscriber::fmt::layer().with_writer(move || Redacting { format, colours });
    match format {
        LogFormat::Text => {
            registry.with(layer.with_ansi(colours)).try_init()?;
        }
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init()?,
    }
    Ok(())
}

fn has_colours() -> bool {
    use std::io::IsTerminal as _;
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
}

/// Standard error, without the secrets of this process, and without what makes a terminal or a reader see another text than
/// the one that is there. A line comes in one piece, and stays one.
struct Redacting {
    format: LogFormat,
    colours: bool,
}

impl Write for Redacting {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line).map(|()| line.len())
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let redactor = secrets::log_redactor();
        let (line, end) = line.strip_suffix(b"\n").map_or((line, &b""[..]), |line| (line, b"\n"));
        let line = match self.format {
            LogFormat::Text => redactor.redact_bytes(line),
            LogFormat::Json => redactor.redact_json(line),
        };
        let line = visible(&String::from_utf8_lossy(&line), self.format, self.colours).into_owned();
        let written = io::stderr().write_all(&[line.as_bytes(), end].concat());
        // A full disk or a closed pipe loses lines. No place is left to report that, and the library would panic on an error.
        drop(written);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// `line` with escapes in place of characters that are not seen themselves: controls, line breaks, those that turn the
/// direction of writing, and those without a width. `colours` leaves the escapes of colours, which the library writes itself; it has replaced all
/// others.
fn visible(line: &str, format: LogFormat, colours: bool) -> Cow<'_, str> {
    let is_covert = |c: char| match c {
        '\u{1b}' => !colours,
        '\t' => false,
        c => is_hidden(c),
    };
    if !line.contains(is_covert) {
        return Cow::Borrowed(line);
    }
    let mut shown = String::with_capacity(line.len());
    for c in line.chars() {
        match format {
            _ if !is_covert(c) => shown.push(c),
            LogFormat::Text => shown.extend(c.escape_default()),
            LogFormat::Json => {
                let mut halves = [0; 2];
                shown.extend(c.encode_utf16(&mut halves).iter().map(|half| format!("\\u{half:04x}")));
            }
        }
    }
    Cow::Owned(shown)
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

    use super::{LogFormat, check_filter, log_lines, parse, visible};

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
    fn what_turns_or_hides_text_is_written_as_an_escape() {
        let hostile = "a \u{202e}evil\u{2066} \u{9b}31m\nINFO forged\u{1b}[31m\u{61c} é 漢";
        let text = visible(hostile, LogFormat::Text, false);
        assert_eq!(text, "a \\u{202e}evil\\u{2066} \\u{9b}31m\\nINFO forged\\u{1b}[31m\\u{61c} é 漢");
        assert!(visible(hostile, LogFormat::Text, true).contains("\u{1b}[31m"), "the colours of a terminal");
        let json = visible("{\"a\":\"\u{202e}\u{9b}\u{e0041}\"}", LogFormat::Json, false);
        assert_eq!(json, r#"{"a":"\u202e\u009b\udb40\udc41"}"#);
        assert_eq!(visible("a\u{200b}b", LogFormat::Text, false), "a\\u{200b}b");
        assert_eq!(visible("as it is\t", LogFormat::Text, false), "as it is\t");
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
