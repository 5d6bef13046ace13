//! `qron dead-letters`.

use std::io::{IsTerminal as _, stdin};

use clap::{Args, Subcommand};
use serde_json::json;

use super::client::Client;
use super::{CliError, output, steps};
use crate::api::views::Listing;
use crate::api::views::dead_letters::{BulkOutcome, DeadLetterView};

#[derive(Debug, Subcommand)]
pub(super) enum DeadLetters {
    /// List dead letters
    List {
        /// At most this many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a dead letter with all failures of its task
    Show {
        /// Id of the task
        id: String,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Run the tasks of dead letters again, from a clean slate
    Requeue(Selection),
    /// Remove dead letters; their tasks stay failed
    Purge(Selection),
}

#[derive(Debug, Args)]
pub(super) struct Selection {
    /// Ids of the tasks
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,
    /// All of them
    #[arg(long)]
    all: bool,
    /// With --all: do not ask first
    #[arg(long)]
    yes: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl DeadLetters {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        match self {
            Self::List { limit, json } => list(client, limit, json).await,
            Self::Show { id, json } => show(client, &id, json).await,
            Self::Requeue(selection) => selection.apply(client, "requeue", "requeued").await,
            Self::Purge(selection) => selection.apply(client, "purge", "purged").await,
        }
    }
}

async fn list(client: &Client, limit: u32, json: bool) -> Result<(), CliError> {
    let listing: Listing<DeadLetterView> = client.get(&["dead-letters"], &[("limit", &limit.to_string())]).await?;
    if json {
        return output::json(&listing);
    }
    if listing.items.is_empty() {
        output::note("no dead letters");
        return Ok(());
    }
    let mut table = output::table(["TASK", "CLASS", "ATTEMPTS", "BURIED AT", "GOAL", "REASON"]);
    for letter in &listing.items {
        table.add_row([
            letter.task_id.to_string(),
            letter.failure.class.to_string(),
            letter.attempts.to_string(),
            output::time(&letter.buried_at),
            output::cell(&letter.goal, 40),
            output::cell(&letter.failure.message, 80),
        ]);
    }
    output::show(&table)?;
    if listing.next.is_some() {
        output::note("there are more: use --limit");
    }
    Ok(())
}

async fn show(client: &Client, id: &str, json: bool) -> Result<(), CliError> {
    let letter: DeadLetterView = client.get(&["dead-letters", id], &[]).await?;
    if json {
        return output::json(&letter);
    }
    let field = |name: &str, value: &str| output::line(&format!("{name:<11}{value}"));
    field("task", &letter.task_id.to_string())?;
    field("goal", &letter.goal)?;
    field("agent", letter.agent.as_deref().unwrap_or("-"))?;
    field("buried at", &output::time(&letter.buried_at))?;
    field("attempts", &letter.attempts.to_string())?;
    for failure in letter.earlier_failures.iter().chain([&letter.failure]) {
        let step = failure.step.as_ref().map_or(String::new(), |step| format!(" (step {step})"));
        field("failure", &format!("{failure}{step}"))?;
    }
    if !letter.steps_done.is_empty() {
        output::line("done before it ended")?;
        steps::print(&letter.steps_done)?;
    }
    let payload = serde_json::to_string_pretty(&letter.payload).unwrap_or_default();
    output::line("payload")?;
    payload.lines().try_for_each(|line| output::line(&format!("  {line}")))
}

impl Selection {
    async fn apply(self, client: &Client, action: &str, done: &str) -> Result<(), CliError> {
        if self.all && !self.yes && !confirmed(action)? {
            return Err(CliError::Failed("nothing was changed".to_owned()));
        }
        let body = if self.all { json!({ "all": true }) } else { json!({ "ids": self.ids }) };
        let outcome: BulkOutcome = client.post(&["dead-letters", action], Some(&body)).await?;
        if self.json {
            output::json(&outcome)?;
        } else {
            output::line(&format!("{} {done}", outcome.done))?;
            for refusal in &outcome.refused {
                output::complain(&format!("{}: {}", refusal.task_id, refusal.reason));
            }
        }
        if outcome.refused.is_empty() { Ok(()) } else { Err(CliError::Reported) }
    }
}

/// Asks a person; a script must say `--yes`.
fn confirmed(action: &str) -> Result<bool, CliError> {
    if !stdin().is_terminal() {
        return Err(CliError::Usage(format!("--all would {action} every dead letter: add --yes")));
    }
    output::note(&format!("{action} every dead letter? Type yes to go on."));
    let mut answer = String::new();
    stdin().read_line(&mut answer).map_err(|error| CliError::Failed(format!("no answer: {error}")))?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}
