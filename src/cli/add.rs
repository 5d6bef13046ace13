//! `qron add`.

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value};

use super::client::Client;
use super::select::duration;
use super::task_options::{TaskOptions, list, object};
use super::{CliError, output, show};
use crate::api::views::tasks::Submitted;
use crate::clock;

#[derive(Debug, Args)]
pub(super) struct Add {
    /// What shall be achieved, 10 to 5,000 characters; "-" reads it from standard input
    goal: String,
    /// When it becomes due, in RFC 3339, e.g. 2026-01-31T09:00:00Z; at once otherwise
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// When it becomes due, counted from now, e.g. 10m, 2h, 7d
    #[arg(long = "in", value_name = "LENGTH", value_parser = duration, conflicts_with = "at")]
    length: Option<Duration>,
    #[command(flatten)]
    options: TaskOptions,
    /// Task that must be completed first; may be repeated
    #[arg(long = "after", value_name = "ID")]
    depends_on: Vec<String>,
    /// What becomes of this task when one of those fails: it is blocked, as without this option, or continues
    #[arg(long, value_name = "WHAT", value_parser = ["block", "continue"])]
    on_dependency_failure: Option<String>,
    /// Task that it is a part of: "qron list --parent ID" lists the parts
    #[arg(long, value_name = "ID")]
    parent: Option<String>,
    /// Key that keeps out others: adding another task with it gives back this one
    #[arg(long, value_name = "KEY")]
    unique_key: Option<String>,
    /// How long the key keeps others out: alive (until the task has ended), forever, or a period such as 15m
    #[arg(long, value_name = "PERIOD", requires = "unique_key")]
    unique_for: Option<String>,
    /// Watch it until it ends; exit code 1 when it does not complete
    #[arg(long)]
    follow: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Add {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        let (follow, json) = (self.follow, self.json);
        let submitted: Submitted = client.post(&["tasks"], Some(&self.body()?)).await?;
        let id = submitted.task.id.to_string();
        if follow {
            if !json {
                output::line(&format!("{} {id}", if submitted.created { "added" } else { "already there:" }))?;
            }
            return show::follow(client, &id, json).await;
        }
        if json {
            return output::json(&submitted);
        }
        let status = submitted.task.status;
        let said = if submitted.created { "added" } else { "already there:" };
        output::line(&format!("{said} {id} ({status}); see \"qron show {id} --follow\""))?;
        if let Some(waits) = &submitted.task.waits {
            output::note(&format!("it {}", waits.text));
        }
        Ok(())
    }

    fn body(self) -> Result<Map<String, Value>, CliError> {
        let mut body = self.options.task(Some(self.goal))?;
        body.extend(object([
            ("run_at", self.at.map(Value::from).or(self.length.map(from_now))),
            ("depends_on", list(self.depends_on)),
            ("on_dependency_failure", self.on_dependency_failure.map(Value::from)),
            ("parent", self.parent.map(Value::from)),
            ("unique_key", self.unique_key.map(Value::from)),
            ("unique_for", self.unique_for.map(Value::from)),
        ]));
        Ok(body)
    }
}

/// So long from now, by the clock of this machine.
fn from_now(length: Duration) -> Value {
    Value::from(clock::now().plus_millis(i64::try_from(length.as_millis()).unwrap_or(i64::MAX)).to_rfc3339())
}
