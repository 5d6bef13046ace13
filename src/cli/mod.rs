//! The command line: a client of the HTTP API of a running qron. Holds no rules about tasks.
//!
//! One file for each command; they speak HTTP and write to the terminal through [`console`](crate::console). Exit codes: 0 done, 1 failed,
//! 2 usage, when the command line, the configuration or the submitted task must change, 3 not yet.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use rustix::fs::Mode;

use crate::config::{Config, truth};
use crate::console::{CliError, client, output};
use crate::domain::spelling::nearest;
use crate::domain::time::TIME_FORMS;

mod add;
mod agents;
mod approvals;
mod approve;
mod artifacts;
mod bench;
mod cancel;
mod changed;
mod config;
mod confirm;
mod dead_letters;
mod demo;
mod files;
mod filter;
mod follow;
mod hold;
mod ids;
mod list;
mod markdown;
mod openapi;
mod pause;
mod print_task;
mod prune;
mod reasons;
mod reprioritise;
mod result;
mod retry;
mod run;
mod schedules;
mod search;
mod select;
mod show;
mod snooze;
mod status;
mod steps;
mod task_options;
mod tools;
mod user;

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
    /// URL of the running qron; without it, the api.address of the configuration
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
    #[command(after_help = time_help())]
    Add(Box<add::Add>),
    /// Show what runs, what waits, what is paused and since when, and what fires next
    #[command(aliases = ["pauses", "paused"])]
    Status(status::Status),
    /// List tasks: what runs, what waits for a person, what is next, what ended last
    List(list::List),
    /// Show a task: progress, steps, attempts, result
    Show(show::Show),
    /// Write the result of a task, or of the last firing of a schedule
    #[command(after_help = RESULT_CODES)]
    Result(result::ShowResult),
    /// List the artifacts of a task, or fetch one
    #[command(subcommand)]
    Artifacts(artifacts::Artifacts),
    /// Cancel tasks; running ones are stopped
    Cancel(cancel::Cancel),
    /// Run failed, cancelled or blocked tasks again: at once, or at their own time when that is still to come
    Retry(retry::Retry),
    /// Define and steer recurring tasks
    #[command(subcommand)]
    Schedules(schedules::Schedules),
    /// Change the priority of tasks that have not begun
    Reprioritise(reprioritise::Reprioritise),
    /// Change when tasks that have not begun become due
    Snooze(snooze::Snooze),
    /// List the questions that wait for the decision of a person
    Approvals(approvals::Approvals),
    /// Approve the open questions of a task, or deny them
    Approve(approve::Approve),
    /// Stop the fleet or an agent from claiming tasks; running tasks go on. "qron status" shows pauses
    Pause(pause::Pause),
    /// End a pause
    Resume(pause::Resume),
    /// Remove what is older than the section retention of the configuration allows, now and not at its next regular time
    Prune(prune::Prune),
    /// List, show, requeue or purge tasks that failed for good
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLetters),
    /// List the agents of all replicas with their load
    Agents(agents::Agents),
    /// List the tools with their arguments and what they answer
    Tools(tools::Tools),
    /// Search finished tasks
    Search(search::Search),
    /// Check or show the configuration, or print every setting with its meaning
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Write the HTTP API of this version as an OpenAPI 3.1 document
    Openapi,
    /// Measure this machine and this store, in collections of their own that are removed afterwards
    Bench(bench::Bench),
}

impl Global {
    fn load(&self) -> Result<Config, CliError> {
        Ok(Config::load(self.config.as_deref())?)
    }

    fn client(&self) -> Result<client::Client, CliError> {
        let config = self.load()?;
        config.unknown_variables().iter().for_each(|warning| output::note(warning));
        client::Client::new(self.url.as_deref(), &config)
    }
}

/// The exit codes of `qron result`.
const RESULT_CODES: &str = "Exit codes: 0 it completed; 1 it ended otherwise, or there is no such task; 2 the command is wrong; 3 it has not ended yet.";

