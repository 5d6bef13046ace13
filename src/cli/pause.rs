//! `qron pause` and `qron resume`.

use clap::Args;
use serde_json::json;

use super::client::Client;
use super::{CliError, output, select};
use crate::api::views::Listing;
use crate::api::views::control::PauseView;

#[derive(Debug, Args)]
pub(super) struct Pause {
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct Resume {
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
struct Target {
    /// This agent, in all replicas; the whole fleet otherwise
    #[arg(long)]
    agent: Option<String>,
    /// Why, for the others
    #[arg(long)]
    note: Option<String>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Pause {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        self.target.tell(client, "pause").await
    }
}

impl Resume {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        self.target.tell(client, "resume").await
    }
}

impl Target {
    async fn tell(self, client: &Client, action: &str) -> Result<(), CliError> {
        let body = json!({ "agent": self.agent, "note": self.note, "by": select::user() });
        let listing: Listing<PauseView> = client.post(&[action], Some(&body)).await?;
        if self.json {
            return output::json(&listing);
        }
        if listing.items.is_empty() {
            return output::line("nothing is paused");
        }
        let mut table = output::table(["PAUSED", "SINCE", "BY", "WHY"]);
        for pause in &listing.items {
            table.add_row([
                output::cell(pause.agent.as_deref().unwrap_or("the whole fleet"), 40),
                output::time(&pause.since),
                output::cell(pause.by.as_deref().unwrap_or("-"), 24),
                output::cell(pause.note.as_deref().unwrap_or("-"), 60),
            ]);
        }
        output::show(&table)
    }
}
