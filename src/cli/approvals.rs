//! `qron approvals`: lists what waits for the decision of a person.

use clap::Args;

use super::client::Client;
use super::{CliError, output};
use crate::api::views::Listing;
use crate::api::views::approvals::OpenApproval;

/// Tasks in one page of the API.
const PAGE: &str = "500";
/// Characters of a hash that are shown, enough for a person to type.
const SHORT_HASH: usize = 12;

#[derive(Debug, Args)]
pub(super) struct Approvals {
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Approvals {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        let items = fetch_open(client).await?;
        if self.json {
            return output::json(&Listing { items, next: None });
        }
        if items.is_empty() {
            output::note("no task waits for an approval");
            return Ok(());
        }
        for item in &items {
            print_question(item)?;
        }
        output::note("decide with: qron approve TASK, or: qron approve TASK --deny --note WHY");
        Ok(())
    }
}

/// All open questions to people, of all tasks.
async fn fetch_open(client: &Client) -> Result<Vec<OpenApproval>, CliError> {
    let mut items = Vec::new();
    let (mut after, mut held): (Option<String>, usize) = (None, 0);
    loop {
        let mut query = vec![("limit", PAGE)];
        query.extend(after.as_deref().map(|after| ("after", after)));
        let page: Listing<OpenApproval> = client.page(&["approvals"], &query, &mut held).await?;
        items.extend(page.items);
        after = page.next;
        if after.is_none() {
            return Ok(items);
        }
    }
}

/// The part of a hash that is shown.
pub(super) fn short_hash(hash: &str) -> &str {
    hash.get(..SHORT_HASH).unwrap_or(hash)
}

/// Prints a question whole, with all arguments of the call and every character that is not seen: a person must see all that they
/// approve.
pub(super) fn print_question(item: &OpenApproval) -> Result<(), CliError> {
    let approval = &item.approval;
    output::exact_line(&format!("task    {}", item.task_id))?;
    output::exact_line(&format!("goal    {}", item.goal))?;
    match (&approval.tool, &approval.step) {
        (Some(tool), step) => {
            output::exact_line(&format!("asks    to call {tool} in step {}", step.as_deref().unwrap_or("-")))?;
            if let Some(arguments) = &approval.arguments {
                let text = serde_json::to_string_pretty(arguments).unwrap_or_else(|_| arguments.to_string());
                for line in text.lines() {
                    output::exact_line(&format!("        {line}"))?;
                }
            }
        }
        (None, _) => output::exact_line("asks    to run")?,
    }
    if let Some(reason) = &approval.reason {
        output::exact_line(&format!("because {reason}"))?;
    }
    let until = approval.expires_at.as_deref().map_or_else(|| "a person decides".to_owned(), output::time);
    output::exact_line(&format!("hash    {}", short_hash(&approval.hash)))?;
    output::exact_line(&format!("since   {}, until {until}", output::time(&approval.asked_at)))?;
    output::exact_line("")
}
