//! Selects the tasks that a command changes: by ids or by a filter.

use clap::Args;
use serde_json::{Map, Value, json};

use super::client::Client;
use super::confirm::confirm;
use super::filter::FilterOptions;
use super::{CliError, ids, output};
use crate::api::views::bulk::{BulkReport, Refusal};
use crate::domain::counted::counted;

/// Most tasks that one request changes.
const BATCH: u64 = 2_000;

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct Selection {
    /// Ids of the tasks, or their beginnings as far as they are unique; or say which tasks by a filter
    #[arg(value_name = "ID")]
    pub(super) ids: Vec<String>,
    #[command(flatten)]
    filter: FilterOptions,
    /// Every task whose status allows the change
    #[arg(long, help_heading = "Filter")]
    all: bool,
    /// With --all: do not ask first
    #[arg(long)]
    yes: bool,
    /// Show how many tasks would be changed, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Write JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Selection {
    /// Whether the selection is a list of ids alone.
    pub(super) fn is_plain(&self) -> bool {
        !self.ids.is_empty() && !self.dry_run && !self.has_filter()
    }

    /// Requests the change `order` for the selected tasks, in as many requests as it takes, and prints the report. Asks for a
    /// confirmation before it changes all tasks.
    pub(super) async fn change(self, client: &Client, order: Value) -> Result<(), CliError> {
        let Value::Object(mut order) = order else { return Ok(()) };
        self.name_tasks(client, &mut order).await?;
        if self.all && !self.yes && !self.dry_run {
            order.insert("dry_run".to_owned(), json!(true));
            let report: BulkReport = client.post(&["tasks", "bulk"], Some(&order)).await?;
            let action = order.get("action").and_then(Value::as_str).unwrap_or("change");
            confirm(&format!("{action} {}", counted(report.done, "task")))?;
        }
        order.insert("dry_run".to_owned(), json!(self.dry_run));
        let mut total = BulkReport::default();
        loop {
            let report: BulkReport = client.post(&["tasks", "bulk"], Some(&order)).await?;
            total.dry_run = report.dry_run;
            total.matched += report.matched;
            total.done += report.done;
            total.refused.extend(report.refused);
            total.as_of.clone_from(&report.as_of);
            let Some(next) = report.next else { break };
            order.insert("after".to_owned(), json!(next));
            if let Some(Value::Object(filter)) = order.get_mut("filter") {
                filter.insert("created_before".to_owned(), json!(report.as_of));
            }
        }
        print_report(&total, self.json)
    }

    /// Whether its options name tasks by anything but their ids.
    fn has_filter(&self) -> bool {
        self.all || !self.filter.is_empty()
    }

    /// Writes into `order` which tasks it is about.
    async fn name_tasks(&self, client: &Client, order: &mut Map<String, Value>) -> Result<(), CliError> {
        match (self.ids.is_empty(), self.has_filter()) {
            (false, false) => order.insert("ids".to_owned(), json!(ids::tasks(client, &self.ids).await?)),
            (true, true) => {
                let mut filter = self.filter.clone().read(client).await?.to_json();
                filter.extend(self.all.then(|| ("all".to_owned(), json!(true))));
                order.insert("limit".to_owned(), json!(BATCH));
                order.insert("filter".to_owned(), Value::Object(filter))
            }
            (true, false) => {
                return Err(CliError::Usage(
                    "no task is selected: give ids, or a filter such as --tag or --all".into(),
                ));
            }
            (false, true) => {
                return Err(CliError::Usage(
                    "ids and a filter are both given: select tasks either by id or by a filter".into(),
                ));
            }
        };
        Ok(())
    }
}

fn print_report(report: &BulkReport, json: bool) -> Result<(), CliError> {
    if json {
        output::json(report)?;
    } else {
        let verb = match (report.dry_run, report.done) {
            (true, _) => "would be changed",
            (false, 1) => "was changed",
            (false, _) => "were changed",
        };
        output::line(&format!("{} {verb}", counted(report.done, "task")))?;
    }
    if report.refused.is_empty() {
        return Ok(());
    }
    for Refusal { task_id, reason } in &report.refused {
        output::refusal(*task_id, reason);
    }
    Err(CliError::Reported)
}

/// Name of the user of this terminal, from the variable `USER`.
pub(super) fn user() -> Option<String> {
    std::env::var("USER").ok().filter(|name| !name.trim().is_empty())
}
