//! `qron retry`: runs tasks again that ended badly. Also applies an action to listed tasks for `qron cancel`.

use clap::Args;
use serde_json::json;

use super::client::Client;
use super::select::Selection;
use super::{CliError, hold, ids, output};
use crate::api::views::Listing;
use crate::api::views::tasks::TaskView;
use crate::domain::task::TaskStatus;

/// The action of `qron cancel`.
pub(super) const CANCEL: &str = "cancel";

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
            Ok(Changed { task, already }) => {
                if !json {
                    output::line(&described(&task, already))?;
                    hold::note(client, &task).await?;
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

/// A task after a change.
struct Changed {
    task: TaskView,
    /// Whether it was as wanted before.
    already: bool,
}

async fn change_one(client: &Client, id: &str, action: &str) -> Result<Changed, CliError> {
    let id = ids::task(client, id).await?;
    let already = action == CANCEL && {
        let before: Option<TaskView> = client.find(&["tasks", &id]).await?;
        before.is_some_and(|task| task.status == TaskStatus::Cancelled || task.cancel_requested)
    };
    let task = client.post(&["tasks", &id, action], None::<&()>).await?;
    Ok(Changed { task, already })
}

/// What became of a task, in a line.
fn described(task: &TaskView, already: bool) -> String {
    let TaskView { id, status, .. } = task;
    match (already, task.cancel_requested && !status.is_terminal()) {
        (false, true) => format!("{id} {status}, stopping"),
        (false, false) => format!("{id} {status}{}", due(task)),
        (true, true) => format!("{id} {status}, stopping: it was cancelled already, and nothing was changed"),
        (true, false) => {
            let at = task.finished_at.as_deref().map_or_else(String::new, |at| format!(" at {}", output::time(at)));
            format!("{id} was {status} already{at}; nothing was changed")
        }
    }
}

/// When a task that was retried is due.
fn due(task: &TaskView) -> String {
    match task.status {
        TaskStatus::Pending | TaskStatus::Waiting if hold::is_ahead(&task.run_at) => {
            format!(", due {}", output::time(&task.run_at))
        }
        TaskStatus::Pending => ", due now".to_owned(),
        _ => String::new(),
    }
}

fn print_refusal(error: &CliError) {
    if let CliError::Usage(message) | CliError::Failed(message) = error {
        output::print_error(message);
    }
}
