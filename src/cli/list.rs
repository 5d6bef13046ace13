//! `qron list`.

use clap::Args;

use super::client::Client;
use super::{CliError, output};
use crate::api::views::Listing;
use crate::api::views::tasks::TaskView;

/// Tasks asked for at once.
const PAGE: u32 = 500;

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only tasks of this status, e.g. pending or failed; may be repeated, or several separated by commas
    #[arg(long)]
    status: Vec<String>,
    /// Only tasks for this agent
    #[arg(long)]
    agent: Option<String>,
    /// Only tasks with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Only tasks of this user
    #[arg(long)]
    user: Option<String>,
    /// Only tasks of this schedule
    #[arg(long, value_name = "ID")]
    schedule: Option<String>,
    /// Only tasks that this task made
    #[arg(long, value_name = "ID")]
    parent: Option<String>,
    /// Only tasks with this concurrency key
    #[arg(long, value_name = "KEY")]
    concurrency_key: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "all")]
    limit: u32,
    /// All of them
    #[arg(long)]
    all: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        let limit = if self.all { usize::MAX } else { self.limit as usize };
        let listing = self.collect(client, limit).await?;
        if self.json {
            return output::json(&listing);
        }
        if listing.items.is_empty() {
            output::note("no such tasks; add one with \"qron add GOAL\"");
            return Ok(());
        }
        let mut table = output::table(["ID", "STATUS", "FAILED", "AGENT", "RUN AT", "GOAL"]);
        for task in &listing.items {
            table.add_row([
                task.id.to_string(),
                match &task.waits {
                    _ if task.unreadable.is_some() => "unreadable".to_owned(),
                    Some(waits) if waits.model.is_empty() => format!("{}, no model", task.status),
                    Some(waits) => format!("{}, {} away", task.status, output::cell(&waits.model, 24)),
                    None => task.status.to_string(),
                },
                format!("{}/{}", task.attempt, task.max_attempts),
                output::cell(task.agent.as_deref().unwrap_or("-"), 24),
                output::time(&task.run_at),
                output::cell(&task.goal, 60),
            ]);
        }
        output::show(&table)?;
        if listing.next.is_some() {
            output::note("there are more: use --limit or --all");
        }
        Ok(())
    }

    async fn collect(&self, client: &Client, limit: usize) -> Result<Listing<TaskView>, CliError> {
        let mut listing = Listing { items: Vec::new(), next: None };
        let statuses = self.status.join(",");
        loop {
            let wanted = u32::try_from(limit - listing.items.len()).unwrap_or(PAGE).min(PAGE).to_string();
            let mut query = vec![("limit", wanted.as_str())];
            let filters = [
                ("agent", &self.agent),
                ("tag", &self.tag),
                ("user", &self.user),
                ("schedule", &self.schedule),
                ("parent", &self.parent),
                ("concurrency_key", &self.concurrency_key),
                ("after", &listing.next),
            ];
            query.extend(filters.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))));
            if !statuses.is_empty() {
                query.push(("status", &statuses));
            }
            let page: Listing<TaskView> = client.get(&["tasks"], &query).await?;
            listing.items.extend(page.items);
            listing.next = page.next;
            if listing.next.is_none() || listing.items.len() >= limit {
                return Ok(listing);
            }
        }
    }
}
