//! Which tasks a command is about: those with these ids, or all that pass a filter.

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::client::Client;
use super::confirm::confirm;
use super::{CliError, ids, output};
use crate::api::views::bulk::{BulkReport, Refusal};
use crate::clock;
use crate::domain::schedule::duration::parse_duration_ms;

/// Tasks changed by one request.
const BATCH: u64 = 2_000;

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct Selection {
    /// Ids of the tasks, or their beginnings as far as they are unique; or say which tasks by a filter
    #[arg(value_name = "ID")]
    pub(super) ids: Vec<String>,
    /// Tasks of this status, e.g. pending or failed; may be repeated, or several separated by commas
    #[arg(long, help_heading = "Filter")]
    status: Vec<String>,
    /// Tasks for this agent
    #[arg(long, help_heading = "Filter")]
    agent: Option<String>,
    /// Tasks with this tag
    #[arg(long, help_heading = "Filter")]
    tag: Option<String>,
    /// Tasks of this user
    #[arg(long, help_heading = "Filter")]
    user: Option<String>,
    /// Firings of this schedule
    #[arg(long, help_heading = "Filter")]
    schedule: Option<String>,
    /// Tasks that this task made
    #[arg(long, value_name = "ID", help_heading = "Filter")]
    parent: Option<String>,
    /// Tasks with this concurrency key
    #[arg(long, value_name = "KEY", help_heading = "Filter")]
    concurrency_key: Option<String>,
    /// Tasks whose goal contains this, in any case
    #[arg(long, help_heading = "Filter")]
    text: Option<String>,
    /// Tasks inserted longer ago than this, e.g. 90s, 30m, 2h, 7d
    #[arg(long, value_name = "AGE", value_parser = duration, help_heading = "Filter")]
    older_than: Option<Duration>,
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
    /// Whether it is just a list of ids.
    pub(super) fn is_plain(&self) -> bool {
        !self.ids.is_empty() && !self.dry_run && self.filter().is_empty()
    }

    /// Does `order` to the tasks, in as many requests as it takes, and tells what came of it. Before it changes all tasks
    /// it asks.
    pub(super) async fn change(mut self, client: &Client, order: Value) -> Result<(), CliError> {
        let Value::Object(mut order) = order else { return Ok(()) };
        self.parent = ids::optional(client, self.parent.take()).await?;
        self.name_tasks(&mut order)?;
        if let Some(Value::Array(_)) = order.get("ids") {
            order.insert("ids".to_owned(), json!(ids::tasks(client, &self.ids).await?));
        }
        if self.all && !self.yes && !self.dry_run {
            order.insert("dry_run".to_owned(), json!(true));
            let report: BulkReport = client.post(&["tasks", "bulk"], Some(&order)).await?;
            let action = order.get("action").and_then(Value::as_str).unwrap_or("change");
            confirm(&format!("{action} {}", counted(report.done)))?;
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
        tell(&total, self.json)
    }

    fn filter(&self) -> Map<String, Value> {
        let mut filter = Map::new();
        let statuses: Vec<&str> = self.status.iter().flat_map(|list| list.split(',')).map(str::trim).collect();
        if !statuses.is_empty() {
            filter.insert("status".to_owned(), json!(statuses));
        }
        let texts = [
            ("agent", &self.agent),
            ("tag", &self.tag),
            ("user", &self.user),
            ("schedule", &self.schedule),
            ("parent", &self.parent),
            ("concurrency_key", &self.concurrency_key),
            ("text", &self.text),
        ];
        for (name, text) in texts {
            filter.extend(text.as_ref().map(|text| (name.to_owned(), json!(text))));
        }
        if let Some(age) = self.older_than {
            let ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            filter.insert("created_before".to_owned(), json!(clock::now().plus_millis(-ms).to_rfc3339()));
        }
        if self.all {
            filter.insert("all".to_owned(), json!(true));
        }
        filter
    }

    fn name_tasks(&self, order: &mut Map<String, Value>) -> Result<(), CliError> {
        let filter = self.filter();
        match (self.ids.is_empty(), filter.is_empty()) {
            (false, true) => order.insert("ids".to_owned(), json!(self.ids)),
            (true, false) => {
                order.insert("limit".to_owned(), json!(BATCH));
                order.insert("filter".to_owned(), Value::Object(filter))
            }
            (true, true) => {
                return Err(CliError::Usage("name tasks by id, or by a filter such as --tag or --all".into()));
            }
            (false, false) => return Err(CliError::Usage("name tasks by id or by a filter, not by both".into())),
        };
        Ok(())
    }
}

fn counted(tasks: u64) -> String {
    if tasks == 1 { "1 task".to_owned() } else { format!("{tasks} tasks") }
}

fn tell(report: &BulkReport, json: bool) -> Result<(), CliError> {
    if json {
        output::json(report)?;
    } else {
        let changed = if report.dry_run { "would be changed" } else { "changed" };
        output::line(&format!("{} {changed}", counted(report.done)))?;
    }
    if report.refused.is_empty() {
        return Ok(());
    }
    for Refusal { task_id, reason } in &report.refused {
        output::refusal(*task_id, reason);
    }
    Err(CliError::Reported)
}

/// A length of time such as `90s`, `30m`, `2h` or `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration_ms(text).map(Duration::from_millis).map_err(|error| error.to_string())
}

/// Who sits at this terminal, by their own account.
pub(super) fn user() -> Option<String> {
    std::env::var("USER").ok().filter(|name| !name.trim().is_empty())
}
