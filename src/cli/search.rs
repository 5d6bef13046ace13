//! `qron search`: finds finished tasks by what they were about.

use clap::Args;

use super::client::Client;
use super::{CliError, output};
use crate::api::views::Listing;
use crate::api::views::search::Found;

#[derive(Debug, Args)]
pub(super) struct Search {
    /// What to search for
    #[arg(required = true)]
    text: Vec<String>,
    /// At most this many
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
    /// Search the tasks of this user, too; otherwise only those without a user
    #[arg(long)]
    user: Option<String>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Search {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        let (text, limit) = (self.text.join(" "), self.limit.to_string());
        let mut query = vec![("q", text.as_str()), ("limit", &limit)];
        query.extend(self.user.as_deref().map(|user| ("user", user)));
        let mut listing: Listing<Found> = client.get(&["search"], &query).await?;
        listing.items.truncate(self.limit as usize);
        if self.json {
            return output::json(&listing);
        }
        if listing.items.is_empty() {
            output::note(&format!("no finished task is similar to {text:?}"));
            return Ok(());
        }
        let mut table = output::rows(&["TASK", "ENDED", "OUTCOME"], &["GOAL", "SUMMARY"]);
        for found in &listing.items {
            let cells = [
                found.task_id.to_string(),
                output::relative_time(&found.at),
                if found.succeeded { "completed" } else { "failed" }.to_owned(),
                output::cell(&found.goal, 50),
                output::cell(&found.summary, 80),
            ];
            output::add(&mut table, cells);
        }
        output::show(&table)
    }
}