/// Runs the command that the arguments of this process name.
#[must_use]
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(output::print_panic));
    // Files of this process are for its user alone. Code that creates shared files widens their mode.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let matches = without_variables(Cli::command(), is_empty).try_get_matches();
    let matches = matches.unwrap_or_else(|error| with_nearest_command(without_options_of_variables(error)).exit());
    let Cli { global, command } = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return CliError::Failed(format!("the threads of the runtime cannot be started: {error}")).exit(),
    };
    let done = runtime.block_on(dispatch(&global, command));
    // Tasks that still run have been asked to stop, and the process does not wait for them.
    runtime.shutdown_background();
    done.map_or_else(|error| error.exit(), |()| ExitCode::SUCCESS)
}

/// The error with the nearest command alone, when one is near: the parser suggests all that begin alike, the best last.
fn with_nearest_command(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(written)) = error.get(ContextKind::InvalidSubcommand) else { return error };
    let Some(ContextValue::Strings(suggested)) = error.get(ContextKind::SuggestedSubcommand) else { return error };
    if let Some(name) = nearest(written, suggested.iter().map(String::as_str)) {
        let name = vec![name.to_owned()];
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(name));
    }
    error
}

/// Whether an environment variable is empty: it counts as unset, as in the configuration.
fn is_empty(name: &OsStr) -> bool {
    std::env::var_os(name).is_some_and(|value| value.to_string_lossy().trim().is_empty())
}

/// Makes options leave those environment variables alone that `is_dropped` names.
fn without_variables(command: clap::Command, is_dropped: fn(&OsStr) -> bool) -> clap::Command {
    let command = command.mut_args(|argument| match argument.get_env() {
        Some(name) if is_dropped(name) => argument.env(None::<&'static str>),
        _ => argument,
    });
    command.mut_subcommands(|command| without_variables(command, is_dropped))
}

/// The error as it is without environment variables, whose options its usage would name though nobody typed them. An error that is
/// about a variable stays as it is.
fn without_options_of_variables(error: clap::Error) -> clap::Error {
    let plain = without_variables(Cli::command(), |_| true).try_get_matches();
    plain.err().filter(|plain| plain.kind() == error.kind()).unwrap_or(error)
}

/// How a TIME is written, below the options of each command that takes one.
fn time_help() -> String {
    format!("A TIME is {TIME_FORMS}. The local clock is that of the schedule's zone, else of scheduler.zone.")
}

/// Parses the value of an option that is on or off.
fn on_or_off(text: &str) -> Result<bool, String> {
    truth(text).ok_or_else(|| "use 1, true, yes or on; or 0, false, no or off".to_owned())
}

async fn dispatch(global: &Global, command: Command) -> Result<(), CliError> {
    match command {
        Command::Demo(command) => command.run(global).await,
        Command::Run(command) => command.run(global).await,
        Command::Add(command) => command.run(&global.client()?).await,
        Command::Status(command) => command.run(&global.client()?).await,
        Command::List(command) => command.run(&global.client()?).await,
        Command::Show(command) => command.run(&global.client()?).await,
        Command::Result(command) => command.run(&global.client()?).await,
        Command::Artifacts(command) => command.run(&global.client()?).await,
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
        Command::Openapi => openapi::run(),
        Command::Tools(command) => command.run(&global.client()?).await,
        Command::Search(command) => command.run(&global.client()?).await,
        Command::Config(command) => command.run(global).await,
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
    fn a_misspelt_command_has_one_suggestion() {
        for (written, expected) in [("staus", "'status'"), ("pauze", "'pause'"), ("lst", "'list'")] {
            let error = super::Cli::try_parse_from(["qron", written]).expect_err("no command");
            let said = super::with_nearest_command(error).to_string();
            assert!(said.contains(&format!("a similar subcommand exists: {expected}")), "{said}");
        }
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
