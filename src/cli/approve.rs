//! `qron approve`: agrees to what a task asks for, or refuses it.

use clap::Args;
use serde_json::json;

use super::approvals::{short, show};
use super::client::Client;
use super::{CliError, output, select};
use crate::api::views::approvals::OpenApproval;
use crate::api::views::tasks::TaskView;

/// Shortest beginning of a hash that is taken for it, so that a slip of the finger does not approve anything.
const MIN_HASH: usize = 4;

#[derive(Debug, Args)]
pub(super) struct Approve {
    /// Id of the task
    #[arg(value_name = "TASK")]
    task: String,
    /// Refuse instead
    #[arg(long)]
    deny: bool,
    /// Only the question with this hash, or at least the first 4 characters of it; may be repeated
    #[arg(long, value_name = "HASH", conflicts_with = "all")]
    hash: Vec<String>,
    /// All that the task asks for
    #[arg(long)]
    all: bool,
    /// Why
    #[arg(long)]
    note: Option<String>,
    /// Who decides; the user of this terminal otherwise
    #[arg(long)]
    by: Option<String>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Approve {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        let task: TaskView = client.get(&["tasks", &self.task], &[]).await?;
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
        let meant = self.choose(&open)?;
        if !self.json {
            for item in &meant {
                show(item)?;
            }
        }
        let hashes: Vec<&str> = meant.iter().map(|item| item.approval.hash.as_str()).collect();
        let by = self.by.or_else(select::user);
        let body = json!({ "hashes": hashes, "by": by, "note": self.note });
        let action = if self.deny { "deny" } else { "approve" };
        let task: TaskView = client.post(&["tasks", &self.task, action], Some(&body)).await?;
        if self.json {
            return output::json(&task);
        }
        output::line(&format!("{} {}", task.id, task.status))
    }

    /// The questions that are decided on. Of several, they have to be named.
    fn choose<'a>(&self, open: &'a [OpenApproval]) -> Result<Vec<&'a OpenApproval>, CliError> {
        if open.is_empty() {
            return Err(CliError::Failed(format!("task {} asks for nothing", self.task)));
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
                _ => {
                    Err(CliError::Usage(format!("it asks for several; name them with --hash, or --all\n{}", listed())))
                }
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
                (None, _) => "none",
                (Some(_), Some(_)) => "several",
            };
            return Err(CliError::Usage(format!("{hash:?} begins {wrong} of\n{}", listed())));
        }
        Ok(meant)
    }
}
