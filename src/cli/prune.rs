//! `qron prune`: applies the retention rules now.

use clap::Args;
use serde_json::{Value, json};

use super::client::Client;
use super::{CliError, output};
use crate::domain::counted::counted;

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
        let kinds = [
            ("tasks", "task"),
            ("attempts", "attempt"),
            ("events", "event"),
            ("artifacts", "artifact"),
            ("dead_letters", "dead letter"),
            ("memories", "memory"),
        ];
        let counts: Vec<String> = kinds.iter().map(|(field, noun)| counted(count(field), noun)).collect();
        output::line(&format!("{verb} {}", counts.join(", ")))
    }
}
