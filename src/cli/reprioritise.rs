//! `qron reprioritise`: changes the priority of tasks that have not begun.

use clap::Args;
use serde_json::json;

use super::CliError;
use super::client::Client;
use super::select::Selection;

#[derive(Debug, Args)]
pub(super) struct Reprioritise {
    #[command(flatten)]
    tasks: Selection,
    /// 0 (can wait) to 10 (urgent)
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=10))]
    priority: u8,
}

impl Reprioritise {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        self.tasks.change(client, json!({ "action": "reprioritise", "priority": self.priority })).await
    }
}
