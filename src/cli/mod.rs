//! The command line. Speaks to a running qron over its HTTP API. Holds no rules.
//!
//! One file for each command; `client` speaks HTTP, `output` writes to the terminal. Exit codes: 0 done, 1 failed,
//! 2 usage: the command line, the configuration or the submitted task must change.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError};

mod add;
mod agents;
mod approvals;
mod approve;
mod bench;
mod cancel;
pub(crate) mod client;
mod config;
mod dead_letters;
mod demo;
mod list;
pub(crate) mod output;
mod pause;
mod prune;
mod reprioritise;
mod retry;
mod run;
mod schedules;
mod search;
mod select;
pub(crate) mod show;
mod snooze;
mod steps;
mod task_options;
mod tools;

/// Cron for agents, on Qdrant: finds due tasks, claims each once, lets an LLM agent plan and carry them out.
#[derive(Debug, Parser)]
#[command(name = "qron", version, about, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// Settings that override the defaults; `qron config example` prints all of them
    #[arg(long, global = true, value_name = "FILE", env = "QRON_CONFIG", help_heading = "Global options")]
    config: Option<PathBuf>,
    /// Where the running qron is; the api.address of the configuration otherwise
    #[arg(long, global = true, value_name = "URL", env = "QRON_URL", help_heading = "Global options")]
    url: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// See the whole program at work: no account, key, server or network needed
    Demo(demo::Demo),
    /// Run the scheduler, the workers and the API until stopped
    Run(run::Run),
    /// Submit a task
    Add(Box<add::Add>),
    /// List tasks, the latest first
    List(list::List),
    /// Show a task: progress, steps, attempts, result
    Show(show::Show),
    /// Stop tasks
    Cancel(cancel::Cancel),
    /// Run tasks again that failed, were cancelled or blocked
    Retry(retry::Retry),
    /// Define and steer recurring tasks
    #[command(subcommand)]
    Schedules(schedules::Schedules),
    /// Give tasks that have not begun another priority
    Reprioritise(reprioritise::Reprioritise),
    /// Make tasks that have not begun due at another time
    Snooze(snooze::Snooze),
    /// Show what waits for a person to decide
    Approvals(approvals::Approvals),
    /// Agree to what a task asks for, or refuse it
    Approve(approve::Approve),
    /// Let the fleet or an agent claim nothing more; what runs goes on
    Pause(pause::Pause),
    /// End a pause
    Resume(pause::Resume),
    /// Remove what retention does not keep, now instead of at the next round
    Prune(prune::Prune),
    /// See and handle tasks that ended badly
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLetters),
    /// List the agents of all replicas with their load
    Agents(agents::Agents),
    /// List the tools with their arguments and what they answer
    Tools(tools::Tools),
    /// Search finished tasks
    Search(search::Search),
    /// Check, show or explain the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Measure this machine and this store, in collections of their own that are removed afterwards
    Bench(bench::Bench),
}

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The input must change: exit code 2.
    Usage(String),
    /// It did not work: exit code 1.
    Failed(String),
    /// It did not work, and what there is to say has been said: exit code 1.
    Reported,
    /// Nobody reads the output any more: no error.
    Closed,
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl CliError {
    fn exit(&self) -> ExitCode {
        match self {
            Self::Usage(message) => {
                output::complain(message);
                ExitCode::from(2)
            }
            Self::Failed(message) => {
                output::complain(message);
                ExitCode::FAILURE
            }
            Self::Reported => ExitCode::FAILURE,
            Self::Closed => ExitCode::SUCCESS,
        }
    }
}

impl Global {
    fn load(&self) -> Result<Config, CliError> {
        Ok(Config::load(self.config.as_deref())?)
    }

    fn client(&self) -> Result<client::Client, CliError> {
        client::Client::new(self.url.as_deref(), &self.load()?)
    }
}

/// Runs the command that the arguments of this process name.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return CliError::Failed(format!("no threads can be started: {error}")).exit(),
    };
    let done = runtime.block_on(dispatch(&global, command));
    // What still runs has been told to stop and is not worth waiting for.
    runtime.shutdown_background();
    done.map_or_else(|error| error.exit(), |()| ExitCode::SUCCESS)
}

async fn dispatch(global: &Global, command: Command) -> Result<(), CliError> {
    match command {
        Command::Demo(command) => command.run(global).await,
        Command::Run(command) => command.run(global).await,
        Command::Add(command) => command.run(&global.client()?).await,
        Command::List(command) => command.run(&global.client()?).await,
        Command::Show(command) => command.run(&global.client()?).await,
        Command::Cancel(command) => command.run(&global.client()?).await,
        Command::Retry(command) => command.run(&global.client()?).await,
        Command::Schedules(command) => command.run(&global.client()?).await,
        Command::Reprioritise(command) => command.run(&global.client()?).await,
        Command::Snooze(command) => command.run(&global.client()?).await,
        Command::Approvals(command) => command.run(&global.client()?).await,
        Command::Approve(command) => command.run(&global.client()?).await,
        Command::Pause(command) => command.run(&global.client()?).await,
        Command::Resume(command) => command.run(&global.client()?).await,
        Command::Prune(command) => command.run(&global.client()?).await,
        Command::DeadLetters(command) => command.run(&global.client()?).await,
        Command::Agents(command) => command.run(&global.client()?).await,
        Command::Tools(command) => command.run(&global.client()?).await,
        Command::Search(command) => command.run(&global.client()?).await,
        Command::Config(command) => command.run(global),
        Command::Bench(command) => command.run(global).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn what_a_stored_schedule_says_itself_is_not_taken_from_the_command_line() {
        let preview = |more: &[&str]| {
            let arguments = ["qron", "schedules", "preview"].iter().chain(more);
            super::Cli::try_parse_from(arguments).is_ok()
        };
        assert!(preview(&["report"]) && preview(&["--cron", "@daily", "--zone", "Asia/Tokyo"]));
        for option in ["--zone", "--start", "--end", "--every"] {
            assert!(!preview(&["report", option, "x"]), "{option} would be ignored");
        }
    }
}
