//! `qron add`: submits a task.

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value};

use super::client::Client;
use super::filter::{duration, period_of_key};
use super::task_options::{TaskOptions, list, object};
use super::{CliError, files, follow, hold, ids, output};
use crate::api::views::tasks::{Submitted, TaskView};
use crate::clock;
use crate::domain::id::TaskId;
use crate::domain::task::{SpecLimits, TaskStatus};

/// What is said of the goal; its limits are those of the API.
fn goal_help() -> String {
    let SpecLimits { goal_chars, .. } = SpecLimits::API;
    let (least, most) = (goal_chars.start(), goal_chars.end());
    format!("What the agent shall achieve, in {least} to {most} characters; \"-\" reads it from standard input")
}

#[derive(Debug, Args)]
pub(super) struct Add {
    #[arg(help = goal_help())]
    goal: String,
    /// When it becomes due; without it, at once
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// When it becomes due, counted from now, e.g. 10m, 2h, 7d
    #[arg(long = "in", value_name = "LENGTH", value_parser = duration, conflicts_with = "at")]
    length: Option<Duration>,
    #[command(flatten)]
    options: TaskOptions,
    /// File that the task gets: as ${files.NAME} in its plan, and for its tools; may be repeated. Without NAME, the name of the
    /// file
    #[arg(long = "file", value_name = "[NAME=]PATH")]
    files: Vec<String>,
    /// Id of a task that must be completed first, or its beginning; may be repeated
    #[arg(long = "after", value_name = "ID")]
    depends_on: Vec<String>,
    /// What this task does when a task of --after fails: block (the default), or continue
    #[arg(long, value_name = "WHAT", value_parser = ["block", "continue"])]
    on_dependency_failure: Option<String>,
    /// Id of the task that it is a part of, or its beginning: "qron list --parent ID" lists the parts
    #[arg(long, value_name = "ID")]
    parent: Option<String>,
    /// Unique key: while a task holds it, adding another with the same key returns that task
    #[arg(long, value_name = "KEY")]
    unique_key: Option<String>,
    /// How long the task holds the key: alive (until it has ended; the default), forever, or a period such as 15m
    #[arg(long, value_name = "PERIOD", requires = "unique_key", value_parser = period_of_key)]
    unique_for: Option<String>,
    /// Watch it until it ends; exit code 1 when it does not complete, and 3 when qron stops answering before
    #[arg(long)]
    follow: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Add {
    pub(super) async fn run(mut self, client: &Client) -> Result<(), CliError> {
        self.depends_on = ids::tasks(client, &self.depends_on).await?;
        self.parent = ids::optional(client, self.parent).await?;
        let (follow, json, is_dated) = (self.follow, self.json, self.at.is_some());
        let files = files::read(&std::mem::take(&mut self.files))?;
        let mut body = self.body()?;
        if !files.is_empty() {
            // Files are uploaded for an id, before the task is there and may begin.
            let id = TaskId::fresh().to_string();
            body.insert("files".to_owned(), files.iter().map(|file| Value::from(file.name.as_str())).collect());
            body.insert("id".to_owned(), Value::from(id.as_str()));
            files::upload(client, &id, files).await?;
        }
        let submitted: Submitted = client.post(&["tasks"], Some(&body)).await?;
        let id = submitted.task.id.to_string();
        if follow {
            if !json {
                output::line(&format!("{} {id}", outcome(&submitted)))?;
            }
            return follow::follow(client, &id, json).await;
        }
        if json {
            return output::json(&submitted);
        }
        let task = &submitted.task;
        let outcome = outcome(&submitted);
        output::line(&format!("{outcome} {id} ({}); follow it with: qron show {id} --follow", stage(task)))?;
        if is_dated && submitted.created && !hold::is_ahead(&task.run_at) {
            output::note(&format!("due now: {} is past", output::time(&task.run_at)));
        }
        hold::note(client, task).await
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

/// What happened to the submitted task: its unique key or id may belong to an earlier one.
const fn outcome(submitted: &Submitted) -> &'static str {
    if submitted.created { "added" } else { "already there:" }
}

/// The stage of the task in a word or two: a run that waits for its model is said to wait.
fn stage(task: &TaskView) -> String {
    match (task.status, &task.waits) {
        (TaskStatus::Running, Some(_)) => "waiting for its model".to_owned(),
        (status, _) => status.to_string(),
    }
}

/// The time that is `length` from now by the clock of this machine, in RFC 3339.
fn from_now(length: Duration) -> Value {
    Value::from(clock::now().plus_millis(i64::try_from(length.as_millis()).unwrap_or(i64::MAX)).to_rfc3339())
}
