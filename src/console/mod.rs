//! What programs on a terminal share: the HTTP client of the API of a running qron, the output, and why a command ends.

use std::process::ExitCode;

use crate::config::ConfigError;

pub(crate) mod client;
mod escape;
mod http_error;
pub(crate) mod output;

/// Why a command ends without success.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The user must change the input: exit code 2.
    Usage(String),
    /// The command failed: exit code 1.
    Failed(String),
    /// The answer is larger than a command holds, and less can be asked for at once: exit code 1.
    TooLarge(String),
    /// What was asked for is not there yet, and may be later: exit code 3.
    NotYet(String),
    /// A person has left with Ctrl-C, and has been told what goes on: exit code 130, as of a program that the signal ends.
    Left,
    /// The command failed and has already printed why: exit code 1.
    Reported,
    /// The reader of standard output has gone away, as `head` does: no error.
    Closed,
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl CliError {
    /// Prints the error, and gives back the code that the process exits with.
    pub(crate) fn exit(&self) -> ExitCode {
        match self {
            Self::Usage(message) => {
                output::print_error(message);
                ExitCode::from(2)
            }
            Self::NotYet(message) => {
                output::print_error(message);
                ExitCode::from(3)
            }
            Self::Failed(message) | Self::TooLarge(message) => {
                output::print_error(message);
                ExitCode::FAILURE
            }
            Self::Left => ExitCode::from(130),
            Self::Reported => ExitCode::FAILURE,
            Self::Closed => ExitCode::SUCCESS,
        }
    }
}
