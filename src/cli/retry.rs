//! `qron retry`: runs tasks again that ended badly. Also applies an action to listed tasks for `qron cancel`.

use clap::Args;
use serde_json::json;

use super::client::Client;
use super::select::Selection;
use super::{CliError, ids, output};
use crate::api::views::Listing;
use crate::api::views::tasks::TaskView;

#[derive(Debug, Args)]
pub(super) struct Retry {
    #[command(flatten)]
    tasks: Selection,
}

impl Retry {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        if self.tasks.is_plain() {
            return change_each(client, &self.tasks.ids, "retry", self.tasks.json).await;
        }
        self.tasks.change(client, json!({ "action": "retry" })).await
    }
}

/// Requests `action` for each task. A refused one does not stop the others; the last refusal is returned.
pub(super) async fn change_each(client: &Client, ids: &[String], action: &str, json: bool) -> Result<(), CliError> {
    let mut listing = Listing { items: Vec::new(), next: None };
    let mut refused = None;
    for id in ids {
        match change_one(client, id, action).await {
            Ok(task) => {
                if !json {
                    let stopping = if task.cancel_requested { ", stopping" } else { "" };
                    output::line(&format!("{} {}{stopping}", task.id, task.status))?;
                }
                listing.items.push(task);
            }
            Err(error @ CliError::Closed) => return Err(error),
            Err(error) => {
                if let Some(earlier) = refused.replace(error) {
                    print_refusal(&earlier);
                }
            }
        }
    }
    if json {
        output::json(&listing)?;
    }
    refused.map_or(Ok(()), Err)
}

async fn change_one(client: &Client, id: &str, action: &str) -> Result<TaskView, CliError> {
    let id = ids::task(client, id).await?;
    client.post(&["tasks", &id, action], None::<&()>).await
}

fn print_refusal(error: &CliError) {
    if let CliError::Usage(message) | CliError::Failed(message) = error {
        output::print_error(message);
    }
}
