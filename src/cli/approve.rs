//! `qron approve`: agrees to what a task asks for, or refuses it.

use clap::Args;
use serde_json::json;

use super::approvals::{short, show};
use super::client::Client;
use super::{CliError, ids, output, select};
use crate::api::views::approvals::OpenApproval;
use crate::api::views::tasks::TaskView;

/// Shortest beginning of a hash that is taken for it, so that a slip of the finger does not approve anything.
const MIN_HASH: usize = 4;

#[derive(Debug, Args)]
pub(super) struct Approve {
    /// Id of the task, or its beginning as far as it is unique
    #[arg(value_name = "TASK")]
    task: String,
    /// Deny it instead
    #[arg(long)]
    deny: bool,
    /// Decide only on the question with this hash, or the first 4 or more characters of it; may be repeated
    #[arg(long, value_name = "HASH", conflicts_with = "all")]
    hash: Vec<String>,
    /// Decide on all questions of the task
    #[arg(long)]
    all: bool,
    /// Why, for the history and the agent
    #[arg(long)]
    note: Option<String>,
    /// Who decides; without it, the user of this terminal
    #[arg(long)]
    by: Option<String>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Approve {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        let id = ids::task(client, &self.task).await?;
        let task: TaskView = client.get(&["tasks", &id], &[]).await?;
        let open: Vec<OpenApproval> = task
            .approvals
            .iter()
            .filter(|a| a.verdict.is_none())
            .map(|approval| OpenApproval {
                task_id: task.id,
                goal: task.goal.clone(),
                agent: task.agent.clone(),
                user: task.user.clone(),
                approval: approval.clone(),
            })
            .collect();
        let meant = self.choose(&task, &open)?;
        if !self.json {
            for item in &meant {
                show(item)?;
            }
        }
        let hashes: Vec<&str> = meant.iter().map(|item| item.approval.hash.as_str()).collect();
        let by = self.by.or_else(select::user);
        let body = json!({ "hashes": hashes, "by": by, "note": self.note });
        let action = if self.deny { "deny" } else { "approve" };
        let task: TaskView = client.post(&["tasks", &id, action], Some(&body)).await?;
        if self.json {
            return output::json(&task);
        }
        output::line(&format!("{} {}", task.id, task.status))
    }

    /// The questions that are decided on. Of several, they have to be named.
    fn choose<'a>(&self, task: &TaskView, open: &'a [OpenApproval]) -> Result<Vec<&'a OpenApproval>, CliError> {
        if open.is_empty() {
            return Err(CliError::Failed(format!("task {} asks for nothing: it is {}", task.id, task.status)));
        }
        let listed = || {
            let lines = open.iter().map(|item| {
                format!("{} {}", short(&item.approval.hash), item.approval.tool.as_deref().unwrap_or("the task"))
            });
            lines.collect::<Vec<_>>().join("\n")
        };
        if self.hash.is_empty() {
            return match open {
                [one] => Ok(vec![one]),
                several if self.all => Ok(several.iter().collect()),
                _ => Err(CliError::Usage(format!(
                    "task {} asks for several approvals: name them with --hash, or decide on --all\n{}",
                    task.id,
                    listed()
                ))),
            };
        }
        let mut meant = Vec::new();
        for hash in &self.hash {
            if hash.len() < MIN_HASH {
                return Err(CliError::Usage(format!("{hash:?} is too short: give {MIN_HASH} characters or more")));
            }
            let mut found = open.iter().filter(|item| item.approval.hash.starts_with(hash.as_str()));
            let wrong = match (found.next(), found.next()) {
                (Some(one), None) => {
                    meant.push(one);
                    continue;
                }
                (None, _) => "no question of this task has a hash that begins with",
                (Some(_), Some(_)) => "several questions of this task have a hash that begins with",
            };
            return Err(CliError::Usage(format!("{wrong} {hash:?}; its questions are\n{}", listed())));
        }
        Ok(meant)
    }
}
