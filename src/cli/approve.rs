//! `qron approve`: answers the open questions of a task with yes or no.

use clap::Args;
use serde_json::json;

use super::approvals::{print_question, short_hash};
use super::client::Client;
use super::{CliError, hold, ids, output, user};
use crate::api::views::approvals::OpenApproval;
use crate::api::views::tasks::TaskView;

/// Fewest characters that name a question by its hash, so that a slip of the finger approves nothing.
const MIN_HASH: usize = 4;

#[derive(Debug, Args)]
pub(super) struct Approve {
    /// Id of the task, or its beginning as far as it is unique
    #[arg(value_name = "TASK")]
    task: String,
    /// Deny instead of approving
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
        let chosen = self.choose(&task, &open)?;
        if !self.json {
            for item in &chosen {
                print_question(item)?;
            }
        }
        let hashes: Vec<&str> = chosen.iter().map(|item| item.approval.hash.as_str()).collect();
        let by = self.by.or_else(user::user);
        let body = json!({ "hashes": hashes, "by": by, "note": self.note });
        let action = if self.deny { "deny" } else { "approve" };
        let task: TaskView = client.post(&["tasks", &id, action], Some(&body)).await?;
        if self.json {
            return output::json(&task);
        }
        let done = if self.deny { "denied" } else { "approved" };
        output::line(&format!("{} {done}; it is {} now", task.id, task.status))?;
        hold::note(client, &task).await
    }

    /// The questions of `open` that the options name. A single open question needs no name.
    ///
    /// # Errors
    /// A failure when the task has no open question, and a usage error when the options name none, or not exactly one each.
    fn choose<'a>(&self, task: &TaskView, open: &'a [OpenApproval]) -> Result<Vec<&'a OpenApproval>, CliError> {
        if open.is_empty() {
            return Err(CliError::Failed(format!(
                "task {} has no open question to approve or deny: it is {}; \"qron approvals\" lists the open questions",
                task.id, task.status
            )));
        }
        let listed = || {
            let lines = open.iter().map(|item| {
                format!("{} {}", short_hash(&item.approval.hash), item.approval.tool.as_deref().unwrap_or("the task"))
            });
            lines.collect::<Vec<_>>().join("\n")
        };
        if self.hash.is_empty() {
            return match open {
                [one] => Ok(vec![one]),
                several if self.all => Ok(several.iter().collect()),
                _ => Err(CliError::Usage(format!(
                    "task {} has several open questions: choose with --hash HASH, or take all with --all\n{}",
                    task.id,
                    listed()
                ))),
            };
        }
        let mut chosen = Vec::new();
        for hash in &self.hash {
            if hash.len() < MIN_HASH {
                return Err(CliError::Usage(format!(
                    "--hash {hash:?} is too short: use the first {MIN_HASH} characters or more"
                )));
            }
            let mut found = open.iter().filter(|item| item.approval.hash.starts_with(hash.as_str()));
            let wrong = match (found.next(), found.next()) {
                (Some(one), None) => {
                    chosen.push(one);
                    continue;
                }
                (None, _) => "no open question has a hash that begins with",
                (Some(_), Some(_)) => "several open questions have a hash that begins with",
            };
            return Err(CliError::Usage(format!(
                "{wrong} {hash:?}; the open questions of task {} are\n{}",
                task.id,
                listed()
            )));
        }
        Ok(chosen)
    }
}
