//! Logging and metrics.

use serde::Deserialize;

pub mod exporter;
pub mod instrument;
pub mod known_labels;
pub mod large;
pub mod log_lines;
pub mod logging;
pub mod metrics;
pub mod secrets;

/// Section `[log]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What is logged.
    pub filter: String,
    /// How it is written.
    pub format: LogFormat,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, one JSON object a line.
    Json,
}
