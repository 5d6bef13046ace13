//! `qron retry`, and what it shares with `qron cancel`.

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
            return each(client, &self.tasks.ids, "retry", self.tasks.json).await;
        }
        self.tasks.change(client, json!({ "action": "retry" })).await
    }
}

/// Does `action` to each task. One that is refused does not stop the others; the last refusal is the outcome.
pub(super) async fn each(client: &Client, ids: &[String], action: &str, json: bool) -> Result<(), CliError> {
    let mut listing = Listing { items: Vec::new(), next: None };
    let mut refused = None;
    for id in ids {
        match one(client, id, action).await {
            Ok(task) => {
                if !json {
                    let soon = if task.cancel_requested { ", stopping" } else { "" };
                    output::line(&format!("{} {}{soon}", task.id, task.status))?;
                }
                listing.items.push(task);
            }
            Err(error @ CliError::Closed) => return Err(error),
            Err(error) => {
                if let Some(earlier) = refused.replace(error) {
                    report(&earlier);
                }
            }
        }
    }
    if json {
        output::json(&listing)?;
    }
    refused.map_or(Ok(()), Err)
}

async fn one(client: &Client, id: &str, action: &str) -> Result<TaskView, CliError> {
    let id = ids::task(client, id).await?;
    client.post(&["tasks", &id, action], None::<&()>).await
}

fn report(error: &CliError) {
    if let CliError::Usage(message) | CliError::Failed(message) = error {
        output::complain(message);
    }
}
