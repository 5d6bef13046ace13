//! `qron prune`: applies the retention rules now.

use clap::Args;
use serde_json::{Value, json};

use super::client::Client;
use super::{CliError, output};

#[derive(Debug, Args)]
pub(super) struct Prune {
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Prune {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        let outcome: Value = client.post(&["prune"], Some(&json!({ "dry_run": self.dry_run }))).await?;
        if self.json {
            return output::json(&outcome);
        }
        let verb = if self.dry_run { "would remove" } else { "removed" };
        let count = |what: &str| outcome.get(what).and_then(Value::as_u64).unwrap_or_default();
        output::line(&format!(
            "{verb} {} tasks, {} attempts, {} events, {} artifacts, {} dead letters, {} memories",
            count("tasks"),
            count("attempts"),
            count("events"),
            count("artifacts"),
            count("dead_letters"),
            count("memories"),
        ))
    }
}
