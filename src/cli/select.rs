//! Selects the tasks that a command changes: by ids or by a filter.

use clap::Args;
use serde_json::{Map, Value, json};

use super::changed::{RETRY, described};
use super::client::Client;
use super::confirm::confirm;
use super::filter::FilterOptions;
use super::{CliError, ids, output};
use crate::api::views::bulk::{BulkReport, Refusal};
use crate::api::views::tasks::TaskView;
use crate::domain::counted::counted;

/// The action of `qron snooze`.
const SNOOZE: &str = "snooze";
/// Most changed tasks whose times are told.
const SHOWN_TASKS: usize = 20;
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
        let action = order.get("action").and_then(Value::as_str).unwrap_or("change").to_owned();
        if self.all && !self.yes && !self.dry_run {
            order.insert("dry_run".to_owned(), json!(true));
            let mut report: BulkReport = client.post(&["tasks", "bulk"], Some(&order)).await?;
            if report.done == 0 && report.refused.is_empty() {
                report.dry_run = false;
                return print_report(&report, &action, self.json);
            }
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
        if !self.json && total.done > 0 && [RETRY, SNOOZE].contains(&action.as_str()) {
            print_report(&BulkReport { refused: Vec::new(), ..total.clone() }, &action, false)?;
            print_due(client, &order, &total, &action).await?;
            return print_refusals(&total);
        }
        print_report(&total, &action, self.json)
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

/// Tells when changed tasks are due: each of a few that were named, and how all of a filter are.
async fn print_due(
    client: &Client,
    order: &Map<String, Value>,
    report: &BulkReport,
    action: &str,
) -> Result<(), CliError> {
    let ids: Vec<&str> =
        order.get("ids").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    if ids.is_empty() || report.dry_run {
        if action == RETRY {
            let be = if report.dry_run { "would be" } else { "is" };
            output::note(&format!(
                "each {be} due at once, or at its own time where that is still to come; \"qron list\" tells the times"
            ));
        }
        return Ok(());
    }
    let is_done = |id: &&&str| !report.refused.iter().any(|refusal| refusal.task_id.to_string() == **id);
    for id in ids.iter().filter(is_done).take(SHOWN_TASKS) {
        if let Some(task) = client.find::<TaskView>(&["tasks", id]).await? {
            output::line(&described(&task, false))?;
        }
    }
    if ids.len() > SHOWN_TASKS {
        output::note("these are the first of them; \"qron list\" tells the times of the others");
    }
    Ok(())
}

fn print_report(report: &BulkReport, action: &str, json: bool) -> Result<(), CliError> {
    if json {
        output::json(report)?;
    } else if report.done == 0 && report.refused.is_empty() && !report.dry_run {
        output::line(&format!(
            "there is nothing to {action}: no task that is meant allows it, and nothing was changed"
        ))?;
    } else {
        let verb = match (report.dry_run, report.done) {
            (true, _) => "would be changed",
            (false, 1) => "was changed",
            (false, _) => "were changed",
        };
        output::line(&format!("{} {verb}", counted(report.done, "task")))?;
    }
    print_refusals(report)
}

fn print_refusals(report: &BulkReport) -> Result<(), CliError> {
    if report.refused.is_empty() {
        return Ok(());
    }
    for Refusal { task_id, reason } in &report.refused {
        output::refusal(*task_id, reason);
    }
    Err(CliError::Reported)
}
