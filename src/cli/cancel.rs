//! `qron cancel`: stops tasks.

use clap::Args;
use serde_json::json;

use super::CliError;
use super::client::Client;
use super::select::Selection;

#[derive(Debug, Args)]
pub(super) struct Cancel {
    #[command(flatten)]
    tasks: Selection,
}

impl Cancel {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        if self.tasks.is_plain() {
            return super::retry::change_each(client, &self.tasks.ids, super::retry::CANCEL, self.tasks.json).await;
        }
        self.tasks.change(client, json!({ "action": "cancel" })).await
    }
}
