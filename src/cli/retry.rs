//! `qron retry`: runs tasks again that ended badly. Also applies an action to listed tasks for `qron cancel`.

use clap::Args;
use serde_json::json;

use super::changed::{RETRY, described};
use super::client::Client;
use super::select::Selection;
use super::{CliError, hold, ids, output};
use crate::api::views::Listing;
use crate::api::views::tasks::TaskView;
use crate::domain::dependency::OnDependencyFailure;
use crate::domain::task::TaskStatus;

/// The action of `qron cancel`.
pub(super) const CANCEL: &str = "cancel";
/// Most tasks that a task depends on which are looked up before it is retried.
const LOOKED_UP: usize = 50;

#[derive(Debug, Args)]
pub(super) struct Retry {
    #[command(flatten)]
    tasks: Selection,
}

impl Retry {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        if self.tasks.is_plain() {
            return change_each(client, &self.tasks.ids, RETRY, self.tasks.json).await;
        }
        self.tasks.change(client, json!({ "action": RETRY })).await
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
    if action == RETRY {
        refuse_behind_ended(client, &id).await?;
    }
    let task = client.post(&["tasks", &id, action], None::<&()>).await?;
    Ok(Changed { task, already })
}

/// Refuses to retry a task that would be blocked again at once, because one that it depends on ended without success.
async fn refuse_behind_ended(client: &Client, id: &str) -> Result<(), CliError> {
    let Some(task): Option<TaskView> = client.find(&["tasks", id]).await? else { return Ok(()) };
    if !task.status.is_terminal() || task.on_dependency_failure == OnDependencyFailure::Continue {
        return Ok(());
    }
    for needed in task.depends_on.iter().take(LOOKED_UP) {
        let found: Option<TaskView> = client.find(&["tasks", &needed.to_string()]).await?;
        if let Some(status) = found.map(|found| found.status).filter(|status| is_bad_end(*status)) {
            return Err(CliError::Failed(format!(
                "task {id} is not retried: {needed}, on which it depends, is {status}; retry that first: qron retry {needed} {id}"
            )));
        }
    }
    Ok(())
}

fn is_bad_end(status: TaskStatus) -> bool {
    status.is_terminal() && status != TaskStatus::Completed
}

fn print_refusal(error: &CliError) {
    if let CliError::Usage(message) | CliError::Failed(message) = error {
        output::print_error(message);
    }
}
