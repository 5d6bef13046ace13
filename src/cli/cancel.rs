//! `qron cancel`.

use clap::Args;

use super::CliError;
use super::client::Client;

#[derive(Debug, Args)]
pub(super) struct Cancel {
    /// Ids of the tasks
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Cancel {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        super::retry::each(client, &self.ids, "cancel", self.json).await
    }
}
