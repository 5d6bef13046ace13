//! `qron dead-letters`: the tasks that failed for good.

use clap::{Args, Subcommand};
use serde_json::json;

use super::client::Client;
use super::confirm::confirm;
use super::{CliError, ids, output, steps};
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
        /// Id of the task, or its beginning as far as it is unique
        id: String,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Run the tasks of dead letters again, with all their attempts
    Requeue(LetterSelection),
    /// Remove dead letters; their tasks stay failed
    Purge(LetterSelection),
}

#[derive(Debug, Args)]
pub(super) struct LetterSelection {
    /// Ids of the tasks, or their beginnings as far as they are unique
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,
    /// All dead letters
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
    let mut listing: Listing<DeadLetterView> = client.get(&["dead-letters"], &[("limit", &limit.to_string())]).await?;
    listing.items.truncate(limit as usize);
    if json {
        return output::json(&listing);
    }
    if listing.items.is_empty() {
        output::note("there are no dead letters");
        return Ok(());
    }
    let mut table = output::rows(&["TASK", "BURIED", "CLASS"], &["REASON", "GOAL"]);
    for letter in &listing.items {
        let cells = [
            letter.task_id.to_string(),
            output::relative_time(&letter.buried_at),
            letter.failure.class.to_string(),
            output::cell(&letter.failure.message, 80),
            output::cell(&letter.goal, 40),
        ];
        output::add(&mut table, cells);
    }
    output::show(&table)?;
    if listing.next.is_some() {
        output::note(&format!("these are the newest {limit}; see more with --limit"));
    }
    Ok(())
}

async fn show(client: &Client, id: &str, json: bool) -> Result<(), CliError> {
    let id = ids::dead_letter(client, id).await?;
    let letter: DeadLetterView = client.get(&["dead-letters", &id], &[]).await?;
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
        output::line("steps done before it ended")?;
        steps::print(&letter.steps_done)?;
    }
    if letter.attempts > 0 {
        return output::line(&format!(
            "see more with: qron show {id}; the point with: qron dead-letters show {id} --json"
        ));
    }
    // The point as it was written, which is where the fault lies.
    let payload = serde_json::to_string_pretty(&letter.payload).unwrap_or_default();
    output::line("payload")?;
    payload.lines().try_for_each(|line| output::line(&format!("  {line}")))
}

impl LetterSelection {
    async fn apply(self, client: &Client, action: &str, done: &str) -> Result<(), CliError> {
        let body = if self.all {
            if !self.yes {
                confirm(&format!("{action} every dead letter"))?;
            }
            json!({ "all": true })
        } else {
            json!({ "ids": ids::dead_letters(client, &self.ids).await? })
        };
        let outcome: BulkOutcome = client.post(&["dead-letters", action], Some(&body)).await?;
        if self.json {
            output::json(&outcome)?;
        } else {
            output::line(&format!("{} {done}", outcome.done))?;
            for refusal in &outcome.refused {
                output::refusal(refusal.task_id, &refusal.reason);
            }
        }
        if outcome.refused.is_empty() { Ok(()) } else { Err(CliError::Reported) }
    }
}
